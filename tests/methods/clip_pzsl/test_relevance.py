"""The partial zero-shot loss in parts: weights stay on the candidates, alignment is zero where images meet labels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pzsl_bench.contract import normalise
from pzsl_bench.methods.clip_pzsl.relevance import (
    ALIGNMENTS,
    alignment,
    barrier,
    combined,
    softmax_over_candidates,
    spread,
)

LOGITS = st.sampled_from([-150.0, -20.0, -1.0, 0.0, 0.5, 20.0, 150.0])


@st.composite
def tables(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a few images, and their candidate sets."""
    images, classes = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    row = st.lists(LOGITS, min_size=classes, max_size=classes)
    sets = st.lists(st.booleans(), min_size=classes, max_size=classes).filter(any)
    logits = torch.tensor(draw(st.lists(row, min_size=images, max_size=images)))
    return logits, torch.tensor(draw(st.lists(sets, min_size=images, max_size=images)))


@settings(max_examples=60, deadline=None)
@given(tables())
def test_relevance_is_the_softmax_over_the_candidates(table: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, candidates = table
    got = softmax_over_candidates(logits, barrier(candidates, logits.dtype))
    torch.testing.assert_close(got, logits.masked_fill(~candidates, float("-inf")).softmax(-1))
    assert (got[~candidates] == 0).all()


@settings(max_examples=60, deadline=None)
@given(tables(), tables())
def test_weights_sum_to_one_even_where_relevance_and_confidence_exclude_each_other(
    table: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, candidates = table
    walls = barrier(candidates, logits.dtype)
    confidences = softmax_over_candidates(-logits, walls)
    weights = combined(softmax_over_candidates(logits, walls), confidences)
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(weights)))
    assert (weights[~candidates] == 0).all()


def test_where_relevance_says_the_opposite_of_the_confidences_they_alone_count() -> None:
    confidences = torch.tensor([[0, 0.25, 0.75]])
    torch.testing.assert_close(combined(torch.tensor([[1.0, 0, 0]]), confidences), confidences)


@pytest.mark.parametrize("kind", [kind for kind in ALIGNMENTS if kind != "none"])
def test_images_that_turn_to_their_labels_are_better_aligned(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = normalise(torch.randn(4, 6, generator=generator, dtype=torch.float64))
    weights = torch.eye(4, dtype=torch.float64).repeat(3, 1)
    away = normalise(torch.randn(12, 6, generator=generator, dtype=torch.float64))
    terms = []
    for share in (0.0, 0.5, 1.0):
        x = normalise((1 - share) * away + share * weights @ embeddings)
        terms.append(float(alignment(kind, x @ embeddings.T, weights, embeddings, 14.3)))
    assert terms[0] > terms[1] > terms[2]
    if kind != "contrastive":
        assert terms[2] == pytest.approx(0)


def test_the_squared_distance_is_that_to_the_weighted_label_embedding() -> None:
    generator = torch.Generator().manual_seed(0)
    x, embeddings = (normalise(torch.randn(n, 6, generator=generator, dtype=torch.float64)) for n in (5, 4))
    weights = torch.rand(5, 4, generator=generator, dtype=torch.float64).softmax(-1)
    expected = (x - weights @ embeddings).square().sum(-1).mean()
    torch.testing.assert_close(alignment("mse", x @ embeddings.T, weights, embeddings, 1.0), expected)


def test_the_spread_of_equal_weights_is_zero_and_of_a_decided_label_near_one() -> None:
    weights = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0]])
    torch.testing.assert_close(spread(weights, torch.tensor([4, 4])), torch.tensor([0.0, 0.75**0.5]))
