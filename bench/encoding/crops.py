"""Augmented views of an image: random resized crops, half of them mirrored.

Methods that rely on augmentation were made for training whole networks, where a crop may keep a twelfth of the image.
Here the encoder is frozen, and a view must still show the object that the candidate set is about. So a crop keeps at
least half of the area, as Tip-Adapter does when it averages features of augmented images. Colours stay as they are: a
frozen encoder cannot learn that a class does not depend on them.

Every number is a pure function of (dataset checksum, image, view), so a view never depends on the batch or the order
in which it was made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base import randomness

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

VIEWS = 4
"""Views of every image; methods that need fewer at a time use them in turn."""
AREA = (0.5, 1.0)
"""Range of the share of the image's area that a crop keeps, uniform."""
RATIO = (3 / 4, 4 / 3)
"""Range of a crop's width over its height, log-uniform."""
MIRRORED = 0.5
"""Probability that a view is mirrored."""

RECIPE: dict[str, Any] = {
    "name": "resized crop and mirror",
    "version": 1,
    "views": VIEWS,
    "area": list(AREA),
    "ratio": list(RATIO),
    "mirrored": MIRRORED,
}
"""All that determines a view besides the image and its number. Raise the version whenever a pixel changes."""

NUMBERS_PER_VIEW = 5
"""Random numbers that a view takes: area, ratio, two for the position, mirrored."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Augmentation:
    """The views of one dataset's images, at the size that an encoder wants."""

    checksum: str
    size: tuple[int, int]
    """Width and height of a view."""
    interpolation: str = "bicubic"

    @classmethod
    def suiting(cls, preprocessing: Mapping[str, Any], checksum: str) -> Augmentation:
        """Views of the size that the encoder reads: its own preprocessing only has to scale their colours."""
        size = preprocessing["size"]
        height, width = (size, size) if isinstance(size, int) else size
        return cls(checksum, (int(width), int(height)), str(preprocessing["interpolation"]))

    @cached_property
    def streams(self) -> NDArray[np.uint64]:
        """(V, 1) keys of the random number streams, one for each view."""
        keys = [randomness.key("view", RECIPE["version"], self.checksum, view) for view in range(1, VIEWS + 1)]
        return np.array(keys, dtype=np.uint64)[:, None]

    def __call__(self, image: Image, index: int) -> list[Image]:
        """The views of the image with this number."""
        from PIL.Image import Transpose

        numbers = randomness.uniform_at(self.streams, index * NUMBERS_PER_VIEW + np.arange(NUMBERS_PER_VIEW)).tolist()
        # A palette cannot be interpolated.
        image = image.convert("RGB")
        views = []
        for area, ratio, left, top, mirrored in numbers:
            box = crop(image.size, AREA[0] + (AREA[1] - AREA[0]) * area, ratio, left, top)
            view = image.resize(self.size, self._filter, box=box)
            views.append(view.transpose(Transpose.FLIP_LEFT_RIGHT) if mirrored < MIRRORED else view)
        return views

    @cached_property
    def _filter(self) -> Resampling:
        from PIL.Image import Resampling

        return Resampling.__members__.get(self.interpolation.upper(), Resampling.BICUBIC)


def crop(size: tuple[int, int], area: float, ratio: float, left: float, top: float) -> Box:
    """A box inside an image that keeps this share of its area; the other numbers, in [0, 1), set shape and position.

    `ratio` ranges over the ratios at which such a box fits. Where no ratio fits, as in a very long image, the box is
    the largest one of the nearest ratio.
    """
    width, height = size
    shape = width / height
    low, high = max(RATIO[0], area * shape), min(RATIO[1], shape / area)
    box_ratio = low * (high / low) ** ratio if low < high else min(max(shape, RATIO[0]), RATIO[1])
    box_width = math.sqrt(area * width * height * box_ratio)
    box_width = min(box_width, width, height * box_ratio)
    w, h = (max(1, min(limit, round(side))) for limit, side in ((width, box_width), (height, box_width / box_ratio)))
    x, y = int(left * (width - w + 1)), int(top * (height - h + 1))
    return x, y, x + w, y + h
