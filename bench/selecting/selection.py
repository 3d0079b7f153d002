"""Which states of a stack are judged: an epoch and a draw of the settings are chosen for every cell.

The draws of all cells are further runs of the same stack. They are compared on a tenth of the training images, held
out, by their candidate sets alone (`covering`, `approximated`) or by their labels (`oracle`); or in rehearsals, each
with other seen classes in the part of the unseen ones (`rehearsal`, `validation`), whose exams have true labels of
training images. Test images have no part in this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Method
from pzsl_bench.judging.disambiguation import Observer, all_watches
from pzsl_bench.judging.judge import best_biases, chunks, curves, unseen_accuracies
from pzsl_bench.problem.exam import Exam
from pzsl_bench.problem.studies import Studies
from pzsl_bench.selecting.criteria import approximated, covering, right
from pzsl_bench.selecting.kept_epochs import NEVER, BestEpoch, Criterion, ReadAt, Tail
from pzsl_bench.selecting.rules import Rule
from pzsl_bench.selecting.trials import Choice, Trials, Tried
from pzsl_bench.training.fit import Progress, fit
from pzsl_bench.training.fitted import Fitted, Watch

HELD_OUT = 0.1
"""Share of the training images on which epochs and draws are compared."""
COMPARE = {"covering": covering, "approximated": approximated, "oracle": right}

Biases = list[float | None]
Configurations = Sequence[Sequence[Method]]
"""The configurations of every cell, the grid's own first."""


@dataclass(frozen=True)
class Rehearsal:
    """The rehearsal of some of the cells, which share a problem."""

    cells: list[int]
    studies: Studies
    exam: Exam


@dataclass(frozen=True)
class Task:
    """What a stack of R cells is trained and chosen on."""

    dataset: str
    studies: Studies
    candidates: Tensor
    """(R, N, K) the sets that the images came with; the studies of a bound hold others."""
    truth: Tensor | None
    """(N,) or (R, N) true classes; only a rule that reveals the truth is given them."""
    rehearsals: Callable[[int], Sequence[Rehearsal]]
    """Those of a fold, made when they are needed; cells without one in fold 0 are not calibrated."""
    observer: Callable[[Tensor], Observer | None] = lambda cells: None
    """Who follows the training of runs of these cells; nothing is chosen by what it sees."""

    def fit(
        self,
        methods: Sequence[Method],
        studies: Studies,
        cells: Tensor,
        progress: Progress | None,
        watch: Watch | None = None,
    ) -> Fitted:
        """Train runs of these cells as they will be judged: under the eyes of the observer."""
        observer = self.observer(cells)
        fitted = fit(methods, studies, progress, all_watches(observer, watch))
        return fitted if observer is None else observer.with_curve(fitted)


@dataclass(frozen=True)
class Selection:
    """What is to be judged."""

    states: Sequence[Fitted]
    """One state of every cell; several where metrics are averaged over epochs."""
    biases: Sequence[Biases]
    """For each of these states the calibration of every cell, from a rehearsal with its settings and epoch."""
    choices: Sequence[Choice]


def select(
    rule: Rule, drawn: Configurations, task: Task, width: int | None = None, progress: Progress | None = None
) -> Selection:
    """Train the draws of every cell, at most `width` runs at once, and choose among them and their epochs."""
    if task.truth is not None and not rule.reveals_truth:
        raise ValueError(f"the rule {rule.name} must not be given true labels")
    if rule.epochs:
        return _by_held_out(rule, drawn, task, width, progress)
    if rule.folds:
        return _by_rehearsal(rule, drawn, task, width, progress)
    return _by_clock(rule, [first for first, *_ in drawn], task, progress)


def held_out(images: int, dataset: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to choose on, of so many training images.

    The same at every rate and seed, so that the runs of a stack go on sharing their images.
    """
    count = max(1, int(HELD_OUT * images))
    if count >= images:
        raise UserError(f"{dataset} has {images} training image: none can be held out to choose an epoch on")
    order = randomness.permutation(randomness.key("held out", dataset), images)
    return np.sort(order[count:]), np.sort(order[:count])


def averaged(results: Sequence[Sequence[Mapping[str, float | None]]]) -> list[dict[str, float | None]]:
    """The metrics of every cell as means over judged states; None where some state has none."""
    cells = []
    for states in zip(*results, strict=True):
        metrics: dict[str, float | None] = {}
        for name in states[0]:
            values = [value for state in states if (value := state[name]) is not None]
            metrics[name] = sum(values) / len(values) if len(values) == len(states) else None
        cells.append(metrics)
    return cells


def _by_clock(rule: Rule, methods: Sequence[Method], task: Task, progress: Progress | None) -> Selection:
    """The end of the training, or its last epochs."""

    def train(methods: Sequence[Method], work: Callable[[Watch | None], Fitted]) -> list[Fitted]:
        if rule.window == 1:
            return [work(None)]
        tail = Tail(methods[0], rule.window)
        return tail.last_states(work(tail))

    def again(methods: Sequence[Method], studies: Studies, cells: list[int]) -> list[Fitted]:
        return train(methods, lambda watch: fit(methods, studies, watch=watch))

    every = torch.arange(len(methods))
    states = train(methods, lambda watch: task.fit(methods, task.studies, every, progress, watch))
    biases = _calibrated(states[-1], methods, task, again)
    return Selection(states, biases or [[None] * len(methods)] * len(states), [Choice(method) for method in methods])


def _by_held_out(
    rule: Rule, drawn: Configurations, task: Task, width: int | None, progress: Progress | None
) -> Selection:
    """The best epoch of the best draw."""
    device = task.studies.features.device
    rows, held = (torch.from_numpy(r).to(device) for r in held_out(task.candidates.shape[1], task.dataset))
    training, trying = task.studies.of_images(rows), task.studies.of_images(held)

    def train(methods: Sequence[Method], cells: Tensor) -> Tried:
        best = BestEpoch(_criterion(rule, task, trying.of_runs(cells), held, cells))
        return best.chosen(task.fit(methods, training.of_runs(cells), cells, progress, best), rule.name)

    trials = Trials(drawn).train(train, width)
    choices = trials.choices()
    state = trials.gathered(choices)

    def again(methods: Sequence[Method], studies: Studies, cells: list[int]) -> list[Fitted]:
        reader = ReadAt([choices[cell].epoch for cell in cells], device)
        return [reader.restored(fit(methods, studies, watch=reader))]

    biases = _calibrated(state, [choice.method for choice in choices], task, again)
    return Selection([state], biases or [[None] * len(choices)], choices)


def _by_rehearsal(
    rule: Rule, drawn: Configurations, task: Task, width: int | None, progress: Progress | None
) -> Selection:
    """The draw that does best in the mean of several rehearsals, trained on all images; calibrated in the first."""
    choices: dict[int, Choice] = {}
    biases: dict[int, float | None] = {}

    def tried(rehearsal: Rehearsal) -> Trials:
        def train(methods: Sequence[Method], cells: Tensor) -> Tried:
            studies = rehearsal.studies.of_runs(cells)
            fitted = fit(methods, studies, progress)
            if not _open_ended(fitted, studies):
                raise UserError(
                    f"select: {rule.name} needs scores of unseen classes; {methods[0].info.title} has none here"
                )
            values = [NEVER if value is None else value for value in REHEARSED[rule.name](fitted, rehearsal.exam)]
            return fitted, torch.tensor(values, dtype=torch.float64), torch.zeros(len(methods), dtype=torch.int64)

        return Trials([drawn[cell] for cell in rehearsal.cells]).train(train, width)

    for folds in zip(*(task.rehearsals(fold) for fold in range(rule.folds)), strict=True):
        first, *others = (tried(rehearsal) for rehearsal in folds)
        first.average(others)
        chosen = first.choices()
        cells, exam = folds[0].cells, folds[0].exam
        choices |= zip(cells, chosen, strict=True)
        biases |= zip(cells, best_biases(first.gathered(chosen), exam), strict=True)
    if set(choices) != set(range(len(drawn))):
        raise UserError(
            f"select: {rule.name} needs seen classes that can play the unseen ones; {task.dataset} names none"
        )
    order = range(len(drawn))
    state = task.fit([choices[cell].method for cell in order], task.studies, torch.arange(len(drawn)), progress)
    return Selection([state], [[biases[cell] for cell in order]], [choices[cell] for cell in order])


def _best_harmonics(fitted: Fitted, exam: Exam) -> list[float | None]:
    """Every run's H at its best bias."""
    return [float(curve.harmonics().max()) if curve else None for curve in curves(fitted, exam)]


REHEARSED = {"rehearsal": _best_harmonics, "validation": unseen_accuracies}


Again = Callable[[Sequence[Method], Studies, list[int]], Sequence[Fitted]]
"""Trains these methods of these cells on their rehearsal, and gives the states that are to be calibrated."""


def _calibrated(fitted: Fitted, methods: Sequence[Method], task: Task, again: Again) -> list[Biases]:
    """For each state the biases of all cells, chosen in the rehearsal; nothing where there is nothing to calibrate."""
    if not _open_ended(fitted, task.studies):
        return []
    biases: list[Biases] = []
    for rehearsal in task.rehearsals(0):
        states = again([methods[cell] for cell in rehearsal.cells], rehearsal.studies, rehearsal.cells)
        biases = biases or [[None] * len(methods) for _ in states]
        for found, state in zip(biases, states, strict=True):
            for cell, bias in zip(rehearsal.cells, best_biases(state, rehearsal.exam), strict=True):
                found[cell] = bias
    return biases


def _open_ended(fitted: Fitted, studies: Studies) -> bool:
    """Whether the head scores as many classes as it is given texts, also unseen ones."""
    texts = torch.cat([studies.texts, studies.texts[:1]])
    return fitted.score(studies.features[..., :1, :], texts).shape[-1] == len(texts)


def _criterion(rule: Rule, task: Task, trying: Studies, held: Tensor, cells: Tensor) -> Criterion:
    """The rule's criterion for runs of these cells, on the held-out images."""
    runs = cells.to(held.device)
    if rule.reveals_truth:
        assert task.truth is not None
        wanted = task.truth[..., held].expand(len(task.candidates), -1)[runs]
    else:
        wanted = task.candidates[:, held][runs]

    def measure(fitted: Fitted) -> Tensor:
        # Sums of zeros and ones are exact: epochs and draws that tie do so in any stack.
        total = torch.zeros(fitted.runs, dtype=torch.float64, device=held.device)
        pieces = chunks(fitted, trying.features, trying.texts)
        answers = torch.split(wanted, [piece.shape[-2] for piece in pieces], dim=1)
        for images, asked in zip(pieces, answers, strict=True):
            total += COMPARE[rule.name](fitted.score(images, trying.texts), asked).sum(-1, dtype=torch.float64)
        return total / len(held)

    return measure
