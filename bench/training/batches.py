"""What the trainer hands to a stack at every step, and where it puts what comes back.

Rows of all runs lie in one long table, so that gathering and writing back are single calls.
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
    """The per-image tensors of a stack."""

    def __init__(self, method: Gradient, varying: Mapping[str, Tensor], studies: Studies, targets: Tensor):
        self.method, self.studies = method, studies
        self.runs, self.images, self.classes = studies.candidates.shape
        device = studies.features.device
        self.offset = torch.arange(self.runs, device=device).unsqueeze(1) * self.images
        self.nothing = torch.empty(0, device=device)
        self.written = False
        self._features = studies.features.flatten(0, -2)
        self._candidates = studies.candidates.flatten(0, 1)
        told = studies.marks if "marks" in method.reads else None
        self._marks = None if told is None else told.flatten(0, 1)
        self._largest_label_count = most_labels(studies)
        self._targets = targets
        self._tables = _tables(method, studies, targets)
        self._largest = {name: _size(shape) for name, shape in method.dice(method.batch, self.classes).items()}
        self._dice = Dice(studies.keys, device)
        self._views = view_maker(method, varying, studies) if method.looks else None

    @cached_property
    def _weights(self) -> Tensor:
        """(R * N, K); made when somebody asks, because of many tags they are large and not every method has them."""
        return _first_weights(self.method, self.studies, self._targets).flatten(0, 1)

    @property
    def weights(self) -> Tensor:
        """(R, N, K) the label weights as they are."""
        return self._weights.view(self.runs, self.images, self.classes)

    def select_images(self, picked: Tensor) -> None:
        """The next mini-batch: (R, B) images of each run."""
        self.picked = picked.reshape(-1)
        self.rows = (picked + self.offset).reshape(-1)
        self.size = picked.shape[1]

    def batch(self, step: int, epoch: int, memory: State, clock: Tensor) -> Batch:
        """The stacked batch: everything with a leading run axis but the clock."""
        reads = self.method.reads
        progress, number = clock.unbind()
        features = self._gather(self._features, self.rows if self.studies.per_run_features else self.picked)
        shapes = self.method.dice(self.size, self.classes)
        return Batch(
            features=features,
            texts=self.studies.texts,
            weights=self._gather(self._weights) if "weights" in reads else self.nothing,
            candidates=self._gather(self._candidates) if "candidates" in reads else self.nothing,
            marks=self.nothing if self._marks is None else self._gather(self._marks).to(features.dtype),
            views=self._views(step, epoch, self.picked, features) if self._views is not None else self.nothing,
            rows={name: self._gather(table) for name, table in self._tables.items()},
            dice=self._dice.throw(step, shapes, self._largest) if shapes else {},
            memory=memory,
            progress=progress,
            epoch=number,
            most=self._largest_label_count,
        )

    def write_back(self, update: Update, memory: State) -> State:
        """Write the batch's rows back; the memory as it is from now on."""
        if update.weights is not None:
            self.written = True
            self._weights.index_copy_(0, self.rows, update.weights.reshape(-1, self.classes))
        for name, rows in update.rows.items():
            self._tables[name].index_copy_(0, self.rows, rows.flatten(0, 1))
        return {**memory, **update.memory} if update.memory else memory

    def write_all_back(self, update: Update, memory: State) -> State:
        """As `keep`, for whole tables."""
        if update.weights is not None:
            self.written = True
            self._weights.copy_(update.weights.flatten(0, 1))
        return {**memory, **update.memory}

    def _gather(self, table: Tensor, rows: Tensor | None = None) -> Tensor:
        found = table.index_select(0, self.rows if rows is None else rows)
        return found.view(self.runs, self.size, *table.shape[1:])


def _first_weights(method: Gradient, studies: Studies, targets: Tensor) -> Tensor:
    """(R, N, K), the trainer's own to write on."""
    if type(method).first_weights is Gradient.first_weights:
        return targets.clone()
    return torch.stack([method.first_weights(studies.of(r, targets[r])) for r in range(len(studies))])


def _tables(method: Gradient, studies: Studies, targets: Tensor) -> State:
    """Each (R * N, ...), the trainer's own to write on."""
    made = [method.tables(studies.of(r, targets[r])) for r in range(len(studies))]
    return {name: torch.cat([one[name] for one in made]) for name in made[0]}


def most_labels(studies: Studies) -> int:
    """The most present tags, or candidates, that an image of any run has."""
    labels = studies.candidates if studies.marks is None else studies.marks > 0
    return int(labels.sum(-1).max())


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
