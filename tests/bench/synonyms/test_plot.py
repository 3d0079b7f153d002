"""The picture of a class: the plane of its names, what is joined, which images are drawn, labels apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.source import Source
from pzsl_bench.encoding.encode import Encoded
from pzsl_bench.synonyms.plot import (
    ASIDE,
    FONT,
    LINE,
    MAX_IMAGES,
    WIDTH,
    check_suffix,
    draw,
    images_of,
    label_offsets,
    overlap,
    picture,
    with_images,
)
from pzsl_bench.synonyms.report import Space, spaces_of
from pzsl_bench.synonyms.space import Compactness

HOW = Compactness(rho=0.75)


def space_at(*degrees: float) -> Space:
    angles = np.radians(degrees)
    rows = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1).astype(np.float32)
    return spaces_of(rows[None], [len(rows)], HOW)[0]


def test_lines_join_names_that_are_at_most_eps_apart() -> None:
    drawn = picture("cat", ["cat", "kitty", "puss", "CT scanner"], space_at(0, 10, 20, 80), HOW)
    assert drawn.edges == ((0, 1), (1, 2))
    assert drawn.kept.tolist() == [True, True, True, False]
    assert drawn.title == "cat: 3 of 4 names kept, eps 0.174 (coverage)"


def test_the_plane_keeps_the_distances_of_names_that_lie_in_it() -> None:
    space = space_at(0, 10, 20, 80)
    drawn = picture("cat", list("abcd"), space, HOW)
    assert drawn.share == pytest.approx(1.0)
    for i, j in combinations(range(4), 2):
        there = np.linalg.norm(drawn.places[i] - drawn.places[j])
        assert there == pytest.approx(np.linalg.norm(space.points[i] - space.points[j]), abs=1e-6)


@pytest.mark.parametrize("degrees", [(0,), (0, 30), (0, 0), (0, 0, 30)])
def test_few_names_are_drawn_too(tmp_path: Path, degrees: tuple[float, ...]) -> None:
    drawn = picture("cat", [f"name {i}" for i in range(len(degrees))], space_at(*degrees), HOW)
    assert np.isfinite(drawn.places).all() and np.isfinite(drawn.share)
    assert drawn.kept[np.array(degrees) == 0].all()
    draw(drawn, tmp_path / "few.png")
    assert (tmp_path / "few.png").stat().st_size > 1000


def world(tags: bool = False) -> tuple[Source, Encoded]:
    """Class 0 is seen, class 1 is not; images of a class have the class's number as their last entry."""
    labels = np.repeat([0, 1], 300)
    is_test = np.arange(600) % 2 == 0
    features = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
    features[:, 2] = labels
    features[2] = np.nan
    marks = np.where(labels[:, None] == np.arange(2), 1, -1).astype(np.int8)
    more: dict[str, Any] = {"tags": marks} if tags else {}
    source = Source(
        labels=None if tags else labels,
        is_test=is_test,
        class_names=("cat", "dog"),
        seen=(0,),
        unseen=(1,),
        validation=(),
        checksum="x",
        features=features,
        **more,
    )
    texts = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
    return source, Encoded(features, texts, 100.0, "key", (2,))


@pytest.mark.parametrize("tags", [False, True])
def test_images_are_training_images_of_seen_and_test_images_of_unseen_classes(tags: bool) -> None:
    source, encoded = world(tags)
    training = encoded.features[source.training]
    shift = encoded.texts.mean(0) - training.mean(0)
    for number, tested in ((0, False), (1, True)):
        images = images_of(source, encoded, number)
        of_class = encoded.features[(np.repeat([0, 1], 300) == number) & (source.is_test == tested)]
        apart = np.linalg.norm(images.rows[:, None] - (of_class + shift)[None], axis=2)
        assert np.nanmin(apart, axis=1).max() < 1e-5
        assert len(images.rows) == min(len(of_class), MAX_IMAGES)
        assert ("not used" in images.caption) == tested


def test_no_image_of_an_unseen_class_moves_anything() -> None:
    source, encoded = world()
    seen = images_of(source, encoded, 0)
    changed = np.where(np.repeat([0, 1], 300)[:, None] == 1, 7.0, encoded.features).astype(np.float32)
    again = images_of(source, replace(encoded, features=changed), 0)
    assert np.array_equal(seen.rows, again.rows)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "PNG"])
def test_a_picture_is_written_and_is_the_same_every_time(tmp_path: Path, suffix: str) -> None:
    space = space_at(0, 10, 20, 80)
    source, encoded = world()
    drawn = with_images(
        picture("cat", ["a cat for $5", "b", "c", "d" * 90], space, HOW), space, images_of(source, encoded, 0)
    )
    for name in ("one", "two"):
        draw(drawn, check_suffix(tmp_path / name / f"picture.{suffix}"))
    one, two = ((tmp_path / name / f"picture.{suffix}").read_bytes() for name in ("one", "two"))
    assert one == two
    if suffix == "svg":
        assert b"<svg" in one


def test_a_picture_needs_a_known_ending(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.png, \.svg or \.pdf"):
        check_suffix(tmp_path / "picture.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        draw(picture("cat", ["cat"], space_at(0), HOW), tmp_path / "file" / "picture.png")


places = st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300)), min_size=1, max_size=25)


@given(places, st.integers(1, 30))
def test_labels_do_not_overlap(points: list[tuple[float, float]], letters: int) -> None:
    labels = ["x" * letters] * len(points)
    offsets = label_offsets(np.array(points), labels, np.array([150.0, 150.0]))
    width = WIDTH * FONT * letters
    boxes = []
    for (x, y), (right, up) in zip(points, offsets, strict=True):
        assert abs(right) == ASIDE
        left = x + right if right > 0 else x + right - width
        boxes.append((left, y + up, left + width, y + up + LINE))
    assert not any(overlap(one, other) for one, other in combinations(boxes, 2))
