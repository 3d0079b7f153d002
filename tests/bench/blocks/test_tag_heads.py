"""The shared head for tags starts at the encoder's ranking, with a threshold where marks put it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tag_studies import TAGS, drawn_tags, images_of, tag_studies, tag_texts

from pzsl_bench.blocks.tag_heads import (
    TagHead,
    binary_cross_entropy,
    first_threshold,
    is_absent,
    is_present,
    marks_of,
    positives_per_image,
)
from pzsl_bench.contract import Study
from pzsl_bench.contract.heads import SPEED

TEXTS = tag_texts()
TRUTH = drawn_tags(80, len(TEXTS))
IMAGES = images_of(TRUTH, TEXTS)


def study() -> Study:
    return tag_studies(TRUTH[:, :TAGS].int() * 2 - 1, IMAGES, TEXTS[:TAGS]).of(0)


def test_before_training_scores_are_scaled_cosines_above_one_threshold() -> None:
    head = TagHead(study(), 4, learn_scale=True)
    want = 20.0 * (IMAGES @ TEXTS.T - first_threshold(study()))
    torch.testing.assert_close(head(IMAGES, TEXTS), want)


def test_as_many_cosines_lie_above_the_threshold_as_tags_are_marked_present() -> None:
    above = (first_threshold(study()) - 1e-6 <= IMAGES @ TEXTS[:TAGS].T).sum()
    assert above == TRUTH[:, :TAGS].sum()


def test_the_scale_leaves_the_threshold_where_it_is() -> None:
    head = TagHead(study(), 4, learn_scale=True)
    before = head(IMAGES, TEXTS)
    with torch.no_grad():
        assert head.log_scale is not None
        head.log_scale += 0.02
    torch.testing.assert_close(head(IMAGES, TEXTS), before * math.exp(SPEED * 0.02))


def test_a_single_class_is_a_present_tag_and_what_is_no_candidate_is_absent() -> None:
    plain = Study(IMAGES[:2], torch.tensor([[True, False], [True, True]]), IMAGES[:2], TEXTS[:2], ("a", "b"), 1.0)
    assert marks_of(plain).tolist() == [[1, -1], [1, 1]]


@pytest.mark.parametrize(("unknown", "absent"), [("ignore", [0, 0, 1]), ("negative", [0, 1, 1])])
def test_what_is_not_said_is_left_out_or_absent(unknown: str, absent: list[float]) -> None:
    marks = torch.tensor([1.0, 0.0, -1.0])
    assert is_present(marks).tolist() == [1, 0, 0]
    assert is_absent(marks, unknown).tolist() == absent


@settings(deadline=None)
@given(st.floats(0.0, 0.9), st.integers(0, 5))
def test_losing_annotations_at_random_does_not_bias_the_expected_number(rate: float, seed: int) -> None:
    truth = drawn_tags(3000, 6, seed)
    marks = (truth.int() * 2 - 1) * (torch.rand(truth.shape, generator=torch.Generator().manual_seed(99)) >= rate)
    images = torch.zeros(len(truth), 2)
    expected = positives_per_image(tag_studies(marks, images, TEXTS[:6, :2]).of(0))
    assert expected == pytest.approx(truth.sum(1).float().mean().item(), rel=0.12)


def test_binary_cross_entropy_is_exact_far_from_zero() -> None:
    logits = torch.tensor([-300.0, 300.0])
    assert binary_cross_entropy(logits, torch.ones(2), torch.zeros(2)).tolist() == [300, 0]
    assert binary_cross_entropy(logits, torch.zeros(2), torch.ones(2)).tolist() == [0, 300]
