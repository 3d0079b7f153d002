"""Metrics of images with tags: against two published codes' own numbers, and against what they must obey."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from pzsl_bench.data.tag_corruption import Marks
from pzsl_bench.judging import tag_metrics as module
from pzsl_bench.judging.tag_metrics import (
    PRESETS,
    Preset,
    Reals,
    average_precisions,
    best_tags,
    mean_precision,
    tag_metrics,
)

LESA, SDL = PRESETS
# Both codes were run on these numbers: m = 1..6 images, n = 1..5 tags.
SCORES = np.sin(1.7 * np.outer(np.arange(1, 7), np.arange(1, 6)))
PRESENT = np.array([[int(c) for c in row] for row in ("10010", "01000", "00000", "11000", "00010", "01010")])
TAGS = np.where(PRESENT == 1, 1, -1).astype(np.int8)


def percent(value: float | None) -> float:
    assert value is not None
    return 100 * value


@pytest.mark.parametrize(
    ("number", "suffix", "known"),
    [
        (1, "_sdl", (40.0, 25.0, 30.76923)),
        (3, "_sdl", (46.66667, 87.5, 60.86957)),
        (5, "_sdl", (32.0, 100.0, 48.48485)),
        (1, "", (33.33333, 25.0, 28.57143)),
        (3, "", (38.88889, 87.5, 53.84615)),
        (5, "", (26.66667, 100.0, 42.10526)),
    ],
)
def test_naming_k_tags_counts_as_the_published_codes_do(
    number: int, suffix: str, known: tuple[float, float, float]
) -> None:
    metrics = tag_metrics(SCORES, TAGS, 5, [number])
    for short, value in zip(("P", "R", "F1"), known, strict=True):
        assert percent(metrics[f"{short}_at_{number}_seen{suffix}"]) == pytest.approx(value, abs=6e-6)


def test_mean_average_precision_is_that_of_the_published_codes() -> None:
    metrics = tag_metrics(SCORES, TAGS, 5, [1])
    # They add 1e-8 to the number of images that have a tag.
    assert percent(metrics["mAP_seen_sdl"]) == pytest.approx(46.22222204, abs=1e-6)
    assert percent(metrics["mAP_seen"]) == pytest.approx(44.33333316, abs=2e-6)
    [each] = average_precisions(SCORES, TAGS, [np.ones((6, 1), dtype=bool)])
    assert each == pytest.approx([0.83333333, 1, 0, 0.38333333, 0], abs=1e-8)


def test_unseen_tags_alone_are_asked_of_images_that_have_one() -> None:
    # Tags 2, 4 and 5 are unseen; the exam has them last.
    order = [0, 2, 1, 3, 4]
    metrics = tag_metrics(SCORES[:, order], TAGS[:, order], 2, [2])
    values = [percent(metrics[f"{name}_zsl_sdl"]) for name in ("P_at_2", "R_at_2", "F1_at_2", "mAP")]
    assert values == pytest.approx([50, 83.33333, 62.5, 49.25925910], abs=4e-6)


def slow_precision(scores: Reals, tags: Marks, counted: module.Mask) -> float:
    """One tag, one image after the other."""
    order = sorted(np.flatnonzero(counted), key=lambda image: (-scores[image], image))
    shares, hits = [], 0
    for place, image in enumerate(order, 1):
        if tags[image] > 0:
            hits += 1
            shares.append(hits / place)
    return float(np.mean(shares)) if shares else 0.0


shapes = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(0, 10_000))


@given(shapes, st.integers(1, 4))
def test_average_precision_is_the_mean_share_of_hits_down_the_ranking(shape: tuple[int, int, int], levels: int) -> None:
    images, classes, seed = shape
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=(images, classes)).astype(np.float32)
    tags = rng.integers(-1, 2, size=(images, classes)).astype(np.int8)
    sample = rng.random((images, 1)) < 0.7
    known, sampled = average_precisions(scores, tags, [tags != 0, sample])
    for k in range(classes):
        assert known[k] == pytest.approx(slow_precision(scores[:, k], tags[:, k], tags[:, k] != 0))
        assert sampled[k] == pytest.approx(slow_precision(scores[:, k], tags[:, k], sample[:, 0]))


@given(shapes)
def test_metrics_are_shares_and_do_not_see_how_scores_are_scaled(shape: tuple[int, int, int]) -> None:
    images, classes, seed = shape
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(images, classes))
    tags = rng.integers(-1, 2, size=(images, classes)).astype(np.int8)
    seen = 1 + seed % classes
    metrics = tag_metrics(scores, tags, seen, (1, 3))
    assert all(value is None or 0 <= value <= 1 for value in metrics.values())
    assert metrics == tag_metrics(np.exp(scores) * 5, tags, seen, (1, 3))
    plain = {name: value for name, value in metrics.items() if not name.endswith("_sdl")}
    assert plain == tag_metrics(scores, tags, seen, (1, 3), [LESA])


@given(shapes)
def test_a_perfect_ranking_is_worth_all(shape: tuple[int, int, int]) -> None:
    images, classes, seed = shape
    tags = np.random.default_rng(seed).choice(np.array([1, -1], dtype=np.int8), size=(images, classes))
    tags[0] = 1
    metrics = tag_metrics(tags.astype(float), tags, classes, (1,))
    assert metrics["mAP_seen"] == metrics["mAP_seen_sdl"] == metrics["P_at_1_seen_sdl"] == 1


@given(shapes)
@settings(max_examples=30)
def test_cutting_the_work_into_blocks_changes_nothing(shape: tuple[int, int, int]) -> None:
    images, classes, seed = shape
    rng = np.random.default_rng(seed)
    scores = rng.integers(3, size=(images, classes)).astype(np.float32)
    tags = rng.integers(-1, 2, size=(images, classes)).astype(np.int8)
    whole = tag_metrics(scores, tags, 1, (1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 1)
        assert tag_metrics(scores, tags, 1, (1, 2)) == whole


def test_equal_scores_keep_the_order_of_images_and_of_tags() -> None:
    scores = np.zeros((3, 4), dtype=np.float32)
    assert best_tags(scores, 3).tolist() == [[0, 1, 2]] * 3
    tags = np.array([[-1, 1, 1, -1], [1, -1, 1, -1], [-1, -1, -1, 1]], dtype=np.int8)
    [each] = average_precisions(scores, tags, [np.ones((3, 1), dtype=bool)])
    assert each == pytest.approx([1 / 2, 1, 1, 1 / 3])


def test_presets_differ_where_nothing_is_known_or_there() -> None:
    scores = np.array([[0.9], [0.8], [0.7]])
    tags = np.array([[0], [1], [-1]], dtype=np.int8)
    metrics = tag_metrics(scores, tags, 1, (1,))
    # An unknown image at the top: left out of the ranking, or a miss.
    assert metrics["mAP_seen"] == 1
    assert metrics["mAP_seen_sdl"] == 1  # the image is left out, because it has no tag
    more = np.hstack([tags, np.array([[1], [1], [1]], dtype=np.int8)])
    both = tag_metrics(np.hstack([scores, scores]), more, 2, (1,))
    assert both["mAP_seen"] == 1
    assert both["mAP_seen_sdl"] == pytest.approx((1 / 2 + 1) / 2)
    # An unknown tag that is named is no hit for either.
    assert both["P_at_1_seen"] == both["P_at_1_seen_sdl"] == pytest.approx(1 / 3)


def test_a_tag_without_images_is_a_zero_or_is_skipped() -> None:
    skip: Preset = replace(LESA, empty_tag="skip")
    each, has = np.array([0.5, 0.0]), np.array([True, False])
    assert mean_precision(each, has, LESA) == 0.25
    assert mean_precision(each, has, skip) == 0.5
    assert mean_precision(each[1:], has[1:], skip) is None
    assert tag_metrics(SCORES, TAGS, 5, (1,), [skip])["mAP_seen"] == pytest.approx(0.4433333333 * 5 / 3)


def test_without_any_image_to_ask_there_is_no_number() -> None:
    nothing = np.full((3, 2), -1, dtype=np.int8)
    metrics = tag_metrics(np.zeros((3, 2)), nothing, 1, (1, 2))
    assert set(metrics.values()) == {None}
    # Where seen tags occur, those of the unseen side are still asked for nothing.
    nothing[:, 0] = 1
    metrics = tag_metrics(np.zeros((3, 2)), nothing, 1, (1, 2))
    assert metrics["mAP_zsl"] is None and metrics["F1_at_1_zsl"] is None
    assert metrics["mAP_seen"] == 1 and metrics["F1_at_1_gzsl"] == 1
    # Two tags cannot be named among one.
    assert metrics["F1_at_2_seen"] is None and metrics["F1_at_2_gzsl"] is not None


def test_without_unseen_tags_there_are_seen_ones_only() -> None:
    assert {name.split("_")[-1] for name in tag_metrics(SCORES, TAGS, 5, (1,), [LESA])} == {"seen"}


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000))
def test_average_precision_agrees_with_scikit_learn(images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, present = rng.permutation(images)[:, None].astype(float), rng.random((images, 1)) < 0.4
    present[0] = True
    [[value]] = average_precisions(scores, np.where(present, 1, -1).astype(np.int8), [np.ones((images, 1), dtype=bool)])
    assert value == pytest.approx(average_precision_score(present[:, 0], scores[:, 0]))
