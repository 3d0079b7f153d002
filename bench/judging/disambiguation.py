"""The disambiguation curve: D after every epoch of a training.

D is the share of training images whose best-scored candidate is the true label. It is measured by the judge, on a fixed
sample of the training images. It is only recorded: no method and no rule of selection sees it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.base import randomness
from pzsl_bench.contract import Gradient
from pzsl_bench.problem.studies import Studies
from pzsl_bench.training.fitted import Fitted, Watch

SAMPLE = 512
"""The most training images that are scored after an epoch; this adds a few per cent to the time of a training."""


class Observer(Protocol):
    """Watches a training, and adds a curve of what it measured."""

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch."""

    def with_curve(self, fitted: Fitted) -> Fitted:
        """The stack with the curve that was measured."""


class DisambiguationCurve:
    """Measures D after every epoch of a training: an `Observer`."""

    def __init__(self, name: str, studies: Studies, candidates: Tensor, truth: NDArray[np.int64]):
        """`candidates` (R, N, K) are the sets that the images came with, `truth` (N,) or (R, N) their true classes."""
        images, device = candidates.shape[1], candidates.device
        sample = np.sort(randomness.permutation(randomness.key("identified", name), images)[:SAMPLE])
        rows = torch.from_numpy(sample).to(device)
        self.texts = studies.class_texts
        self.features = studies.features[..., rows, :]
        self.excluded = ~candidates[:, rows]
        self.truth = torch.from_numpy(truth[..., sample]).to(device)
        self.shares: list[Tensor] = []

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch: measure D."""
        if not isinstance(fitted.method, Gradient) or type(fitted.method).prepare is not Gradient.prepare:
            # A method with a `prepare` of its own would have to compute it again after every epoch.
            return
        best = fitted.score(self.features, self.texts).masked_fill_(self.excluded, float("-inf")).argmax(-1)
        self.shares.append((best == self.truth).float().mean(-1))

    def with_curve(self, fitted: Fitted) -> Fitted:
        """The stack with the curve D, if it was measured."""
        if not self.shares:
            return fitted
        return replace(fitted, curves={**fitted.curves, "D": torch.stack(self.shares, dim=1)})


def all_watches(*watches: Watch | None) -> Watch | None:
    """One watch that calls all of these in turn; None if all are None."""
    present = [watch for watch in watches if watch is not None]

    def call_all(epoch: int, fitted: Fitted) -> None:
        for watch in present:
            watch(epoch, fitted)

    return call_all if present else None
