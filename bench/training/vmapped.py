"""A method, written for one run, lifted over the runs of a stack.

What is here is what the trainer calls at every step, and what the parity tests call with the numbers of the authors'
own code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from pzsl_bench.contract import Batch, Gradient, Net, State, Update

OPTIMISER_SETTINGS = ("lr", "weight_decay", "momentum", "clip")
EVERY_BATCH = tuple(f.name for f in fields(Batch) if f.name != "texts")
SHARED = ("progress", "epoch", "most")
"""Parts of a batch that all runs have in common."""


@dataclass(frozen=True)
class Vmapped:
    """One method's step, second pass and end of epoch, for all runs at once.

    A stacked batch is a `Batch` whose tensors have a leading run axis, except for `texts` and the clock.
    """

    method: Gradient
    varying: Mapping[str, Tensor]
    """Float hyper-parameters in which the runs differ, each (R,)."""
    module: nn.Module
    texts: Tensor

    def step(self, params: State, batch: Batch) -> tuple[Tensor, Update]:
        """(R,) losses, and the updates of all runs; tensors that a method leaves out are empty."""

        def one(state: State, floats: State, seen: dict[str, Any]) -> tuple[Tensor, Tensor, State, State, State]:
            loss, update = self._own(floats).step(self._net(state), Batch(texts=self.texts, **seen))
            return loss, *_plain(update, loss)

        loss, *rest = self._over_runs(one, batch)(params, self._floats, _parts(batch))
        return loss, _update(*rest)

    def revise(self, params: State, batch: Batch) -> Update:
        """The updates after the optimiser's step."""

        def one(state: State, floats: State, seen: dict[str, Any]) -> tuple[Tensor, State, State, State]:
            update = self._own(floats).revise(self._net(state), Batch(texts=self.texts, **seen))
            return _plain(update, seen["features"])

        with torch.no_grad():
            return _update(*self._over_runs(one, batch)(params, self._floats, _parts(batch)))

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State) -> Update:
        """The updates at the end of an epoch, from (R, N, K) tables."""

        def one(
            floats: State, weights: Tensor, candidates: Tensor, memory: State
        ) -> tuple[Tensor, State, State, State]:
            return _plain(self._own(floats).after_epoch(epoch, weights, candidates, memory), weights)

        with torch.no_grad():
            return _update(*vmap(one)(self._floats, weights, candidates, memory))

    @property
    def _floats(self) -> State:
        return {k: v for k, v in self.varying.items() if k not in OPTIMISER_SETTINGS}

    def _own(self, floats: Mapping[str, Any]) -> Gradient:
        return replace(self.method, **floats) if floats else self.method

    def _net(self, state: State) -> Net:
        return Net(self.module, state, self.texts)

    def _over_runs(self, one: Callable[..., Any], batch: Batch) -> Callable[..., Any]:
        axes: dict[str, Any] = {
            name: None if name in SHARED or _is_empty(getattr(batch, name)) else 0 for name in EVERY_BATCH
        }
        return vmap(one, in_dims=(0, 0, axes))


def _is_empty(part: Tensor | State) -> bool:
    return isinstance(part, Tensor) and not part.numel()


def _parts(batch: Batch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in EVERY_BATCH}


def _plain(update: Update, like: Tensor) -> tuple[Tensor, State, State, State]:
    """An update as vmap can return it: tensors only."""
    weights = like.new_zeros(0) if update.weights is None else update.weights
    return weights, update.memory, update.rows, update.notes


def _update(weights: Tensor, memory: State, rows: State, notes: State) -> Update:
    return Update(weights if weights.numel() else None, memory, rows, notes)
