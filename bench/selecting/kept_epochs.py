"""States of a stack that are kept while it trains: of the last epochs, of the best one, of one fixed beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pzsl_bench.contract import Gradient, Method, State
from pzsl_bench.training.fitted import Fitted

NEVER = float("-inf")
"""The value of a run that has diverged."""

Criterion = Callable[[Fitted], Tensor]
"""(R,) how good the runs of a stack are."""


class Snapshot:
    """Keeps, for every run, its state and memory at the epoch at which it was last wanted."""

    def __init__(self) -> None:
        self.parts: tuple[State, State] | None = None

    def take(self, fitted: Fitted, wanted: Tensor) -> None:
        """Take over the runs that are wanted now, (R,) bool; all of them at first."""
        now = dict(fitted.state), dict(fitted.memory)
        old = now if self.parts is None else self.parts
        # torch.where copies, which is needed: the trainer writes on.
        self.parts = tuple(  # type: ignore[assignment]
            {name: torch.where(wanted.view(-1, *[1] * (v.ndim - 1)), v, before[name]) for name, v in part.items()}
            for part, before in zip(now, old, strict=True)
        )

    def restored(self, fitted: Fitted, alive: Tensor) -> Fitted:
        """The stack with what was kept; label weights, which were not, are left out."""
        assert self.parts is not None
        state, memory = self.parts
        return replace(fitted, state=state, memory=memory, alive=alive, weights=None)


class Tail:
    """Keeps the stack as it was after each of the last epochs."""

    def __init__(self, method: Method, window: int):
        self.first = method.epochs - window + 1 if isinstance(method, Gradient) else 0
        self.states: list[Fitted] = []

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch: copy the stack if it is one of the last."""
        if epoch >= self.first:
            snapshot = Snapshot()
            snapshot.take(fitted, torch.ones_like(fitted.alive))
            self.states.append(snapshot.restored(fitted, fitted.alive))

    def last_states(self, end: Fitted) -> list[Fitted]:
        """The last epochs, with the curves of the whole training; the end alone for a method that has none.

        A run that diverged did so in all of them.
        """
        return [replace(state, alive=end.alive, curves=end.curves) for state in self.states] or [end]


class BestEpoch:
    """Keeps every run as it was at its best epoch; of epochs that are equally good, the latest."""

    def __init__(self, criterion: Criterion):
        self.criterion = criterion
        self.snapshot = Snapshot()
        self.curve: list[Tensor] = []

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch: copy the runs that have never been better."""
        value = self.criterion(fitted)
        value = value.where(fitted.alive & value.isfinite(), NEVER)
        if not self.curve:
            self.best, self.epoch = value, torch.full_like(value, epoch, dtype=torch.int64)
        wanted = value >= self.best
        self.snapshot.take(fitted, wanted)
        self.best = value.where(wanted, self.best)
        self.epoch = torch.where(wanted, epoch, self.epoch)
        self.curve.append(value)

    def chosen(self, end: Fitted, name: str) -> tuple[Fitted, Tensor, Tensor]:
        """The stack at its best, (R,) values and (R,) epochs; epoch 0 for a method that has none."""
        if not self.curve:
            self(0, end)
            return replace(end, alive=self.best > NEVER), self.best, self.epoch
        curves = {**end.curves, name: torch.stack(self.curve, dim=1)}
        return replace(self.snapshot.restored(end, self.best > NEVER), curves=curves), self.best, self.epoch


class ReadAt:
    """Keeps every run as it was after an epoch of its own; None means the end."""

    def __init__(self, epochs: Sequence[int | None], device: torch.device):
        self.at_end = all(epoch is None for epoch in epochs)
        self.epochs = torch.tensor([epoch or 0 for epoch in epochs], device=device)
        self.alive = torch.zeros_like(self.epochs, dtype=torch.bool)
        self.snapshot = Snapshot()

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch: copy the runs whose epoch it is."""
        if self.at_end:
            return
        now = self.epochs == epoch
        self.snapshot.take(fitted, now)
        self.alive = fitted.alive.where(now, self.alive)

    def restored(self, end: Fitted) -> Fitted:
        """The stack as it was then."""
        return end if self.at_end else self.snapshot.restored(end, self.alive)
