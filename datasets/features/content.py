"""Reading a features file: its arrays are checked together and become images with labels, a split and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import UserError
from pzsl_bench.data.arrays import Arrays, keys_of, read

KEYS = {
    "features": ("N x d", "a row for each image"),
    "labels": ("N", "the class of each image, from 0"),
    "class_names": ("C", "a word for each class, as prompts use it"),
    "split": ("N", "0 training, 1 test, both of seen classes; 2 test, of unseen classes"),
    "unseen": ("list", "instead of split: unseen classes, by number or name; each other class tests on a fifth"),
    "validation": ("list", "seen classes that rehearsals hold out first [a quarter of them]"),
    "attributes": ("C x a", "class semantics of any origin; -1 where a value is missing"),
    "texts": ("C x d", "or: class names as the encoder of the features embeds them"),
    "names": ("C x m x d", "beside texts: vectors of other names of each class; rows of zeros where it has fewer"),
    "unit": ("0 or 1", "0 leaves the rows of features at their lengths [1]"),
    "scale": ("number", "logit scale of the encoder [100]"),
}
NEEDED = ("features", "labels", "class_names")
TRAIN, SEEN_TEST, UNSEEN_TEST = 0, 1, 2
TEST_SHARE = 0.2
"""Share of the images of a seen class that become test images, where the file has no split."""
VALIDATION_SHARE = 0.25
"""Share of the seen classes that become validation classes, where the file names none."""
MISSING = -1.0


@dataclass(frozen=True)
class Content:
    """N images of C classes."""

    features: NDArray[np.float32]
    """(N, d)"""
    labels: NDArray[np.int64]
    """(N,)"""
    is_test: NDArray[np.bool_]
    """(N,)"""
    class_names: tuple[str, ...]
    unseen: tuple[int, ...]
    validation: tuple[int, ...]
    attributes: NDArray[np.float32] | None
    """(C, a) class semantics of any origin, with zeros for missing values."""
    texts: NDArray[np.float32] | None
    """(C, d) class texts in the same space as the features."""
    names: NDArray[np.float32] | None
    """(C, m, d) other names of the classes in that space; rows of zeros where there are fewer."""
    unit: bool
    scale: float

    @property
    def seen(self) -> tuple[int, ...]:
        """All other classes."""
        return tuple(k for k in range(len(self.class_names)) if k not in self.unseen)


def read_content(path: Path) -> Content:
    """The checked content of a file or folder."""
    arrays = read(path, tuple(KEYS))
    if missing := [key for key in NEEDED if key not in arrays]:
        inside = ", ".join(keys_of(path)) or "nothing"
        raise UserError(f"{path}: has no {' and no '.join(missing)}; it holds {inside}")
    names = arrays.words("class_names")
    features = arrays.matrix("features")
    labels = _labels(arrays, len(features), names)
    unseen, is_test = _parts(arrays, labels, names)
    seen = [k for k in range(len(names)) if k not in unseen]
    if not seen:
        raise UserError(f"{path}: every class is unseen, so there is nothing to train on")
    if "attributes" in arrays and "texts" in arrays:
        raise UserError(f"{path}: has attributes and texts, but class semantics are one or the other")
    if "names" in arrays and "texts" not in arrays:
        raise UserError(f"{path}: has names and no texts, the vectors of the classes' own names")
    unit = arrays.number("unit") != 0 if "unit" in arrays else True
    scale = arrays.number("scale") if "scale" in arrays else 100.0
    if scale <= 0:
        raise arrays.bad("scale", f"must be positive, not {scale:g}")
    return Content(
        features,
        labels,
        is_test,
        names,
        unseen,
        _validation(arrays, names, seen) if unseen else (),
        _attributes(arrays, names) if "attributes" in arrays else None,
        _texts(arrays, names, features.shape[1]) if "texts" in arrays else None,
        arrays.matrices("names", len(names), "class_names", features.shape[1]) if "names" in arrays else None,
        unit,
        scale,
    )


def _labels(arrays: Arrays, images: int, names: Sequence[str]) -> NDArray[np.int64]:
    labels = arrays.whole("labels")
    if len(labels) != images:
        raise arrays.bad("labels", f"has {len(labels)} entries, but features has {images} rows")
    wrong = (labels < 0) | (labels >= len(names))
    if wrong.any():
        from_one = labels.min() == 1 and labels.max() == len(names)
        hint = "; labels count from 0, so subtract 1" if from_one else ""
        last = len(names) - 1
        raise arrays.bad("labels", f"[{wrong.argmax()}] is {labels[wrong][0]}, but class_names has 0 to {last}{hint}")
    return labels


def _parts(
    arrays: Arrays, labels: NDArray[np.int64], names: Sequence[str]
) -> tuple[tuple[int, ...], NDArray[np.bool_]]:
    """The unseen classes, and (N,) the test images."""
    listed = arrays.classes("unseen", names) if "unseen" in arrays else None
    if "split" not in arrays:
        if listed is None:
            raise UserError(f"{arrays.path}: has neither split nor unseen, one of which says what is unseen")
        return listed, np.isin(labels, listed) | _fifth_of_each_class(labels, names)
    split = arrays.whole("split")
    if len(split) != len(labels):
        raise arrays.bad("split", f"has {len(split)} entries, but features has {len(labels)} rows")
    wrong = (split < TRAIN) | (split > UNSEEN_TEST)
    if wrong.any():
        raise arrays.bad("split", f"[{wrong.argmax()}] is {split[wrong][0]}, where only 0, 1 and 2 belong")
    marked = set(labels[split == UNSEEN_TEST].tolist())
    for k in sorted(marked & set(labels[split != UNSEEN_TEST].tolist())):
        raise arrays.bad("split", f"class '{names[k]}' is seen (0 or 1) in some images and unseen (2) in others")
    if listed is None:
        return tuple(sorted(marked)), split != TRAIN
    present = set(labels.tolist())
    for k in sorted((marked ^ set(listed)) & present):
        here, there = ("seen", "unseen") if k in marked else ("unseen", "seen")
        raise arrays.bad("unseen", f"makes class '{names[k]}' {here}, but split makes it {there}")
    return listed, split != TRAIN


def _fifth_of_each_class(labels: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) a fifth of the images of each class, at least one if it has two; drawn by the class's name."""
    mask = np.zeros(len(labels), dtype=bool)
    for k, name in enumerate(names):
        rows = np.flatnonzero(labels == k)
        count = max(int(TEST_SHARE * len(rows)), int(len(rows) > 1))
        mask[rows[randomness.permutation(randomness.key("features", "split", name), len(rows))[:count]]] = True
    return mask


def _validation(arrays: Arrays, names: Sequence[str], seen: Sequence[int]) -> tuple[int, ...]:
    """The file's own validation classes, or a quarter of the seen ones, at least two where four are seen."""
    if "validation" not in arrays:
        count = max(round(VALIDATION_SHARE * len(seen)), 2 if len(seen) > 3 else 1)
        order = sorted(seen, key=lambda k: randomness.key("features", "validation", names[k]))
        return tuple(sorted(order[: min(count, len(seen) - 1)]))
    listed = arrays.classes("validation", names)
    for k in listed:
        if k not in seen:
            raise arrays.bad(
                "validation", f"class '{names[k]}' is unseen; validation classes are some of the seen ones"
            )
    if len(listed) == len(seen):
        raise arrays.bad("validation", "lists all seen classes; some must be left to train on")
    return listed


def _attributes(arrays: Arrays, names: Sequence[str]) -> NDArray[np.float32]:
    """(C, a) the attributes. If no value but -1 is negative, -1 means missing and becomes 0."""
    values = arrays.matrix("attributes", len(names), "class_names")
    if not ((values < 0) & (values != MISSING)).any():
        values = np.where(values == MISSING, np.float32(0), values)
    _check_directions(arrays, "attributes", values, names)
    return values


def _texts(arrays: Arrays, names: Sequence[str], width: int) -> NDArray[np.float32]:
    values = arrays.matrix("texts", len(names), "class_names")
    if values.shape[1] != width:
        raise arrays.bad(
            "texts",
            f"has {values.shape[1]} columns, but features has {width}: texts come from the encoder of the features;"
            " save other semantics as attributes",
        )
    _check_directions(arrays, "texts", values, names)
    return values


def _check_directions(arrays: Arrays, key: str, values: NDArray[np.float32], names: Sequence[str]) -> None:
    """Refuse zero rows, which cannot be scaled to unit length; a single column is not scaled."""
    if values.shape[1] > 1 and (empty := ~values.any(1)).any():
        raise arrays.bad(
            key, f"nothing is known of class '{names[int(empty.argmax())]}': all its values are 0 or missing"
        )
