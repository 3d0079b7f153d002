"""Copies of a stack while it trains: after the last epochs, the best epoch or a given epoch.

`Tail`, `BestEpoch` and `ReadAt` are watches: the trainer calls them after every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pzsl_bench.contract import Gradient, Method, State
from pzsl_bench.training.fitted import Fitted

DIVERGED_VALUE = float("-inf")
"""The value of the criterion for a run that has diverged."""

Criterion = Callable[[Fitted], Tensor]
"""(R,) the values of the runs of a stack; larger is better."""


class Snapshot:
    """A copy of the state and memory of every run, each from the epoch at which that run was copied last."""

    def __init__(self) -> None:
        self.parts: tuple[State, State] | None = None

    def take(self, fitted: Fitted, runs: Tensor) -> None:
        """Copy these runs, (R,) bool; the first call copies all runs."""
        new = dict(fitted.state), dict(fitted.memory)
        old = new if self.parts is None else self.parts
        # torch.where makes the copy, which is needed because the trainer goes on writing to its tensors.
        self.parts = tuple(  # type: ignore[assignment]
            {name: torch.where(runs.view(-1, *[1] * (v.ndim - 1)), v, old_part[name]) for name, v in part.items()}
            for part, old_part in zip(new, old, strict=True)
        )

    def restored(self, fitted: Fitted, alive: Tensor) -> Fitted:
        """The stack with the copied state and memory; label weights were not copied and are left out."""
        assert self.parts is not None
        state, memory = self.parts
        return replace(fitted, state=state, memory=memory, alive=alive, weights=None)


class Tail:
    """Copies the stack after each of the last `window` epochs."""

    def __init__(self, method: Method, window: int):
        self.first = method.epochs - window + 1 if isinstance(method, Gradient) else 0
        self.states: list[Fitted] = []

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch: copy the stack if the epoch is one of the last."""
        if epoch >= self.first:
            snapshot = Snapshot()
            snapshot.take(fitted, torch.ones_like(fitted.alive))
            self.states.append(snapshot.restored(fitted, fitted.alive))

    def last_states(self, end: Fitted) -> list[Fitted]:
        """The stack after each of the last epochs, with the curves of the whole training.

        For a method without epochs this is the final stack alone. A run that diverged at any time counts as diverged in
        all of these states.
        """
        return [replace(state, alive=end.alive, curves=end.curves) for state in self.states] or [end]


class BestEpoch:
    """Copies every run at its best epoch; of epochs that are equally good, the latest."""

    def __init__(self, criterion: Criterion):
        self.criterion = criterion
        self.snapshot = Snapshot()
        self.curve: list[Tensor] = []

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch: copy the runs that are at least as good as at any epoch before."""
        value = self.criterion(fitted)
        value = value.where(fitted.alive & value.isfinite(), DIVERGED_VALUE)
        if not self.curve:
            self.best, self.epoch = value, torch.full_like(value, epoch, dtype=torch.int64)
        improved = value >= self.best
        self.snapshot.take(fitted, improved)
        self.best = value.where(improved, self.best)
        self.epoch = torch.where(improved, epoch, self.epoch)
        self.curve.append(value)

    def chosen(self, end: Fitted, name: str) -> tuple[Fitted, Tensor, Tensor]:
        """Every run at its best epoch, with (R,) values and (R,) epochs; epoch 0 for a method without epochs."""
        if not self.curve:
            self(0, end)
            return replace(end, alive=self.best > DIVERGED_VALUE), self.best, self.epoch
        curves = {**end.curves, name: torch.stack(self.curve, dim=1)}
        return replace(self.snapshot.restored(end, self.best > DIVERGED_VALUE), curves=curves), self.best, self.epoch


class ReadAt:
    """Copies the parameters and memory of each run after the epoch given for that run; None means after the last."""

    def __init__(self, epochs: Sequence[int | None], device: torch.device):
        self.at_end = all(epoch is None for epoch in epochs)
        self.epochs = torch.tensor([epoch or 0 for epoch in epochs], device=device)
        self.alive = torch.zeros_like(self.epochs, dtype=torch.bool)
        self.snapshot = Snapshot()

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        """After an epoch: copy the runs whose epoch it is."""
        if self.at_end:
            return
        runs = self.epochs == epoch
        self.snapshot.take(fitted, runs)
        self.alive = fitted.alive.where(runs, self.alive)

    def restored(self, end: Fitted) -> Fitted:
        """The stack with every run as copied."""
        return end if self.at_end else self.snapshot.restored(end, self.alive)
