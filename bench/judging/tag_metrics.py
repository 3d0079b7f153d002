"""Metrics of images with several tags, as two families of published code compute them.

Average precision of a tag: images ranked by their score, the mean over its images of (its images so far) / (images so
far), nothing interpolated; mAP is the plain mean over tags. P, R and F1 at K: K tags are named for every image, and
hits, named tags and present tags are counted over all images together. Equal scores keep their order: the image, or
the tag, with the lower number comes first.

Published code differs where nothing is to be found, and the numbers move with it. A preset is one set of answers:

    preset  images without a tag of those asked about  a tag no image has  unknown tags
    lesa    count                                      AP 0                left out of AP, no hit when named
    sdl     left out                                   AP 0                count as absent
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
"""Scores that are ranked together."""


@dataclass(frozen=True)
class Preset:
    """What is done where there is nothing to be found."""

    name: str
    suffix: str
    """At the end of the names of its metrics."""
    drop_images: bool
    """Images without any of the tags that are asked about are left out."""
    mask_unknown: bool
    """Unknown tags are left out of average precision; otherwise they count as absent."""
    empty_tag: Literal["zero", "skip"] = "zero"
    """A tag that no image has is a zero in the mean, or is left out of it."""


PRESETS = (
    Preset("lesa", "", drop_images=False, mask_unknown=True),
    Preset("sdl", "_sdl", drop_images=True, mask_unknown=False),
)


def average_precisions(scores: Scores, tags: Marks, counted: Sequence[Mask]) -> Reals:
    """(P, C) average precision of every tag for each of P ways to count, 0 for a tag that no counted image has.

    `scores` and `tags` are (M, C); every mask of `counted` is (M, C), or (M, 1) where all tags count the same images.
    """
    images, classes = scores.shape
    found = np.zeros((len(counted), classes))
    width = max(1, BLOCK // max(1, images))
    for start in range(0, classes, width):
        columns = slice(start, start + width)
        # A tag's scores side by side: sorting and gathering would otherwise jump through all of the memory.
        order = np.argsort(np.ascontiguousarray(-scores[:, columns].T), axis=1, kind="stable")
        present = _ranked(tags[:, columns] > 0, order)
        for way, mask in enumerate(counted):
            kept = _ranked(mask if mask.shape[1] == 1 else mask[:, columns], order)
            rows, places = np.nonzero(present & kept)
            number = np.bincount(rows, minlength=len(order))
            so_far = np.arange(1, len(rows) + 1) - np.repeat(number.cumsum() - number, number)
            above = kept.cumsum(1, dtype=np.int32)[rows, places] if not kept.all() else places + 1
            found[way, columns] = np.bincount(rows, so_far / above, len(order)) / np.maximum(number, 1)
    return found


def _ranked(mask: Mask, order: Ints) -> Mask:
    """A mask of images in the order of every tag."""
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
    """(M, number) the tags with the highest scores of every image, best first; of equal ones the lower number."""
    best = np.empty((len(scores), number), dtype=np.int64)
    size = max(1, BLOCK // max(1, scores.shape[1]))
    for start in range(0, len(scores), size):
        left = scores[start : start + size].copy()
        every = np.arange(len(left))
        for place in range(number):
            best[start : start + size, place] = left.argmax(1)
            left[every, best[start : start + size, place]] = -np.inf
    return best


def hits_at(scores: Scores, tags: Marks, top: Sequence[int]) -> dict[int, Ints]:
    """For every number of named tags, of which there are as many, the (M,) present ones among them."""
    # Naming more tags than there are would say nothing.
    able = [number for number in top if number <= scores.shape[1]]
    hits = np.take_along_axis(tags, best_tags(scores, max(able, default=0)), axis=1) > 0
    return {number: hits[:, :number].sum(1) for number in able}


@dataclass(frozen=True)
class Named:
    """How naming K tags for every image went, over all images together."""

    precision: float
    recall: float
    f1: float


def named(hits: Ints, present: Ints, number: int) -> Named | None:
    """From every image's (M,) hits among so many named tags and (M,) present tags; None where no image is left."""
    if not len(hits):
        return None
    right, wanted = int(hits.sum()), int(present.sum())
    precision, recall = right / (number * len(hits)), right / wanted if wanted else 0.0
    return Named(precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0)


def tag_metrics(
    scores: Scores, tags: Marks, seen: int, top: Sequence[int], presets: Sequence[Preset] = PRESETS
) -> dict[str, float | None]:
    """All metrics of (M, C) scores, of which the first `seen` columns are the seen tags.

    Among unseen tags (_zsl) and among all (_gzsl), where there are unseen ones, and among seen tags (_seen).
    """
    sides = {"seen": slice(0, seen)}
    parts: dict[str, tuple[str, ...]] = {"seen": ("seen",)}
    if seen < scores.shape[1]:
        sides["zsl"] = slice(seen, scores.shape[1])
        parts = {"zsl": ("zsl",), "gzsl": ("seen", "zsl"), **parts}
    columns = {part: slice(sides[made[0]].start, sides[made[-1]].stop) for part, made in parts.items()}
    present = {part: (tags[:, own] > 0).sum(1) for part, own in columns.items()}
    kept = {
        (preset.name, part): present[part] > 0 if preset.drop_images else np.ones(len(tags), dtype=bool)
        for preset in presets
        for part in parts
    }
    precisions: dict[tuple[str, str, str], Reals] = {}
    for side, own in sides.items():
        # Every tag is ranked once, for all parts that it belongs to and for all presets.
        ways = [(preset, part) for preset in presets for part in parts if side in parts[part]]
        known = tags[:, own] != 0
        masks = [kept[p.name, part][:, None] & (known if p.mask_unknown else True) for p, part in ways]
        found = average_precisions(scores[:, own], tags[:, own], masks)
        precisions |= {(p.name, part, side): each for (p, part), each in zip(ways, found, strict=True)}

    metrics: dict[str, float | None] = {}
    has_images = with_images(tags)
    for part, own in columns.items():
        hits = hits_at(scores[:, own], tags[:, own], top)
        for preset in presets:
            some, end = kept[preset.name, part], f"{part}{preset.suffix}"
            each = np.concatenate([precisions[preset.name, part, side] for side in parts[part]])
            metrics[f"mAP_{end}"] = mean_precision(each, has_images[own], preset) if some.any() else None
            for number in top:
                went = named(hits[number][some], present[part][some], number) if number in hits else None
                values = (None, None, None) if went is None else (went.f1, went.precision, went.recall)
                metrics |= {f"{n}_at_{number}_{end}": v for n, v in zip(("F1", "P", "R"), values, strict=True)}
    return metrics
