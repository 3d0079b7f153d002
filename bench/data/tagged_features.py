"""Ready features that replace the images of a dataset with tags: reading them from the dataset's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.data.arrays import Arrays, keys_of, read
from pzsl_bench.data.name_lists import require_distinct, stem

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
    """Ready features from the folder of a dataset, with class texts where there are any."""

    path: Path
    features: NDArray[np.float32]
    """(N, d)"""
    images: tuple[str, ...] | None
    """N names, or None for all images of the set."""
    texts: NDArray[np.float32] | None
    """(c, d) one row for each of `class_names`."""
    class_names: tuple[str, ...]
    """The c classes that have texts; the dataset may have fewer or other ones."""
    scale: float

    def class_texts(self, keys: Sequence[str]) -> NDArray[np.float32] | None:
        """(C, d) the texts of these classes, in their order; None without texts. A class without a text is an error."""
        if self.texts is None:
            return None
        row = {name: i for i, name in enumerate(self.class_names)}
        for key in keys:
            if key not in row:
                raise UserError(f"{self.path}: class_names: {unknown('class', key, self.class_names)}")
        return self.texts[[row[key] for key in keys]]


def find_features(folder: Path) -> TaggedFeatures | None:
    """The features in the folder of a dataset, or None."""
    for path in (folder / f"{FEATURES}.npz", folder / FEATURES):
        if path.is_file() or (path.is_dir() and any(path.glob("*.npy"))):
            return _read(path)
    return None


def _read(path: Path) -> TaggedFeatures:
    arrays = read(path, tuple(KEYS))
    if "features" not in arrays:
        raise UserError(f"{path}: has no features; it holds {', '.join(keys_of(path)) or 'nothing'}")
    features = arrays.matrix("features")
    images = arrays.words("images") if "images" in arrays else None
    if images is not None:
        if len(images) != len(features):
            raise arrays.bad("images", f"has {len(images)} names, but features has {len(features)} rows")
        require_distinct(path, list(map(stem, images)))
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
