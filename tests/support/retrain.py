"""Trains one run of a method with its own module, step by step, by the functions that the trainer calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pzsl_bench.contract import Batch, Gradient, Net, State, Study, configure
from pzsl_bench.training.optimiser import StackedOptimiser
from pzsl_bench.training.vmapped import Vmapped


def study_of(features: Tensor, texts: Tensor, targets: Tensor, scale: float = 100.0) -> Study:
    """A study of these images, whose candidates are the labels that have weight."""
    return Study(features, targets > 0, targets, texts, ("",) * len(texts), scale)


def dice_of(numbers: Tensor) -> Tensor:
    """(..., n) normal numbers -> (..., 2n) the uniform ones that `normal` makes them of."""
    return torch.cat([-torch.expm1(-numbers.square() / 2), (numbers < 0) / 2], dim=-1)


class Retrain:
    """A stack of one run whose batches are given."""

    def __init__(self, name: str, study: Study, settings: Mapping[str, Any], start: State | None = None):
        method = configure(name, settings)
        assert isinstance(method, Gradient)
        self.method, self.study = method, study
        self.module = method.module(study)
        drawn = {k: p.detach() for k, p in self.module.named_parameters()}
        assert set(start or {}) <= set(drawn)
        self.params = {k: p[None].clone().requires_grad_() for k, p in {**drawn, **(start or {})}.items()}
        self.memory = {k: v[None] for k, v in method.memory(study, drawn).items()}
        self.weights = method.first_weights(study).clone()
        self.optimiser = StackedOptimiser(method, list(self.params.values()), {})
        self.lifted = Vmapped(method, {}, self.module, study.texts)

    @property
    def state(self) -> State:
        """The parameters as they are."""
        return {k: p.detach()[0].clone() for k, p in self.params.items()}

    def logits(self, features: Tensor, texts: Tensor | None = None) -> Tensor:
        """(M, C) scores as the judge sees them, for the study's classes or others."""
        memory = {k: v[0] for k, v in self.memory.items()}
        return self.method.score(
            Net(self.module, self.state, self.study.texts if texts is None else texts), memory, features
        )

    def step(
        self, rows: Sequence[int], progress: float = 0.0, dice: State | None = None, epoch: int = 0
    ) -> tuple[float, State]:
        """One step of the optimiser: the loss before it, and its gradients."""
        picked = torch.tensor(rows)
        nothing = torch.empty(0)
        batch = Batch(
            features=self.study.features[picked][None],
            texts=self.study.texts,
            weights=self.weights[picked][None],
            candidates=self.study.candidates[picked][None] if "candidates" in self.method.reads else nothing,
            dice={k: v[None] for k, v in (dice or {}).items()},
            memory=self.memory,
            progress=torch.tensor(progress),
            epoch=torch.tensor(epoch, dtype=torch.float64),
        )
        losses, update = self.lifted.step(self.params, batch)
        grads = torch.autograd.grad(losses.sum(), list(self.params.values()))
        self.optimiser.step(grads, progress)
        if update.weights is not None:
            self.weights[picked] = update.weights[0]
        self.memory |= update.memory
        self.notes = {name: value[0].detach() for name, value in update.notes.items()}
        return losses.item(), {k: g[0] for k, g in zip(self.params, grads, strict=True)}
