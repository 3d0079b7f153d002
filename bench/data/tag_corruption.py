"""How annotations of tags get lost or wrong: the rules behind the ambiguities of images with several tags.

Annotations are 1 (the image has the tag), -1 (it has not) or 0 (nobody says). A rule turns the true ones into those
that a method is told. What was 0 stays 0. Like candidate sets, what is told is a pure function of (dataset, rule,
rate, seed), and the rate is not part of the random numbers' key: what is lost at one rate is lost at every higher one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base import randomness

Marks = NDArray[np.int8]

PIECE = 2**22
"""Entries that are looked at together: random numbers of a large dataset would not fit into memory at once."""


def lost(tags: Marks, rate: float, stream: int) -> Marks:
    """(N, K) every annotation is lost with probability rate."""
    marks = tags.copy()
    for rows in _pieces(tags):
        marks[rows][_uniform(stream, tags, rows) < rate] = 0
    return marks


def fixed_number(tags: Marks, number: int, stream: int) -> Marks:
    """(N, K) so many present and so many absent annotations of every tag are left, or all where there are fewer."""
    marks = np.zeros_like(tags)
    images = np.arange(len(tags), dtype=np.uint64)
    for k in range(tags.shape[1]):
        dice = randomness.uniform_at(stream, images * np.uint64(tags.shape[1]) + np.uint64(k))
        for sign in (1, -1):
            rows = np.flatnonzero(tags[:, k] == sign)
            marks[rows[_lowest(dice[rows], number)], k] = sign
    return marks


def single_positive(tags: Marks, stream: int) -> Marks:
    """(N, K) one present tag of every image, and nothing about all others."""
    marks = np.zeros_like(tags)
    for rows in _pieces(tags):
        dice = np.where(tags[rows] > 0, _uniform(stream, tags, rows), np.inf)
        some = np.flatnonzero(np.isfinite(dice).any(1))
        marks[rows][some, dice[some].argmin(1)] = 1
    return marks


def false_positives(tags: Marks, number: int, stream: int) -> Marks:
    """(N, K) so many absent tags of every image are called present, or all where there are fewer."""
    marks = tags.copy()
    for rows in _pieces(tags):
        _join(marks[rows], _uniform(stream, tags, rows), number)
    return marks


def near_false_positives(tags: Marks, number: int, stream: int, texts: NDArray[np.float64]) -> Marks:
    """(N, K) as `false_positives`, tags with names like those of the image's own before others.

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
        # An exponential clock for every tag; those that ring first are drawn one by one by their weights.
        clock = -np.log1p(-_uniform(stream, tags, rows)) * 2.0 ** (8.0 * rank / max(tags.shape[1] - 1, 1))
        _join(marks[rows], clock, number)
    return marks


def _join(marks: Marks, dice: NDArray[np.float64], number: int) -> None:
    """Call those absent tags of every row present whose dice are lowest; changes the rows in place."""
    if not number:
        return
    dice = np.where(marks < 0, dice, np.inf)
    first = _lowest(dice, number)
    joins = np.isfinite(np.take_along_axis(dice, first, axis=1))
    where = np.broadcast_to(np.arange(len(marks))[:, None], first.shape)
    marks[where[joins], first[joins]] = 1


def _lowest(dice: NDArray[np.float64], number: int) -> NDArray[np.intp]:
    """Where the so many lowest are along the last axis, in any order; everywhere, if there are no more."""
    if number >= dice.shape[-1]:
        return np.argsort(dice, axis=-1)
    return np.argpartition(dice, number, axis=-1)[..., :number]


def _pieces(tags: Marks) -> list[slice]:
    size = max(1, PIECE // max(1, tags.shape[1]))
    return [slice(start, min(start + size, len(tags))) for start in range(0, len(tags), size)]


def _uniform(stream: int, tags: Marks, rows: slice) -> NDArray[np.float64]:
    """The uniform numbers of some rows; each has its own, however the rows are cut."""
    width = tags.shape[1]
    places = np.arange(rows.start * width, rows.stop * width, dtype=np.uint64)
    return randomness.uniform_at(stream, places).reshape(-1, width)
