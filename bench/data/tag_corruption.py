"""Rules by which annotations of tags get lost or wrong, for the ambiguities of images with several tags.

Annotations are 1 (the image has the tag), -1 (it has not) or 0 (not annotated). A rule turns the true annotations into
those that a method sees; a 0 stays 0. Like candidate sets, the result is a pure function of (dataset, rule, rate,
seed). The rate is not part of the random numbers' key, so what is lost at one rate is lost at every higher one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base import randomness

Marks = NDArray[np.int8]

ENTRIES_AT_ONCE = 2**22
"""Entries that are processed together: the random numbers of a large dataset would not fit into memory at once."""


def lost(tags: Marks, rate: float, stream: int) -> Marks:
    """(N, K) every annotation is lost with probability rate."""
    marks = tags.copy()
    for rows in _pieces(tags):
        marks[rows][_uniform(stream, tags, rows) < rate] = 0
    return marks


def fixed_number(tags: Marks, number: int, stream: int) -> Marks:
    """(N, K) `number` present and `number` absent annotations of every tag are left, or all where there are fewer."""
    marks = np.zeros_like(tags)
    images = np.arange(len(tags), dtype=np.uint64)
    for k in range(tags.shape[1]):
        dice = randomness.uniform_at(stream, images * np.uint64(tags.shape[1]) + np.uint64(k))
        for sign in (1, -1):
            rows = np.flatnonzero(tags[:, k] == sign)
            marks[rows[_lowest(dice[rows], number)], k] = sign
    return marks


def single_positive(tags: Marks, stream: int) -> Marks:
    """(N, K) one present tag of every image is annotated, and nothing else."""
    marks = np.zeros_like(tags)
    for rows in _pieces(tags):
        dice = np.where(tags[rows] > 0, _uniform(stream, tags, rows), np.inf)
        with_tags = np.flatnonzero(np.isfinite(dice).any(1))
        marks[rows][with_tags, dice[with_tags].argmin(1)] = 1
    return marks


def false_positives(tags: Marks, number: int, stream: int) -> Marks:
    """(N, K) `number` absent tags of every image are annotated as present, or all where there are fewer."""
    marks = tags.copy()
    for rows in _pieces(tags):
        _add_present(marks[rows], _uniform(stream, tags, rows), number)
    return marks


def near_false_positives(tags: Marks, number: int, stream: int, texts: NDArray[np.float64]) -> Marks:
    """(N, K) as `false_positives`, but tags whose names are similar to the image's own come first.

    The r-th nearest of an image's absent tags, by its cosine to the nearest of the present ones, is drawn with a
    weight of 2^(-8 r / (K-1)), r = 0, 1, ... Ranks rather than similarities decide.
    """
    similarity = (texts @ texts.T).astype(np.float32)
    marks = tags.copy()
    for rows in _pieces(tags):
        nearest = np.full(tags[rows].shape, -np.inf, dtype=np.float32)
        for k in range(tags.shape[1]):
            has = tags[rows, k] > 0
            nearest[has] = np.maximum(nearest[has], similarity[k])
        nearest[tags[rows] >= 0] = -np.inf
        rank = np.argsort(np.argsort(-nearest, axis=1, kind="stable"), axis=1, kind="stable")
        # Exponential random numbers with these weights as rates: the smallest are a weighted draw without replacement.
        clock = -np.log1p(-_uniform(stream, tags, rows)) * 2.0 ** (8.0 * rank / max(tags.shape[1] - 1, 1))
        _add_present(marks[rows], clock, number)
    return marks


def _add_present(marks: Marks, dice: NDArray[np.float64], number: int) -> None:
    """In every row, set the `number` absent tags with the lowest dice to present; changes `marks` in place."""
    if not number:
        return
    dice = np.where(marks < 0, dice, np.inf)
    columns = _lowest(dice, number)
    absent = np.isfinite(np.take_along_axis(dice, columns, axis=1))
    rows = np.broadcast_to(np.arange(len(marks))[:, None], columns.shape)
    marks[rows[absent], columns[absent]] = 1


def _lowest(dice: NDArray[np.float64], number: int) -> NDArray[np.intp]:
    """Positions of the `number` lowest dice along the last axis, in any order; all positions if there are no more."""
    if number >= dice.shape[-1]:
        return np.argsort(dice, axis=-1)
    return np.argpartition(dice, number, axis=-1)[..., :number]


def _pieces(tags: Marks) -> list[slice]:
    """Slices of rows with about `ENTRIES_AT_ONCE` entries each."""
    size = max(1, ENTRIES_AT_ONCE // max(1, tags.shape[1]))
    return [slice(start, min(start + size, len(tags))) for start in range(0, len(tags), size)]


def _uniform(stream: int, tags: Marks, rows: slice) -> NDArray[np.float64]:
    """The uniform numbers of these rows; a row has the same ones, whatever the slices are."""
    width = tags.shape[1]
    places = np.arange(rows.start * width, rows.stop * width, dtype=np.uint64)
    return randomness.uniform_at(stream, places).reshape(-1, width)
