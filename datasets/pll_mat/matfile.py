"""Reading a partial-label .mat file, with checks whose one-line errors name the file and the field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.matlab import load

FIELDS = ("data", "target", "partial_target")
LAYOUT = "data (N x d), target and partial_target (K x N)"


@dataclass(frozen=True)
class Content:
    """N examples of K classes."""

    features: NDArray[np.float32]
    """(N, d)"""
    labels: NDArray[np.int64]
    """(N,)"""
    candidates: NDArray[np.bool_]
    """(N, K)"""


def read(path: Path) -> Content:
    """The checked content of a file in the layout of the public sets, with sparse or dense matrices."""
    raw = load(path, FIELDS, LAYOUT)
    data, target, partial = (_matrix(path, name, raw[name]) for name in FIELDS)
    features, truth = _features(path, data), _zero_one(path, "target", target)
    candidates = _zero_one(path, "partial_target", partial)
    for name, labels in (("target", truth), ("partial_target", candidates)):
        if labels.shape[1] != len(features):
            raise UserError(f"{path}: {name} is {_by(labels)}, but data has {len(features)} rows; needed is {LAYOUT}")
    if truth.shape != candidates.shape:
        raise UserError(f"{path}: partial_target is {_by(candidates)}, but target is {_by(truth)}")
    if len(truth) < 2:
        raise UserError(f"{path}: target has {len(truth)} class, where at least 2 are needed")
    for bad, what in (
        (truth.sum(0) == 0, "target: example {} has no true class"),
        (truth.sum(0) > 1, "target: example {} has more than one true class"),
        (~candidates.any(0), "partial_target: example {} has no candidate"),
        ((truth & ~candidates).any(0), "partial_target: the true class of example {} is not among its candidates"),
    ):
        if bad.any():
            # Counted from one, as in MATLAB.
            more = f" ({bad.sum()} such examples)" if bad.sum() > 1 else ""
            raise UserError(f"{path}: {what.format(bad.argmax() + 1)}{more}")
    return Content(features, truth.argmax(0).astype(np.int64), np.ascontiguousarray(candidates.T))


def _matrix(path: Path, name: str, value: Any) -> NDArray[Any]:
    """A field as a dense matrix of numbers."""
    from scipy.sparse import issparse

    dense = value.toarray() if issparse(value) else np.asarray(value)
    if dense.ndim != 2 or dense.dtype.kind not in "buif" or 0 in dense.shape:
        shape = " x ".join(map(str, dense.shape))
        raise UserError(f"{path}: {name} is not a matrix of numbers (it is {dense.dtype} {shape}); needed is {LAYOUT}")
    return dense


def _features(path: Path, data: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(data, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(features))
    if len(bad):
        row, column = bad[0]
        more = f" ({len(bad)} such numbers)" if len(bad) > 1 else ""
        raise UserError(f"{path}: data: row {row + 1}, column {column + 1} is {data[row, column]}{more}")
    return features


def _zero_one(path: Path, name: str, labels: NDArray[Any]) -> NDArray[np.bool_]:
    """(K, N) a field of zeros and ones, as in the file, as bool."""
    other = (labels != 0) & (labels != 1)
    if other.any():
        raise UserError(f"{path}: {name} holds {labels[other][0]:g}, where only 0 and 1 belong")
    return np.asarray(labels != 0)


def _by(labels: NDArray[Any]) -> str:
    return " x ".join(map(str, labels.shape))
