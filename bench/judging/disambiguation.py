"""How labels are identified while a stack trains: D after every epoch, as a curve.

D is measured on the judge's side, on a fixed sample of the training images. It is written down and told to nobody: no
method and no rule of selection sees it.
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
"""Training images that are looked at: few enough to cost a few per cent of the training."""


class Observer(Protocol):
    """Follows a training, and adds what it saw to the curves."""

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch."""

    def with_curve(self, fitted: Fitted) -> Fitted:
        """The stack with one more curve."""


class DisambiguationCurve:
    """Follows the share of images whose best-scored candidate is the true label."""

    def __init__(self, name: str, studies: Studies, candidates: Tensor, truth: NDArray[np.int64]):
        """`candidates` (R, N, K) are the sets the images came with, `truth` (N,) or (R, N) their classes."""
        images, device = candidates.shape[1], candidates.device
        picked = np.sort(randomness.permutation(randomness.key("identified", name), images)[:SAMPLE])
        rows = torch.from_numpy(picked).to(device)
        self.texts = studies.texts
        self.features = studies.features[..., rows, :]
        self.excluded = ~candidates[:, rows]
        self.truth = torch.from_numpy(truth[..., picked]).to(device)
        self.shares: list[Tensor] = []

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch."""
        if not isinstance(fitted.method, Gradient) or type(fitted.method).prepare is not Gradient.prepare:
            # What scores by something it must first make would make it again in every epoch.
            return
        best = fitted.score(self.features, self.texts).masked_fill_(self.excluded, float("-inf")).argmax(-1)
        self.shares.append((best == self.truth).float().mean(-1))

    def with_curve(self, fitted: Fitted) -> Fitted:
        """The stack with the curve D."""
        if not self.shares:
            return fitted
        return replace(fitted, curves={**fitted.curves, "D": torch.stack(self.shares, dim=1)})


def all_watches(*watches: Watch | None) -> Watch | None:
    """All of those that are there, one after the other."""
    present = [watch for watch in watches if watch is not None]

    def call(epoch: int, fitted: Fitted) -> None:
        for watch in present:
            watch(epoch, fitted)

    return call if present else None
