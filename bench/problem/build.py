"""An opened dataset and its encoding put together, and split into training and test images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.source import Source
from pzsl_bench.problem.problem import Problem


def build_problem(
    name: str,
    source: Source,
    features: NDArray[np.float32],
    texts: NDArray[np.float32],
    scale: float,
    unreadable: Sequence[int] = (),
    seed: int = 0,
) -> Problem:
    """Put an opened dataset and its encoding together, split by the seed; unreadable images are left out."""
    order = [*source.seen, *source.unseen]
    new_number = np.full(len(source.class_names), -1, dtype=np.int64)
    new_number[order] = np.arange(len(order))
    # Images of a class that is neither seen nor unseen are left out; images with tags may have any tag.
    labels = np.empty(0, dtype=np.int64) if source.labels is None else new_number[source.labels]
    usable = np.ones(len(source), dtype=bool) if source.labels is None else labels >= 0
    usable[list(unreadable)] = False
    is_test = source.test_images(seed)
    train = np.flatnonzero(usable & ~is_test & source.has_seen)
    test = np.flatnonzero(usable & is_test)
    tags = source.tags
    for what, rows in (("training", train), ("test", test)):
        if not len(rows):
            raise UserError(f"dataset '{name}' has no readable {what} image")
    if source.standardise:
        features = standardised(features, train)
    return Problem(
        name=name,
        train=torch.from_numpy(np.ascontiguousarray(features[train])),
        train_truth=labels if tags is not None else labels[train],
        test=torch.from_numpy(np.ascontiguousarray(features[test])),
        test_truth=labels if tags is not None else labels[test],
        texts=torch.from_numpy(np.ascontiguousarray(texts[order])),
        class_names=tuple(source.class_names[k] for k in order),
        seen=len(source.seen),
        validation=tuple(int(new_number[k]) for k in source.validation),
        scale=scale,
        unreadable=len(unreadable),
        candidates=None if source.candidates is None else source.candidates[np.ix_(train, np.array(source.seen))],
        ordinal=source.ordinal,
        train_tags=None if tags is None else tags[np.ix_(train, np.array(source.seen))],
        test_tags=None if tags is None else tags[np.ix_(test, np.array(order))],
        top=() if tags is None else source.top,
        # Texts that a source does not bring were encoded, by the encoder of the images.
        aligned=source.is_aligned or (source.texts is None and texts.shape[1] > 0),
        untunable=source.untunable,
    )


def shared_tensor(array: NDArray[np.float32]) -> Tensor:
    """The same numbers as a tensor, without a copy: worker processes share arrays that are mapped from the cache."""
    with warnings.catch_warnings():
        # PyTorch has no read-only tensors; nothing writes to features.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def standardised(features: NDArray[np.float32], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """(M, d) columns of mean 0 and standard deviation 1 on the training rows; a column constant there becomes 0."""
    rows = features[train].astype(np.float64)
    spread = rows.std(0)
    spread[rows.min(0) == rows.max(0)] = np.inf
    return np.asarray((features - rows.mean(0)) / spread, dtype=np.float32)
