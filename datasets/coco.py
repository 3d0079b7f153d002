"""MS-COCO 2014 as a set of tags: an image has a tag where an object of that category is annotated in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.name_lists import stem
from pzsl_bench.data.source import Source, dataset
from pzsl_bench.data.tagged_features import find_features
from pzsl_bench.data.tagged_folders import Listing, TaggedFiles

PARTS = ("train2014", "val2014")
ANNOTATIONS = "annotations/instances_{}.json"
SPLIT, ALL = "48_17", "80"
UNSEEN = (
    *("airplane", "bus", "cat", "dog", "cow", "elephant", "umbrella", "tie", "snowboard", "skateboard", "cup"),
    *("knife", "cake", "couch", "keyboard", "sink", "scissors"),
)
# The categories that are neither seen nor unseen.
LEFT_OUT = frozenset(
    (
        *("traffic light", "fire hydrant", "stop sign", "parking meter", "sports ball", "baseball bat"),
        *("baseball glove", "tennis racket", "wine glass", "hot dog", "potted plant", "dining table", "cell phone"),
        *("teddy bear", "hair drier"),
    )
)


@dataset(
    "coco",
    title="MS-COCO 2014",
    version=1,
    task="tags",
    citation="Lin et al. Microsoft COCO: Common Objects in Context. ECCV, 2014.",
    licence="annotations CC BY 4.0; images under the terms of Flickr",
    obtain="https://cocodataset.org/#download (2014 train images, 2014 val images, 2014 train/val annotations)",
    variants=(SPLIT, ALL),
    deviations=(
        "Training images keep what they show of unseen categories; it is not annotated.",
        "All images of train2014 and val2014 are listed, also those without any annotation.",
        "Every annotated object counts, crowds and small ones too.",
    ),
)
class Coco(TaggedFiles):
    """Objects of everyday scenes: train2014 for training, val2014 for the test.

    coco:48_17  zero-shot: the 48 seen and 17 unseen categories of Bansal et al. (Zero-Shot Object Detection, ECCV
                2018); the other 15 are left out
    coco:80     all 80 categories seen: the track of partial annotations

    DIR/coco (or DIR/mscoco) holds annotations/instances_train2014.json and annotations/instances_val2014.json, and the
    folders train2014 and val2014 with the images. Instead of the images it can hold features.npz, or a folder
    `features` of .npy files, as listed below. Reading the annotations takes some 10 seconds and 3 GB.
    """

    places = ("coco", "mscoco", "coco2014")
    layout = "annotations/instances_train2014.json, annotations/instances_val2014.json, train2014 and val2014"

    @classmethod
    def check(cls, spec: str, variants: Sequence[str]) -> None:
        """One of the two tracks."""
        super().check(spec, variants)
        if len(variants) != 1:
            raise UserError(f"dataset '{spec}': say which categories, coco:{SPLIT} or coco:{ALL}")

    @classmethod
    def members(cls, root: Path | None = None) -> tuple[str, ...]:
        """Both tracks."""
        return tuple(f"coco:{variant}" for variant in cls.info.variants) if cls.folder_under(root) else ()

    def open(self) -> Source:
        """Read the annotations."""
        files = [self.pick(ANNOTATIONS.format(part)) for part in PARTS]
        parts = [_annotations(file, file.stat().st_mtime_ns) for file in files]
        names = [part.categories for part in parts]
        if names[0] != names[1]:
            raise UserError(f"{files[1]}: its categories are not those of {files[0].name}")
        listing = Listing(
            images=[stem(name) for part in parts for name in part.images],
            files=[
                self.folder / folder / name for folder, part in zip(PARTS, parts, strict=True) for name in part.images
            ],
            tags=np.concatenate([part.tags for part in parts]),
            is_test=np.repeat([False, True], [len(part.images) for part in parts]),
        )
        if ALL in self.variants:
            return self.source(listing, find_features(self.folder), names[0], (), top=(3,))
        if absent := [name for name in UNSEEN if name not in names[0]]:
            raise UserError(f"{files[0]}: has no category '{absent[0]}', which is unseen in coco:{SPLIT}")
        columns = [k for k, name in enumerate(names[0]) if name not in LEFT_OUT]
        listing = Listing(listing.images, listing.files, listing.tags[:, columns], listing.is_test)
        chosen = [names[0][k] for k in columns]
        return self.source(
            listing, find_features(self.folder), chosen, [chosen.index(name) for name in UNSEEN], top=(3,)
        )


class _Part:
    """The annotations of one file."""

    def __init__(self, path: Path, content: Any):
        try:
            categories = sorted(content["categories"], key=lambda c: c["id"])
            self.categories = [str(c["name"]) for c in categories]
            self.images = [str(image["file_name"]) for image in content["images"]]
            row = {image["id"]: i for i, image in enumerate(content["images"])}
            column = {c["id"]: i for i, c in enumerate(categories)}
            pairs = [(a["image_id"], a["category_id"]) for a in content["annotations"]]
        except (KeyError, TypeError) as error:
            what = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else "it has another structure"
            raise UserError(f"{path}: is no file of COCO instances: {what}") from None
        for number, (image, category) in enumerate(pairs):
            if image not in row or category not in column:
                what = f"image {image}" if image not in row else f"category {category}"
                raise UserError(f"{path}: annotations[{number}] is about {what}, which the file does not have")
        self.tags: NDArray[np.int8] = np.full((len(row), len(column)), -1, dtype=np.int8)
        if pairs:
            places = np.array([(row[image], column[category]) for image, category in pairs])
            self.tags[places[:, 0], places[:, 1]] = 1


@lru_cache(4)
def _annotations(path: Path, changed: int) -> _Part:
    """The annotations of a file. They are cached, so that a plan and a run in one process read it once."""
    try:
        with path.open(encoding="utf-8") as file:
            return _Part(path, json.load(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {error.lineno}: is not JSON, the file may be cut off ({error.msg})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
