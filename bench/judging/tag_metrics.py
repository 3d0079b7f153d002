"""Metrics of images with several tags, as two families of published code compute them.

Average precision of a tag: images ranked by their score, the mean over its images of (its images so far) / (images so
far), nothing interpolated; mAP is the plain mean over tags. P, R and F1 at K: the K best-scored tags of every image are
named, and hits, named tags and present tags are counted over all images together. Equal scores keep their order: the
image, or the tag, with the lower number comes first.

Published codes treat images and tags without a positive differently, which changes the numbers. A preset is one such
convention (the evaluated tags are the seen tags, the unseen tags or both):

    preset  images without an evaluated tag  a tag no image has  unknown tags
    lesa    count                            AP 0                left out of AP, no hit when named
    sdl     left out                         AP 0                count as absent
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.data.tag_corruption import Marks

Reals = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Scores = NDArray[np.float32] | NDArray[np.float64]

VERSION = 1
"""Raised whenever a metric changes."""
BLOCK = 2**23
"""Scores that are ranked at once, to save memory."""


@dataclass(frozen=True)
class Preset:
    """A convention for images and tags without a positive."""

    name: str
    suffix: str
    """Ends the names of its metrics."""
    drop_images: bool
    """Images without any of the evaluated tags are left out."""
    mask_unknown: bool
    """Unknown tags are left out of average precision; otherwise they count as absent."""
    empty_tag: Literal["zero", "skip"] = "zero"
    """A tag that no image has is a zero in the mean, or is left out of it."""


PRESETS = (
    Preset("lesa", "", drop_images=False, mask_unknown=True),
    Preset("sdl", "_sdl", drop_images=True, mask_unknown=False),
)


def average_precisions(scores: Scores, tags: Marks, counted: Sequence[Mask]) -> Reals:
    """(P, C) average precision of every tag for each of P masks of images to count; 0 if no counted image has the tag.

    `scores` and `tags` are (M, C); every mask of `counted` is (M, C), or (M, 1) where all tags count the same images.
    """
    images, classes = scores.shape
    precisions = np.zeros((len(counted), classes))
    width = max(1, BLOCK // max(1, images))
    for start in range(0, classes, width):
        columns = slice(start, start + width)
        # A contiguous row for every tag: sorting and gathering would otherwise jump through all of the memory.
        order = np.argsort(np.ascontiguousarray(-scores[:, columns].T), axis=1, kind="stable")
        present = _ranked(tags[:, columns] > 0, order)
        for p, mask in enumerate(counted):
            included = _ranked(mask if mask.shape[1] == 1 else mask[:, columns], order)
            rows, places = np.nonzero(present & included)
            number = np.bincount(rows, minlength=len(order))
            hits = np.arange(1, len(rows) + 1) - np.repeat(number.cumsum() - number, number)
            rank = included.cumsum(1, dtype=np.int32)[rows, places] if not included.all() else places + 1
            precisions[p, columns] = np.bincount(rows, hits / rank, len(order)) / np.maximum(number, 1)
    return precisions


def _ranked(mask: Mask, order: Ints) -> Mask:
    """(C, M) a mask of images, (M, C) or (M, 1), in the order (C, M) of every tag."""
    if mask.shape[1] == 1:
        return mask[:, 0][order]
    return np.take_along_axis(np.ascontiguousarray(mask.T), order, axis=1)


def with_images(tags: Marks) -> Mask:
    """(C,) the tags that some image has."""
    return np.asarray((tags > 0).any(axis=0), dtype=bool)


def mean_precision(precisions: Reals, has_images: Mask, preset: Preset) -> float | None:
    """The mean over tags; None where no tag is left."""
    values = precisions if preset.empty_tag == "zero" else precisions[has_images]
    return float(values.mean()) if len(values) else None


def best_tags(scores: Scores, number: int) -> Ints:
    """(M, number) the tags with the highest scores of every image, best first; of equal scores the lower tag number."""
    best = np.empty((len(scores), number), dtype=np.int64)
    size = max(1, BLOCK // max(1, scores.shape[1]))
    for start in range(0, len(scores), size):
        remaining = scores[start : start + size].copy()
        images = np.arange(len(remaining))
        for place in range(number):
            best[start : start + size, place] = remaining.argmax(1)
            remaining[images, best[start : start + size, place]] = -np.inf
    return best


def hits_at(scores: Scores, tags: Marks, top: Sequence[int]) -> dict[int, Ints]:
    """For every number of named tags, (M,) how many of the named tags are present; only numbers up to C."""
    # More tags than there are cannot be named.
    possible = [number for number in top if number <= scores.shape[1]]
    hits = np.take_along_axis(tags, best_tags(scores, max(possible, default=0)), axis=1) > 0
    return {number: hits[:, :number].sum(1) for number in possible}


@dataclass(frozen=True)
class TopTagMetrics:
    """Precision, recall and F1 if K tags are named for every image, over all images together."""

    precision: float
    recall: float
    f1: float


def top_tag_metrics(hits: Ints, present: Ints, number: int) -> TopTagMetrics | None:
    """From the (M,) hits among so many named tags and the (M,) present tags of every image; None without images."""
    if not len(hits):
        return None
    right, positives = int(hits.sum()), int(present.sum())
    precision, recall = right / (number * len(hits)), right / positives if positives else 0.0
    return TopTagMetrics(precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0)


def tag_metrics(
    scores: Scores, tags: Marks, seen: int, top: Sequence[int], presets: Sequence[Preset] = PRESETS
) -> dict[str, float | None]:
    """All metrics of (M, C) scores, of which the first `seen` columns are the seen tags.

    Among the seen tags (_seen) and, where there are unseen tags, among the unseen tags (_zsl) and among all (_gzsl).
    None where no image has any of the tags.
    """
    sides = {"seen": slice(0, seen)}
    parts: dict[str, tuple[str, ...]] = {"seen": ("seen",)}
    if seen < scores.shape[1]:
        sides["zsl"] = slice(seen, scores.shape[1])
        parts = {"zsl": ("zsl",), "gzsl": ("seen", "zsl"), **parts}
    columns = {part: slice(sides[names[0]].start, sides[names[-1]].stop) for part, names in parts.items()}
    present = {part: (tags[:, of_part] > 0).sum(1) for part, of_part in columns.items()}
    counted = {
        (preset.name, part): present[part] > 0 if preset.drop_images else np.ones(len(tags), dtype=bool)
        for preset in presets
        for part in parts
    }
    precisions: dict[tuple[str, str, str], Reals] = {}
    for side, of_side in sides.items():
        # Every tag is ranked once, for all parts that it belongs to and for all presets.
        pairs = [(preset, part) for preset in presets for part in parts if side in parts[part]]
        known = tags[:, of_side] != 0
        masks = [counted[p.name, part][:, None] & (known if p.mask_unknown else True) for p, part in pairs]
        computed = average_precisions(scores[:, of_side], tags[:, of_side], masks)
        precisions |= {(p.name, part, side): values for (p, part), values in zip(pairs, computed, strict=True)}

    metrics: dict[str, float | None] = {}
    has_images = with_images(tags)
    for part, of_part in columns.items():
        hits = hits_at(scores[:, of_part], tags[:, of_part], top)
        for preset in presets:
            # No tag of the part occurs: whatever is predicted would be a 0 of nothing.
            rows = counted[preset.name, part] & bool(present[part].any())
            end = f"{part}{preset.suffix}"
            of_tags = np.concatenate([precisions[preset.name, part, side] for side in parts[part]])
            metrics[f"mAP_{end}"] = mean_precision(of_tags, has_images[of_part], preset) if rows.any() else None
            for number in top:
                at_top = top_tag_metrics(hits[number][rows], present[part][rows], number) if number in hits else None
                values = (None, None, None) if at_top is None else (at_top.f1, at_top.precision, at_top.recall)
                metrics |= {f"{n}_at_{number}_{end}": v for n, v in zip(("F1", "P", "R"), values, strict=True)}
    return metrics
