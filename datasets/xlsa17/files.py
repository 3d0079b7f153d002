"""Reading res101.mat, att_splits.mat and class lists, with checks whose one-line errors name file and field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.data.matlab import load

FEATURES, SPLITS, VALIDATION_LIST = "res101.mat", "att_splits.mat", "valclasses1.txt"
FEATURE_FIELDS = "features (d x N) and labels (N x 1, classes from 1)"
PARTS = ("trainval_loc", "test_seen_loc", "test_unseen_loc")
FOLD = ("train_loc", "val_loc")
SPLIT_FIELDS = f"att (a x C), allclasses_names (C x 1) and {', '.join(PARTS)} (images from 1)"


@dataclass(frozen=True)
class Pictures:
    """Features and labels of N images."""

    features: NDArray[np.float32]
    """(N, d)"""
    labels: NDArray[np.int64]
    """(N,) classes from 0, in the order of `Split.names`."""


@dataclass(frozen=True)
class Split:
    """The C classes, and which images are for training and for the tests."""

    names: tuple[str, ...]
    """The names of the classes as the files write them."""
    attributes: NDArray[np.float32]
    """(C, a) with zeros for missing values."""
    parts: dict[str, NDArray[np.int64]]
    """Images from 0, by the names of `PARTS`, and of `FOLD` where the file has them."""

    @property
    def leaked(self) -> int:
        """How many seen test images are among the fold's training and validation images; in version 1, all of them."""
        return sum(int(np.isin(self.parts["test_seen_loc"], self.parts[name]).sum()) for name in FOLD if self.has_fold)

    @property
    def has_fold(self) -> bool:
        """Whether the file has the fold: the images for training and validation before the refit."""
        return all(name in self.parts for name in FOLD)


def read_pictures(path: Path, split: Split) -> Pictures:
    """Features and labels, which must belong to these classes."""
    raw = load(path, ("features", "labels"), FEATURE_FIELDS)
    labels, features = _whole(path, "labels", raw["labels"]), np.asarray(raw["features"])
    if features.ndim != 2 or features.dtype.kind not in "buif" or 0 in features.shape:
        raise UserError(f"{path}: features is not a matrix of numbers; needed is {FEATURE_FIELDS}")
    if features.shape[1] != len(labels):
        raise UserError(
            f"{path}: features is {_by(features)}, but labels has {len(labels)} entries; needed is {FEATURE_FIELDS}"
        )
    last = len(split.names)
    if (wrong := (labels < 1) | (labels > last)).any():
        raise UserError(
            f"{path}: labels: image {wrong.argmax() + 1} is of class {labels[wrong][0]},"
            f" but {SPLITS} names classes 1 to {last}"
        )
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(features.T, dtype=np.float32)
    if not (finite := np.isfinite(rows).all(1)).all():
        raise UserError(f"{path}: features: image {(~finite).argmax() + 1} has a number that is not finite")
    return Pictures(rows, labels - 1)


def read_split(path: Path) -> Split:
    """Classes, attributes, and the parts of the Proposed Split."""
    raw = load(path, ("att", "allclasses_names", *PARTS), SPLIT_FIELDS, ("original_att", *FOLD))
    names = _names(path, raw["allclasses_names"])
    parts = {name: _images(path, name, raw[name]) for name in (*PARTS, *FOLD) if name in raw}
    for i, name in enumerate(PARTS):
        for other in PARTS[:i]:
            if len(both := np.intersect1d(parts[name], parts[other])):
                raise UserError(f"{path}: image {both[0] + 1} is in {other} and in {name}")
    return Split(names, _attributes(path, raw, names), parts)


def read_names(path: Path, split: Split) -> tuple[int, ...]:
    """Numbers of the classes in a list of names, one a line, in ascending order."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}") from None
    for name in (listed := [line.strip() for line in lines if line.strip()]):
        if name not in split.names:
            raise UserError(f"{path}: {unknown(f'class of {SPLITS}', name, split.names)}")
    return tuple(sorted({split.names.index(name) for name in listed}))


def classes_of(path: Path, pictures: Pictures, split: Split) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Seen and unseen classes, by the parts that their images are in."""
    count = len(pictures.labels)
    for name, images in split.parts.items():
        if (beyond := images[images >= count]).size:
            raise UserError(f"{path}: {name} has image {beyond[0] + 1}, but {FEATURES} beside it has {count} images")
    train, seen_test, unseen_test = (set(pictures.labels[split.parts[name]].tolist()) for name in PARTS)
    # Two files of different sets, or with different orders of images, are noticed here.
    for what, both in (
        ("test_unseen_loc and in trainval_loc", unseen_test & train),
        ("test_seen_loc and not in trainval_loc", seen_test - train),
    ):
        if both:
            raise UserError(
                f"{path}: images of class '{split.names[min(both)]}' are in {what};"
                f" is {FEATURES} beside it that of another set?"
            )
    return tuple(sorted(train)), tuple(sorted(unseen_test))


def _names(path: Path, value: Any) -> tuple[str, ...]:
    """The names in a column of cells."""
    cells = [np.asarray(cell).ravel() for cell in np.asarray(value).ravel()]
    names = [str(cell[0]).strip() if len(cell) == 1 and cell.dtype.kind in "US" else "" for cell in cells]
    if not names or "" in names:
        raise UserError(f"{path}: allclasses_names is not a column of names")
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise UserError(f"{path}: allclasses_names has '{twice[0]}' twice")
    return tuple(names)


def _attributes(path: Path, raw: dict[str, Any], names: Sequence[str]) -> NDArray[np.float32]:
    """(C, a) the attributes; missing ones are below zero, -1 before the file's own scaling."""
    values = np.asarray(raw["att"])
    if values.ndim != 2 or values.dtype.kind not in "buif" or values.shape[1] != len(names):
        raise UserError(f"{path}: att is {_by(values)}, but a column is needed for each of {len(names)} classes")
    missing = np.asarray(raw.get("original_att", values)) < 0
    if missing.shape != values.shape:
        raise UserError(f"{path}: original_att is {_by(missing)}, but att is {_by(values)}")
    attributes = np.where(missing, 0, values).T
    if not np.isfinite(attributes).all():
        raise UserError(f"{path}: att has numbers that are not finite")
    if (unknown_all := ~attributes.any(1)).any():
        raise UserError(f"{path}: att: nothing is known of class '{names[int(unknown_all.argmax())]}'")
    return np.ascontiguousarray(attributes, dtype=np.float32)


def _images(path: Path, name: str, value: Any) -> NDArray[np.int64]:
    """Image numbers from 0, each once."""
    numbers = _whole(path, name, value)
    if not len(numbers) or numbers.min() < 1:
        raise UserError(f"{path}: {name} {'is empty' if not len(numbers) else 'has image 0; images count from 1'}")
    if len(np.unique(numbers)) < len(numbers):
        raise UserError(f"{path}: {name} has an image twice")
    return np.sort(numbers) - 1


def _whole(path: Path, name: str, value: Any) -> NDArray[np.int64]:
    """A row or column of whole numbers; the files hold them as uint16, in which 0 - 1 is 65535."""
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "uif" or numbers.size not in (0, max(numbers.shape, default=0)):
        raise UserError(f"{path}: {name} is not a column of numbers (it is {_by(numbers)} of {numbers.dtype})")
    numbers = numbers.ravel()
    if not (np.isfinite(numbers) & (numbers == np.floor(numbers))).all():
        raise UserError(f"{path}: {name} has numbers that are not whole")
    return numbers.astype(np.int64)


def _by(values: NDArray[Any]) -> str:
    return " x ".join(map(str, values.shape))
