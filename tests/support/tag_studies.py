"""Small studies whose images have several tags, and single steps of methods on marks and logits that are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from replay import LookUp, double
from torch import Tensor, nn

from pzsl_bench.contract import Batch, Gradient, State, Study, Update, configure, normalise
from pzsl_bench.problem.studies import Studies
from pzsl_bench.training.vmapped import Vmapped

TAGS, UNSEEN, WIDTH = 6, 2, 12


def tag_texts(tags: int = TAGS + UNSEEN, width: int = WIDTH) -> Tensor:
    """(C, d) unit texts, the same at every call."""
    return normalise(torch.randn(tags, width, generator=torch.Generator().manual_seed(5)))


def images_of(tags: Tensor, texts: Tensor, noise: float = 0.3, seed: int = 0) -> Tensor:
    """(N, d) unit images that show the tags they have."""
    shown = tags.float() @ texts
    generator = torch.Generator().manual_seed(seed)
    return normalise(normalise(shown) + noise * torch.randn(shown.shape, generator=generator) / shown.shape[1] ** 0.5)


def drawn_tags(images: int, tags: int, seed: int = 0, share: float = 0.3) -> Tensor:
    """(N, C) bool, at least one tag per image."""
    generator = torch.Generator().manual_seed(seed)
    has = torch.rand(images, tags, generator=generator) < share
    has[torch.arange(images), torch.randint(tags, (images,), generator=generator)] = True
    return has


def tag_studies(marks: Tensor, features: Tensor, texts: Tensor, runs: int = 1, scale: float = 20.0) -> Studies:
    """A stack of equal studies, told apart by their names."""
    keys = tuple(f"tags|{run}" for run in range(runs))
    stacked_marks = marks.to(torch.int8).expand(runs, *marks.shape[-2:])
    names = tuple(f"tag {k}" for k in range(len(texts)))
    return Studies(features, texts, names, scale, stacked_marks >= 0, keys, keys, marks=stacked_marks)


class Marked:
    """Steps of one run of a method for tags whose logits are given."""

    def __init__(
        self, name: str, marks: Any, settings: Mapping[str, Any] | None = None, dtype: torch.dtype = torch.float64
    ):
        method = configure(name, dict(settings or {}))
        assert isinstance(method, Gradient)
        self.method, self.dtype = method, dtype
        self.marks = torch.as_tensor(marks, dtype=dtype)
        images, tags = self.marks.shape
        self.study = Study(
            features=torch.eye(images, dtype=dtype),
            candidates=self.marks >= 0,
            targets=(self.marks > 0).to(dtype),
            texts=torch.zeros(tags, images, dtype=dtype),
            class_names=("",) * tags,
            scale=1.0,
            marks=self.marks.to(torch.int8),
        )
        self.weights = method.first_weights(self.study).clone()
        self.tables = method.tables(self.study)
        self.memory = method.memory(self.study, {})

    def step(self, logits: Any, progress: float = 0.0, module: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Loss of all images together, and its gradient in the logits (B, K)."""
        table = torch.as_tensor(logits, dtype=self.dtype)
        losses, update, params = step_of(self, module or LookUp(table), {"table": table}, progress)
        (gradient,) = torch.autograd.grad(losses.sum(), [params["table"]])
        self.keep(update)
        return losses[0].detach(), gradient[0]

    def keep(self, update: Update) -> None:
        if update.weights is not None:
            self.weights = update.weights[0]
        self.tables = {**self.tables, **{k: v[0] for k, v in update.rows.items()}}
        self.memory = {**self.memory, **{k: v[0] for k, v in update.memory.items()}}


def step_of(run: Marked, module: nn.Module, params: State, progress: float = 0.0) -> tuple[Tensor, Update, State]:
    """One step by the function that the trainer calls."""
    lifted = Vmapped(run.method, {}, module, run.study.texts)
    stacked = {k: v.detach()[None].clone().requires_grad_() for k, v in params.items()}
    reads, nothing = run.method.reads, torch.empty(0)
    batch = Batch(
        features=run.study.features[None],
        weights=run.weights[None] if "weights" in reads else nothing,
        candidates=run.study.candidates[None] if "candidates" in reads else nothing,
        marks=run.marks[None],
        rows={k: v[None] for k, v in run.tables.items()},
        memory={k: v[None] for k, v in run.memory.items()},
        progress=double(progress).to(run.dtype),
        epoch=double(0),
        most=int((run.marks > 0).sum(-1).max()),
    )
    return *lifted.step(stacked, batch), stacked


def with_marks(studies: Studies, marks: Sequence[Tensor]) -> Studies:
    """The same images, other marks for every run."""
    stacked_marks = torch.stack([m.to(torch.int8) for m in marks])
    return replace(studies, candidates=stacked_marks >= 0, marks=stacked_marks)
