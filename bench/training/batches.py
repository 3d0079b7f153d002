"""Gathers the mini-batch of every run of a stack, and writes updated label weights and tables back.

The rows of all runs lie in one long table, so that gathering and writing back are single calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from pzsl_bench.contract import Batch, Gradient, State, Update
from pzsl_bench.problem.studies import Studies
from pzsl_bench.training.device_random import Dice
from pzsl_bench.training.views import view_maker


class Batches:
    """The per-image tensors of a stack, and its mini-batches."""

    def __init__(self, method: Gradient, varying: Mapping[str, Tensor], studies: Studies, targets: Tensor):
        self.method, self.studies = method, studies
        self.runs, self.images, self.classes = studies.candidates.shape
        device = studies.features.device
        self.offset = torch.arange(self.runs, device=device).unsqueeze(1) * self.images
        self.empty = torch.empty(0, device=device)
        self.weights_updated = False
        self._features = studies.features.flatten(0, -2)
        self._candidates = studies.candidates.flatten(0, 1)
        marks = studies.marks if "marks" in method.reads else None
        self._marks = None if marks is None else marks.flatten(0, 1)
        self._largest_label_count = most_labels(studies)
        self._targets = targets
        self._tables = _tables(method, studies, targets)
        self._dice_sizes = {name: _size(shape) for name, shape in method.dice(method.batch, self.classes).items()}
        self._dice = Dice(studies.keys, device)
        self._views = view_maker(method, varying, studies) if method.looks else None

    @cached_property
    def _weights(self) -> Tensor:
        """(R * N, K); made at first use: with many tags they are large, and not every method uses them."""
        return _first_weights(self.method, self.studies, self._targets).flatten(0, 1)

    @property
    def weights(self) -> Tensor:
        """(R, N, K) the current label weights."""
        return self._weights.view(self.runs, self.images, self.classes)

    @property
    def tables(self) -> State:
        """The current tables, each (R, N, ...)."""
        shape = (self.runs, self.images)
        return {name: table.view(*shape, *table.shape[1:]) for name, table in self._tables.items()}

    def select_images(self, picked: Tensor) -> None:
        """Choose the (R, B) images of the next mini-batch."""
        self.picked = picked.reshape(-1)
        self.rows = (picked + self.offset).reshape(-1)
        self.size = picked.shape[1]

    def batch(self, step: int, epoch: int, memory: State, clock: Tensor) -> Batch:
        """The stacked batch: all tensors have a leading run axis, except for `texts` and the clock."""
        reads = self.method.reads
        progress, epoch_number = clock.unbind()
        features = self._gather(self._features, self.rows if self.studies.per_run_features else self.picked)
        shapes = self.method.dice(self.size, self.classes)
        return Batch(
            features=features,
            texts=self.studies.texts,
            weights=self._gather(self._weights) if "weights" in reads else self.empty,
            candidates=self._gather(self._candidates) if "candidates" in reads else self.empty,
            marks=self.empty if self._marks is None else self._gather(self._marks).to(features.dtype),
            views=self._views(step, epoch, self.picked, features) if self._views is not None else self.empty,
            rows={name: self._gather(table) for name, table in self._tables.items()},
            dice=self._dice.throw(step, shapes, self._dice_sizes) if shapes else {},
            memory=memory,
            progress=progress,
            epoch=epoch_number,
            most=self._largest_label_count,
        )

    def write_back(self, update: Update, memory: State) -> State:
        """Write the rows of the batch back; returns the updated memory."""
        if update.weights is not None:
            self.weights_updated = True
            self._weights.index_copy_(0, self.rows, update.weights.reshape(-1, self.classes))
        for name, rows in update.rows.items():
            self._tables[name].index_copy_(0, self.rows, rows.flatten(0, 1))
        return {**memory, **update.memory} if update.memory else memory

    def write_all_back(self, update: Update, memory: State) -> State:
        """Write the whole (R, N, K) label weights and whole tables back; returns the updated memory."""
        if update.weights is not None:
            self.weights_updated = True
            self._weights.copy_(update.weights.flatten(0, 1))
        for name, table in update.rows.items():
            self._tables[name].copy_(table.flatten(0, 1))
        return {**memory, **update.memory}

    def _gather(self, table: Tensor, rows: Tensor | None = None) -> Tensor:
        """(R, B, ...) the rows of the batch."""
        gathered = table.index_select(0, self.rows if rows is None else rows)
        return gathered.view(self.runs, self.size, *table.shape[1:])


def _first_weights(method: Gradient, studies: Studies, targets: Tensor) -> Tensor:
    """(R, N, K), a copy that the trainer may write on."""
    if type(method).first_weights is Gradient.first_weights:
        return targets.clone()
    return torch.stack([method.first_weights(studies.of(r, targets[r])) for r in range(len(studies))])


def _tables(method: Gradient, studies: Studies, targets: Tensor) -> State:
    """Each (R * N, ...), copies that the trainer may write on."""
    tables = [method.tables(studies.of(r, targets[r])) for r in range(len(studies))]
    return {name: torch.cat([table[name] for table in tables]) for name in tables[0]}


def most_labels(studies: Studies) -> int:
    """The largest number of present tags, or of candidates, of any image of any run."""
    labels = studies.candidates if studies.marks is None else studies.marks > 0
    return int(labels.sum(-1).max())


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
