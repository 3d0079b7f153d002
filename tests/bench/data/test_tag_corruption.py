"""Annotations of tags: what is lost, what is added, and that a higher rate only goes further."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import UserError
from pzsl_bench.data import tag_corruption
from pzsl_bench.data.ambiguity import AMBIGUITIES, Labelled, Marks, allowed, draw_candidates, mask_hash

NAMES = [name for name in AMBIGUITIES.names() if AMBIGUITIES.get(name).task == "tags"]
COUNTED = [name for name in NAMES if AMBIGUITIES.get(name).least is not None]


def tags(images: int, classes: int, seed: int = 0) -> Marks:
    """Every image has a tag; some entries nobody has looked at."""
    drawn = np.random.default_rng(seed).choice(
        np.array([1, -1, 0], dtype=np.int8), size=(images, classes), p=[0.3, 0.6, 0.1]
    )
    drawn[np.arange(images), np.arange(images) % classes] = 1
    return drawn


def labelled(true: Marks, seed: int = 0) -> Labelled:
    texts = np.random.default_rng(seed).normal(size=(true.shape[1], 6))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)

    def reference() -> tag_corruption.NDArray[np.float64]:
        raise AssertionError("no rule of tags asks for it")

    return Labelled(np.empty(0, dtype=np.int64), true.shape[1], texts, reference, tags=true)


def draw(name: str, true: Marks, rate: float, seed: int = 0) -> Marks:
    drawn = draw_candidates(name, labelled(true), rate, "toy", seed)
    assert drawn.dtype == np.int8
    return drawn.astype(np.int8)


TRUE = tags(40, 7)
RATES = {"rps": (0.2, 0.7), "fpc": (5, 2), "candidates": (1, 3), "candidates_near": (1, 3)}
"""From mild to severe."""


@pytest.mark.parametrize("name", NAMES)
def test_annotations_are_a_function_of_their_names(name: str) -> None:
    rate = RATES.get(name, (0.0,))[0]
    assert (draw(name, TRUE, rate, 0) == draw(name, TRUE, rate, 0)).all()
    assert (draw(name, TRUE, rate, 0) != draw(name, TRUE, rate, 1)).any()


@pytest.mark.parametrize(
    ("name", "rate", "known"),
    [
        ("rps", 0.5, "6cbaa4d626b46461"),
        ("fpc", 3, "bc16f962c804bfce"),
        ("single_positive", 0, "85e9fc2abf89c45a"),
        ("candidates", 2, "87617b3e5c3019c0"),
        ("candidates_near", 2, "9a2d31c38a529d7e"),
    ],
)
def test_annotations_are_what_they_always_were(name: str, rate: float, known: str) -> None:
    # Records of other machines and years hold these numbers.
    true = np.where(randomness.uniform(randomness.key("frozen"), 30, 8) < 0.4, 1, -1).astype(np.int8)
    true[:, 0] = 1
    texts = np.eye(8) + 0.1 * np.arange(8)[:, None]
    labelled = Labelled(np.empty(0, dtype=np.int64), 8, texts, lambda: texts, tags=true)
    assert mask_hash(draw_candidates(name, labelled, rate, "toy", 0)) == known


@given(st.integers(1, 30), st.integers(1, 6), st.floats(0, 1), st.floats(0, 1), st.integers(0, 20))
def test_what_is_lost_at_one_rate_is_lost_at_every_higher_one(
    images: int, classes: int, low: float, high: float, seed: int
) -> None:
    true, (low, high) = tags(images, classes, seed), sorted((low, high))
    some, fewer = draw("rps", true, low), draw("rps", true, high)
    assert ((fewer == 0) | (fewer == some)).all()
    assert ((some == 0) | (some == true)).all()
    assert (draw("rps", true, 0.0) == true).all()
    assert not draw("rps", true, 1.0).any()


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 12), st.integers(0, 20))
def test_so_many_of_every_tag_are_left(images: int, classes: int, number: int, seed: int) -> None:
    true = tags(images, classes, seed)
    left, more = draw("fpc", true, number), draw("fpc", true, number + 1)
    for sign in (1, -1):
        assert ((left == sign).sum(0) == np.minimum((true == sign).sum(0), number)).all()
    assert ((left == 0) | (left == true)).all()
    assert ((left == 0) | (left == more)).all()


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 20))
def test_one_present_tag_of_every_image_is_told(images: int, classes: int, seed: int) -> None:
    true = tags(images, classes, seed)
    marked = draw("single_positive", true, 0)
    assert ((marked > 0).sum(1) == 1).all()
    assert (true[marked > 0] == 1).all()
    assert not (marked < 0).any()


@pytest.mark.parametrize("name", ["candidates", "candidates_near"])
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 8), st.integers(0, 20))
def test_candidates_hold_all_true_tags_and_so_many_others(
    name: str, images: int, classes: int, number: int, seed: int
) -> None:
    true = tags(images, classes, seed)
    marked, more = draw(name, true, number), draw(name, true, number + 1)
    assert ((marked > 0).sum(1) == (true > 0).sum(1) + np.minimum((true < 0).sum(1), number)).all()
    assert (marked[true > 0] == 1).all()
    assert ((marked == 0) == (true == 0)).all()
    assert (more[marked > 0] == 1).all()
    assert (draw(name, true, 0) == true).all()


def test_near_tags_are_those_with_similar_texts() -> None:
    angles = np.linspace(0, np.pi, 12)
    texts = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    true = np.full((4000, 12), -1, dtype=np.int8)
    true[:, 0] = 1
    near = (tag_corruption.near_false_positives(true, 1, 7, texts) > 0).mean(0)
    even = (tag_corruption.false_positives(true, 1, 7) > 0).mean(0)
    assert near[1] > 0.35
    assert (np.diff(near[1:]) < 0.03).all()
    assert abs(even[1:] - 1 / 11).max() < 0.03


def test_large_tables_are_drawn_in_pieces_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [draw(name, TRUE, RATES.get(name, (0.0,))[0]) for name in NAMES]
    monkeypatch.setattr(tag_corruption, "ENTRIES_AT_ONCE", 30)
    pieces = [draw(name, TRUE, RATES.get(name, (0.0,))[0]) for name in NAMES]
    assert all((a == b).all() for a, b in zip(whole, pieces, strict=True))


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("rate", [0.5, -1.0, 2.5])
def test_a_count_is_a_whole_number(name: str, rate: float) -> None:
    with pytest.raises(UserError, match=f"of ambiguity '{name}' is not a whole number"):
        draw(name, TRUE, rate)


def test_a_share_is_no_count() -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        draw("rps", TRUE, 3)
    with pytest.raises(UserError, match="has no rate"):
        draw("single_positive", TRUE, 0.5)


def test_a_tag_may_be_there_unless_it_is_said_to_be_absent() -> None:
    assert (allowed(np.array([[1, 0, -1]], dtype=np.int8)) == [[True, True, False]]).all()
    mask = np.array([[True, False]])
    assert (allowed(mask) == mask).all()


def test_the_hash_of_annotations_tells_unknown_from_absent() -> None:
    marks = [np.array([row], dtype=np.int8) for row in ([1, 0, -1], [1, -1, -1], [1, 0, 0], [0, 1, -1])]
    assert len({mask_hash(each) for each in marks}) == 4
    # Candidate sets are named as ever.
    assert mask_hash(np.array([[True, False], [True, True]])) == "6dc8ee022d9e5eb5"
