"""The mining block: assignments, what classes gather from their images, and where training starts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pzsl_bench.contract import normalise
from pzsl_bench.methods.clip_pzsl.mining import ASSIGNMENTS, SemanticMining, assign, entropy, hard, pool

HARD = ("argmax_st", "argmax_sg", "gumbel_logits", "gumbel_probs")


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalise(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@pytest.mark.parametrize("kind", [k for k in ASSIGNMENTS if k != "none"])
def test_every_image_is_given_away_once_or_every_class_is_filled_once(kind: str) -> None:
    scores = rows(12, 5) * 10
    assignment = assign(kind, scores, scores.softmax(-1), torch.rand(12, 5, dtype=torch.float64))
    axis = 0 if kind == "softmax_xattn" else 1
    torch.testing.assert_close(assignment.sum(axis), torch.ones(assignment.shape[1 - axis], dtype=torch.float64))
    if kind in HARD:
        assert ((assignment.detach() - assignment.detach().round()).abs() < 1e-12).all()
        assert assignment.sum() == pytest.approx(12)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.floats(0.05, 1.0))
def test_argmax_assignments_ignore_the_temperature(classes: int, tau: float) -> None:
    scores = rows(9, classes, seed=classes)
    sharp = scores / tau
    plain = assign("argmax_sg", scores, scores.softmax(-1))
    torch.testing.assert_close(assign("argmax_sg", sharp, sharp.softmax(-1)), plain)


@pytest.mark.parametrize("classes", [10, 40])
def test_the_released_rule_hits_a_certain_class_as_rarely_as_it_was_computed(classes: int) -> None:
    throws = 20_000
    scores = torch.full((throws, classes), -300.0)
    scores[:, 0] = 300.0
    uniform = torch.rand(throws, classes, generator=torch.Generator().manual_seed(classes))
    soft, rate = scores.softmax(-1), math.e / (math.e + classes - 1)
    spread = math.sqrt(rate * (1 - rate) / throws)
    assert float(assign("gumbel_probs", scores, soft, uniform)[:, 0].mean()) == pytest.approx(rate, abs=4 * spread)
    assert float(assign("gumbel_logits", scores, soft, uniform)[:, 0].mean()) == pytest.approx(1)


@pytest.mark.parametrize(("kind", "reached"), [("argmax_st", True), ("argmax_sg", False)])
def test_the_query_learns_through_straight_through_and_not_through_a_stopped_argmax(kind: str, reached: bool) -> None:
    block = SemanticMining(6, "l2", "random", ffn=False).double()
    x, centres = rows(8, 6, seed=1), rows(3, 6, seed=2)
    scores = block.scores(x, centres, 14.0)
    mean, count = pool(assign(kind, scores, scores.softmax(-1)), block.values(x), 1.0)
    block.read(block.moved(centres, centres, mean, count > 0)).pow(3).sum().backward()
    assert (block.query.grad is not None and bool((block.query.grad != 0).any())) == reached
    assert block.out.weight.grad is not None


def test_the_block_starts_as_the_texts_and_its_first_assignment_is_the_nearest_text() -> None:
    block = SemanticMining(6, "l2", "identity", ffn=True).double()
    x, texts = rows(20, 6, seed=3), rows(4, 6, seed=4)
    scores = block.scores(x, texts, 14.0)
    assert torch.equal(scores.argmax(1), (x @ texts.T).argmax(1))
    mean, count = pool(assign("argmax_st", scores, scores.softmax(-1)), block.values(x), 1.0)
    torch.testing.assert_close(block.read(block.moved(texts, texts, mean, count > 0)), texts)


def test_a_class_without_images_keeps_what_is_stored() -> None:
    block = SemanticMining(6, "l2", "random", ffn=False).double()
    x, texts, stored = rows(5, 6), rows(3, 6, seed=1), rows(3, 6, seed=2)
    assignment = torch.tensor([[1.0, 0, 0]] * 5, dtype=torch.float64)
    mean, count = pool(assignment, block.values(x), 1.0)
    moved = block.moved(texts, stored, mean, count > 0)
    assert torch.equal(moved[1:], stored[1:])
    assert not torch.allclose(moved[0], stored[0])
    torch.testing.assert_close(moved[0], texts[0] + block.out(x.mean(0)))


def test_eta_chooses_between_mean_and_sum() -> None:
    assignment = torch.tensor([[1.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    x = rows(3, 4)
    torch.testing.assert_close(pool(assignment, x, 1.0)[0][0], x[:2].mean(0))
    torch.testing.assert_close(pool(assignment, x, 0.0)[0][0], x[:2].sum(0))


def test_the_first_of_equal_classes_wins() -> None:
    assert hard(torch.tensor([[0.5, 0.5, 0.0]])).tolist() == [[1, 0, 0]]
    assert hard(torch.zeros(2, 3)).tolist() == [[1, 0, 0]] * 2


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.floats(0.1, 300))
def test_the_hard_assignment_is_one_hot_argmax(classes: int, size: float) -> None:
    soft = (rows(9, classes, seed=classes).float() * size).softmax(-1)
    assert torch.equal(hard(soft), torch.nn.functional.one_hot(soft.argmax(-1), classes).float())


@pytest.mark.parametrize("size", [0.0, 1.0, 300.0])
def test_the_entropy_of_an_assignment_is_that_of_its_probabilities(size: float) -> None:
    scores = rows(9, 5) * size
    soft = scores.softmax(-1)
    torch.testing.assert_close(entropy(scores, soft), torch.special.entr(soft).sum(-1))
