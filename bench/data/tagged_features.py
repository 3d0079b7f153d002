"""Features in the place of a set's images: which image every row belongs to, and perhaps texts of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.data.arrays import Arrays, holds, read
from pzsl_bench.data.name_lists import different, stem

FEATURES = "features"
"""The file features.npz, or the folder features of .npy files, in the folder of a set."""
KEYS = {
    "features": ("N x d", "a row for each image"),
    "images": ("N", "its file name, with or without folder and ending; without it all images of the set, in its order"),
    "texts": ("C x d", "class names as the encoder of the features embeds them [an encoder is named]"),
    "class_names": ("C", "with texts: the classes of its rows, as the set's own files call them"),
    "scale": ("number", "logit scale of the encoder [100]"),
}


@dataclass(frozen=True)
class TaggedFeatures:
    """Features that lie beside the annotations of a set."""

    path: Path
    features: NDArray[np.float32]
    """(N, d)"""
    images: tuple[str, ...] | None
    """N names, or None for all images of the set."""
    texts: NDArray[np.float32] | None
    """(c, d)"""
    class_names: tuple[str, ...]
    """c names."""
    scale: float

    def class_texts(self, keys: Sequence[str]) -> NDArray[np.float32] | None:
        """(C, d) texts in the order of these classes, which must all be among them."""
        if self.texts is None:
            return None
        number = {name: i for i, name in enumerate(self.class_names)}
        for key in keys:
            if key not in number:
                raise UserError(f"{self.path}: class_names: {unknown('class', key, self.class_names)}")
        return self.texts[[number[key] for key in keys]]


def find_features(folder: Path) -> TaggedFeatures | None:
    """What lies in the folder of a set, if anything does."""
    for path in (folder / f"{FEATURES}.npz", folder / FEATURES):
        if path.is_file() or (path.is_dir() and any(path.glob("*.npy"))):
            return _read(path)
    return None


def _read(path: Path) -> TaggedFeatures:
    arrays = read(path, tuple(KEYS))
    if "features" not in arrays:
        raise UserError(f"{path}: has no features; it holds {', '.join(holds(path)) or 'nothing'}")
    features = arrays.matrix("features")
    images = arrays.words("images") if "images" in arrays else None
    if images is not None:
        if len(images) != len(features):
            raise arrays.bad("images", f"has {len(images)} names, but features has {len(features)} rows")
        different(path, list(map(stem, images)))
    if ("texts" in arrays) != ("class_names" in arrays):
        raise UserError(f"{path}: texts and class_names go together: which class is every row of texts about?")
    class_names = arrays.words("class_names") if "class_names" in arrays else ()
    texts = arrays.matrix("texts", len(class_names), "class_names") if "texts" in arrays else None
    if texts is not None and texts.shape[1] != features.shape[1]:
        raise arrays.bad("texts", f"has {texts.shape[1]} columns, but features has {features.shape[1]}")
    return TaggedFeatures(path, features, images, texts, class_names, _scale(arrays))


def _scale(arrays: Arrays) -> float:
    scale = arrays.number("scale") if "scale" in arrays else 100.0
    if scale <= 0:
        raise arrays.bad("scale", f"must be positive, not {scale:g}")
    return scale
