"""Applies a method, which is written for one run, to all runs of a stack with `torch.func.vmap`.

The trainer calls it at every step. Parity tests call it too, with the numbers of the authors' code.
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
BATCH_FIELDS = tuple(f.name for f in fields(Batch) if f.name != "texts")
SHARED_FIELDS = ("progress", "epoch", "most")
"""Fields of a batch that are the same for all runs."""


@dataclass(frozen=True)
class Vmapped:
    """The step, second pass and end of epoch of a method, vmapped: computed for all runs at once.

    A stacked batch is a `Batch` whose tensors have a leading run axis, except for `texts`, `progress` and `epoch`.
    """

    method: Gradient
    varying: Mapping[str, Tensor]
    """Float hyper-parameters in which the runs differ, each (R,)."""
    module: nn.Module
    texts: Tensor

    def step(self, params: State, batch: Batch) -> tuple[Tensor, Update]:
        """(R,) losses, and the updates of all runs."""

        def step_run(state: State, floats: State, parts: dict[str, Any]) -> tuple[Tensor, Tensor, State, State, State]:
            loss, update = self._method_of_run(floats).step(self._net(state), Batch(texts=self.texts, **parts))
            return loss, *_as_tensors(update, loss)

        loss, *rest = self._over_runs(step_run, batch)(params, self._floats, _parts(batch))
        return loss, _as_update(*rest)

    def revise(self, params: State, batch: Batch) -> Update:
        """The updates of all runs from the second pass, after the optimiser's step."""

        def revise_run(state: State, floats: State, parts: dict[str, Any]) -> tuple[Tensor, State, State, State]:
            update = self._method_of_run(floats).revise(self._net(state), Batch(texts=self.texts, **parts))
            return _as_tensors(update, parts["features"])

        with torch.no_grad():
            return _as_update(*self._over_runs(revise_run, batch)(params, self._floats, _parts(batch)))

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        """The updates of all runs at the end of an epoch, from (R, N, ...) tables."""

        def after_epoch_of_run(floats: State, *state: Any) -> tuple[Tensor, State, State, State]:
            return _as_tensors(self._method_of_run(floats).after_epoch(epoch, *state), weights)

        with torch.no_grad():
            return _as_update(*vmap(after_epoch_of_run)(self._floats, weights, candidates, memory, tables))

    @property
    def _floats(self) -> State:
        """The varying settings that the method reads; the optimiser's are read by the optimiser."""
        return {k: v for k, v in self.varying.items() if k not in OPTIMISER_SETTINGS}

    def _method_of_run(self, floats: Mapping[str, Any]) -> Gradient:
        return replace(self.method, **floats) if floats else self.method

    def _net(self, state: State) -> Net:
        return Net(self.module, state, self.texts)

    def _over_runs(self, function: Callable[..., Any], batch: Batch) -> Callable[..., Any]:
        axes: dict[str, Any] = {
            name: None if name in SHARED_FIELDS or _is_empty(getattr(batch, name)) else 0 for name in BATCH_FIELDS
        }
        return vmap(function, in_dims=(0, 0, axes))


def _is_empty(part: Tensor | State) -> bool:
    return isinstance(part, Tensor) and not part.numel()


def _parts(batch: Batch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in BATCH_FIELDS}


def _as_tensors(update: Update, like: Tensor) -> tuple[Tensor, State, State, State]:
    """An update as vmap can return it: an empty tensor stands for weights that are None."""
    weights = like.new_zeros(0) if update.weights is None else update.weights
    return weights, update.memory, update.rows, update.notes


def _as_update(weights: Tensor, memory: State, rows: State, notes: State) -> Update:
    return Update(weights if weights.numel() else None, memory, rows, notes)
