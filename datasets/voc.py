"""PASCAL VOC 2007: twenty kinds of objects, each present, absent, or too difficult to tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.name_lists import numbered_lines
from pzsl_bench.data.source import Source, dataset
from pzsl_bench.data.tagged_features import find_features
from pzsl_bench.data.tagged_folders import Listing, TaggedFiles

NAMES = {
    name: name
    for name in (
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
        *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    )
} | {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
"""Kinds of objects: name in the files -> name in prompts."""
PARTS = ("trainval", "test")
SETS = "ImageSets/Main"


@dataset(
    "voc",
    title="PASCAL VOC 2007",
    version=1,
    task="tags",
    citation="Everingham, Van Gool, Williams, Winn and Zisserman. The PASCAL Visual Object Classes Challenge."
    " IJCV 88, 2010.",
    licence="images under the terms of Flickr",
    obtain="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ (trainval and test, unpacked in the same place)",
    deviations=(
        "What the annotators found too difficult (0 in the files) is unknown, where the code of DualCoOp reads absent.",
    ),
)
class Voc(TaggedFiles):
    """Photographs of twenty kinds of objects, all of them seen: 5,011 images to train on, 4,952 to test on.

    DIR/VOCdevkit/VOC2007 (or DIR/VOC2007, DIR/voc2007, DIR/voc) holds ImageSets/Main with KIND_trainval.txt and
    KIND_test.txt for every kind, and JPEGImages. Instead of JPEGImages it can hold features.npz, or a folder `features`
    of .npy files, as listed below. The zero-shot split of this set is not in use; all kinds are trained on.
    """

    places = ("VOCdevkit/VOC2007", "VOC2007", "voc2007", "voc")
    layout = "ImageSets/Main and JPEGImages"

    def open(self) -> Source:
        """Read the image sets."""
        images: list[str] = []
        tags: list[NDArray[np.int8]] = []
        counts: list[int] = []
        for part in PARTS:
            files = [self.pick(f"{SETS}/{kind}_{part}.txt") for kind in NAMES]
            columns = [_marks(file) for file in files]
            first = list(columns[0])
            for file, column in zip(files, columns, strict=True):
                if column.keys() != columns[0].keys():
                    name = min(column.keys() ^ columns[0].keys())
                    raise UserError(f"{file}: image '{name}' is not in all files of {part}")
            images += first
            counts.append(len(first))
            tags.append(np.array([[column[name] for column in columns] for name in first], dtype=np.int8))
        listing = Listing(
            images=images,
            files=[self.folder / "JPEGImages" / f"{name}.jpg" for name in images],
            tags=np.concatenate(tags),
            is_test=np.repeat([False, True], counts),
        )
        return self.source(listing, find_features(self.folder), list(NAMES.values()), (), keys=list(NAMES), top=(3,))


def _marks(path: Path) -> dict[str, int]:
    """Image name -> 1, -1 or 0, from lines such as "000012 -1"."""
    marks: dict[str, int] = {}
    for number, line in numbered_lines(path):
        words = line.split()
        if len(words) != 2 or words[1] not in ("1", "-1", "0"):
            raise UserError(f"{path}: line {number}: '{line.strip()}' is not an image and 1, -1 or 0")
        if words[0] in marks:
            raise UserError(f"{path}: line {number}: image '{words[0]}' is there twice")
        marks[words[0]] = int(words[1])
    if not marks:
        raise UserError(f"{path}: is empty")
    return marks
