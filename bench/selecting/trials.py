"""Trains the draws of many cells as one stack, and takes the best draw of every cell out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from pzsl_bench.contract import Method
from pzsl_bench.records.trial import Trial
from pzsl_bench.selecting.kept_epochs import DIVERGED_VALUE
from pzsl_bench.training.fit import merge
from pzsl_bench.training.fitted import Fitted
from pzsl_bench.training.memory import cut, is_out_of_memory

Tried = tuple[Fitted, Tensor, Tensor]
"""Trained runs, (R,) values of the criterion and (R,) chosen epochs, 0 where no epoch was chosen."""
Train = Callable[[Sequence[Method], Tensor], Tried]
"""Trains runs, from their methods and the numbers of their cells."""


@dataclass(frozen=True)
class Choice:
    """The chosen method, draw and epoch of a cell, and the values of all its draws."""

    method: Method
    """It has the settings of the draw."""
    draw: int = 0
    epoch: int | None = None
    """None for the end of the training."""
    trials: tuple[Trial, ...] = ()


class Trials:
    """The trained draws of all cells, cell after cell."""

    def __init__(self, drawn: Sequence[Sequence[Method]]):
        self.drawn = drawn
        self.starts: list[int] = np.cumsum([0, *map(len, drawn[:-1])]).tolist()
        self.places: list[tuple[Fitted, int]] = []
        """For every run the stack in which it was trained, and its number in that stack."""
        self.values: list[float] = []
        self.epochs: list[int] = []

    def train(self, work: Train, width: int | None) -> Trials:
        """Train the draws, at most `width` at once; a part that does not fit into memory is halved."""
        methods = [method for draws in self.drawn for method in draws]
        cells = torch.tensor([cell for cell, draws in enumerate(self.drawn) for _ in draws])
        waiting = [slice(part[0], part[-1] + 1) for part in cut(range(len(methods)), width or len(methods))]
        while waiting:
            part = waiting.pop(0)
            try:
                fitted, values, epochs = work(methods[part], cells[part])
            except Exception as error:
                if not is_out_of_memory(error) or part.stop - part.start == 1:
                    raise
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                middle = (part.start + part.stop) // 2
                waiting = [slice(part.start, middle), slice(middle, part.stop), *waiting]
                continue
            self.places += [(fitted, run) for run in range(fitted.runs)]
            self.values += values.tolist()
            self.epochs += epochs.tolist()
        return self

    def average(self, others: Sequence[Trials]) -> None:
        """Replace the values by their mean over these and other trials of the same draws."""
        self.values = np.mean([self.values, *(other.values for other in others)], axis=0).tolist()

    def choices(self) -> list[Choice]:
        """The best draw of every cell; of draws that are equally good, the first."""
        return [self._choice(start, draws) for start, draws in zip(self.starts, self.drawn, strict=True)]

    def gathered(self, choices: Sequence[Choice]) -> Fitted:
        """The chosen runs as one stack."""
        places = [self.places[start + choice.draw] for start, choice in zip(self.starts, choices, strict=True)]
        first = places[0][0]
        method, varying = merge([choice.method for choice in choices], first.alive.device)
        return replace(
            first,
            method=method,
            runs=len(places),
            state={name: torch.stack([fitted.state[name][run] for fitted, run in places]) for name in first.state},
            memory={name: torch.stack([fitted.memory[name][run] for fitted, run in places]) for name in first.memory},
            varying=varying,
            alive=torch.stack([fitted.alive[run] for fitted, run in places]),
            weights=None,
            curves={name: torch.stack([fitted.curves[name][run] for fitted, run in places]) for name in first.curves},
        )

    def _choice(self, start: int, draws: Sequence[Method]) -> Choice:
        trials = tuple(self._trial(start + number, draws[number], draws[0]) for number in range(len(draws)))
        best = int(np.argmax(self.values[start : start + len(draws)]))
        return Choice(draws[best], best, trials[best].epoch, trials)

    def _trial(self, run: int, method: Method, plain: Method) -> Trial:
        names = [spec.name for spec in fields(method) if getattr(method, spec.name) != getattr(plain, spec.name)]
        value = self.values[run]
        return Trial(
            {name: getattr(method, name) for name in names},
            self.epochs[run] or None,
            value if value > DIVERGED_VALUE else None,
        )
