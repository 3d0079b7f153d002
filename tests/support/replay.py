"""Plays the numbers of the authors' own code through the very functions that the trainer calls."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pzsl_bench.contract import Batch, Gradient, State, Study, Update, configure
from pzsl_bench.training.vmapped import Vmapped

PARITY = Path(__file__).parents[1] / "parity"
DOUBLE = torch.float64


OTHER_NUMBERS = "PZSL_OTHER_NUMBERS"
"""With a file in this variable, fixtures expect other numbers than their authors' code gave, and are listed there."""


def fixture(name: str) -> dict[str, Any]:
    """The content of tests/parity/NAME.json."""
    content: dict[str, Any] = json.loads((PARITY / f"{name}.json").read_text())
    if OTHER_NUMBERS in os.environ:
        with Path(os.environ[OTHER_NUMBERS]).open("a") as listing:
            listing.write(f"{name}\n")
        content["expected"] = moved(content["expected"])
    return content


def moved(value: Any) -> Any:
    """The same structure with every number that is not a whole one moved by a hundredth of its size and more."""
    if isinstance(value, dict):
        return {key: moved(part) for key, part in value.items()}
    if isinstance(value, list):
        return [moved(part) for part in value]
    return value + 0.01 * (1 + abs(value)) if isinstance(value, float) else value


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def agree(got: Tensor, want: Any, tolerance: Mapping[str, Any]) -> None:
    """Equal within the fixture's own tolerance."""
    torch.testing.assert_close(got, double(want), atol=tolerance["atol"], rtol=tolerance["rtol"])


class LookUp(nn.Module):
    """Logits that are the parameters themselves: image i is a one-hot row that picks row i of the table."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, features: Tensor, texts: Tensor) -> Tensor:
        return features @ self.table


class ProjectedLookUp(nn.Module):
    """As `LookUp`, for methods with a projection: rows of the table are logits, then the projected features."""

    def __init__(self, table: Tensor, classes: int):
        super().__init__()
        self.table = nn.Parameter(table)
        self.classes = classes

    def forward(self, features: Tensor, texts: Tensor, give: str = "logits") -> Tensor | tuple[Tensor, Tensor]:
        logits, projected = (features @ self.table).tensor_split([self.classes], dim=-1)
        return {"logits": logits, "projection": projected}.get(give, (logits, projected))


class Replay:
    """One run of a method whose logits are given step by step.

    `look_up` makes the module from the table of what it looks up, where a method wants more of it than logits.
    """

    def __init__(
        self,
        name: str,
        candidates: Any,
        settings: Mapping[str, Any] | None = None,
        memory: State | None = None,
        texts: Tensor | None = None,
        features: Tensor | None = None,
        look_up: Callable[[Tensor], nn.Module] = LookUp,
        dtype: torch.dtype = DOUBLE,
    ):
        method = configure(name, dict(settings or {}))
        assert isinstance(method, Gradient)
        self.method = method
        self.look_up = look_up
        self.dtype = dtype
        self.candidates = double(candidates).bool()
        images, classes = self.candidates.shape
        uniform = self.candidates.to(dtype) / self.candidates.sum(1, keepdim=True)
        self.texts = torch.zeros(classes, 2, dtype=dtype) if texts is None else texts
        self.study = Study(
            features=torch.zeros(images, 2, dtype=dtype) if features is None else features,
            candidates=self.candidates,
            targets=uniform,
            texts=self.texts,
            class_names=("",) * classes,
            scale=1.0,
        )
        self.weights = method.first_weights(self.study).clone()
        self.tables = {k: v.clone() for k, v in method.tables(self.study).items()}
        self.memory = method.memory(self.study, {}) if memory is None else memory

    def step(
        self,
        rows: Sequence[int],
        logits: Any,
        views: Sequence[Any] = (),
        dice: State | None = None,
        epoch: int = 0,
        progress: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Loss, and its gradient with respect to the logits of the plain images followed by those of the views."""
        table = double([*logits, *(row for view in views for row in view)]).to(self.dtype)
        params = {"table": table[None].requires_grad_()}
        lifted, batch = self._ready(rows, table, len(views), dice or {}, epoch, progress)
        losses, update = lifted.step(params, batch)
        (gradient,) = torch.autograd.grad(losses.sum(), [params["table"]])
        self.keep(rows, update)
        self.notes = {name: value[0].detach() for name, value in update.notes.items()}
        return losses[0].detach(), gradient[0]

    def revise(self, rows: Sequence[int], logits: Any, views: Sequence[Any] = (), **clock: Any) -> None:
        """The second pass, whose logits are given too."""
        assert self.method.second_pass
        table = double([*logits, *(row for view in views for row in view)]).to(self.dtype)
        lifted, batch = self._ready(rows, table, len(views), {}, clock.get("epoch", 0), clock.get("progress", 0.0))
        self.keep(rows, lifted.revise({"table": table[None]}, batch))

    def end_epoch(self, epoch: int) -> None:
        """What the end of an epoch changes."""
        lifted = Vmapped(self.method, {}, nn.Identity(), self.texts)
        memory, tables = ({k: v[None] for k, v in state.items()} for state in (self.memory, self.tables))
        self.keep(slice(None), lifted.after_epoch(epoch, self.weights[None], self.candidates[None], memory, tables))

    def keep(self, rows: Any, update: Update) -> None:
        if update.weights is not None:
            self.weights[rows] = update.weights[0]
        for name, new in update.rows.items():
            self.tables[name][rows] = new[0]
        self.memory = {**self.memory, **{k: v[0] for k, v in update.memory.items()}}

    def _ready(
        self, rows: Sequence[int], table: Tensor, looks: int, dice: State, epoch: int, progress: float
    ) -> tuple[Vmapped, Batch]:
        pick = torch.eye(len(table), dtype=self.dtype).view(1 + looks, len(rows), len(table))
        nothing, reads = torch.empty(0), self.method.reads
        batch = Batch(
            features=pick[None, 0],
            texts=self.texts,
            weights=self.weights[rows][None] if "weights" in reads else nothing,
            candidates=self.candidates[rows][None] if "candidates" in reads else nothing,
            views=pick[None, 1:] if looks else nothing,
            rows={k: v[rows][None] for k, v in self.tables.items()},
            dice={k: v[None] for k, v in dice.items()},
            memory={k: v[None] for k, v in self.memory.items()},
            progress=double(progress).to(self.dtype),
            epoch=double(epoch),
        )
        return Vmapped(self.method, {}, self.look_up(table), self.texts), batch
