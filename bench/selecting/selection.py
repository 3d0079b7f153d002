"""Model selection: chooses, for every cell, the epoch and the drawn settings whose model is evaluated.

The draws of all cells are trained as runs of one stack. They are compared in one of two ways:
- on a held-out tenth of the training images, by their candidate sets alone (`covering`, `approximated`) or by their
  true labels (`oracle`);
- in rehearsals, where some of the seen classes play the unseen ones, other classes in each rehearsal (`rehearsal`,
  `validation`). The exam of a rehearsal has true labels of training images.
Test images are not used in this module.
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
from pzsl_bench.judging.calibration import chosen_biases
from pzsl_bench.judging.disambiguation import Observer, all_watches
from pzsl_bench.judging.judge import chunks, curves, unseen_accuracies
from pzsl_bench.problem.exam import Exam
from pzsl_bench.problem.studies import Studies
from pzsl_bench.selecting.criteria import approximated, covering, right
from pzsl_bench.selecting.kept_epochs import DIVERGED_VALUE, BestEpoch, Criterion, ReadAt, Tail
from pzsl_bench.selecting.rules import Rule
from pzsl_bench.selecting.trials import Choice, Trials, Tried
from pzsl_bench.training.fit import Progress, fit
from pzsl_bench.training.fitted import Fitted, Watch

HELD_OUT_SHARE = 0.1
"""Share of the training images on which epochs and draws are compared."""
HELD_OUT_CRITERIA = {"covering": covering, "approximated": approximated, "oracle": right}

Biases = list[float | None]
Configurations = Sequence[Sequence[Method]]
"""The configurations of every cell; the first is that of the grid, the others are draws."""


@dataclass(frozen=True)
class Rehearsal:
    """The rehearsal of those cells of a stack that share a problem."""

    cells: list[int]
    studies: Studies
    exam: Exam
    ratio: float
    """Seen classes for every unseen one in the exam that is rehearsed."""


@dataclass(frozen=True)
class Task:
    """The data on which a stack of R cells is trained and selected."""

    dataset: str
    studies: Studies
    candidates: Tensor
    """(R, N, K) the sets that the images came with; the studies of an upper bound have others."""
    truth: Tensor | None
    """(N,) or (R, N) true classes; only a rule that reveals the truth is given them."""
    rehearsals: Callable[[int], Sequence[Rehearsal]]
    """The rehearsals of a fold, made when they are needed; cells without one in fold 0 are not calibrated.

    Where one cannot be held, it is left out, never empty.
    """
    observer: Callable[[Tensor], Observer | None] = lambda cells: None
    """An observer for runs of these cells, whose curve is recorded; selection does not depend on it."""
    no_rehearsal: str = "no seen class is named to play an unseen one"
    """Why there is no rehearsal, as the end of a sentence, where there is none."""

    def fit(
        self,
        methods: Sequence[Method],
        studies: Studies,
        cells: Tensor,
        progress: Progress | None,
        watch: Watch | None = None,
    ) -> Fitted:
        """Train runs of these cells that may be judged, with the observer's curve."""
        observer = self.observer(cells)
        fitted = fit(methods, studies, progress, all_watches(observer, watch))
        return fitted if observer is None else observer.with_curve(fitted)


@dataclass(frozen=True)
class Selection:
    """The states of all cells that are judged, and how they were chosen."""

    states: Sequence[Fitted]
    """One state of every cell; several where metrics are averaged over epochs."""
    biases: Sequence[Biases]
    """For each of these states the calibration bias of every cell, from a rehearsal with its settings and epoch."""
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
    return _by_last_epochs(rule, [first for first, *_ in drawn], task, progress)


def held_out(images: int, dataset: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the training images to train on, and rows to choose on.

    They are the same at every rate and seed, so the runs of a stack still share their images.
    """
    count = max(1, int(HELD_OUT_SHARE * images))
    if count >= images:
        raise UserError(f"{dataset} has {images} training image: none can be held out to choose an epoch on")
    order = randomness.permutation(randomness.key("held out", dataset), images)
    return np.sort(order[count:]), np.sort(order[:count])


def averaged(results: Sequence[Sequence[Mapping[str, float | None]]]) -> list[dict[str, float | None]]:
    """The metrics of every cell as means over judged states; None if any state lacks the metric."""
    cells = []
    for states in zip(*results, strict=True):
        metrics: dict[str, float | None] = {}
        for name in states[0]:
            values = [value for state in states if (value := state[name]) is not None]
            metrics[name] = sum(values) / len(values) if len(values) == len(states) else None
        cells.append(metrics)
    return cells


def _by_last_epochs(rule: Rule, methods: Sequence[Method], task: Task, progress: Progress | None) -> Selection:
    """Take the end of the training, or its last epochs."""

    def last_states(methods: Sequence[Method], train: Callable[[Watch | None], Fitted]) -> list[Fitted]:
        if rule.window == 1:
            return [train(None)]
        tail = Tail(methods[0], rule.window)
        return tail.last_states(train(tail))

    def rehearse(methods: Sequence[Method], studies: Studies, cells: list[int]) -> list[Fitted]:
        return last_states(methods, lambda watch: fit(methods, studies, watch=watch))

    every = torch.arange(len(methods))
    states = last_states(methods, lambda watch: task.fit(methods, task.studies, every, progress, watch))
    biases = _calibrated(states[-1], methods, task, rehearse)
    return Selection(states, biases or [[None] * len(methods)] * len(states), [Choice(method) for method in methods])


def _by_held_out(
    rule: Rule, drawn: Configurations, task: Task, width: int | None, progress: Progress | None
) -> Selection:
    """Take the best epoch of the best draw, by a criterion on held-out images."""
    device = task.studies.features.device
    train_rows, held_rows = (torch.from_numpy(r).to(device) for r in held_out(task.candidates.shape[1], task.dataset))
    train_studies, held_out_studies = task.studies.of_images(train_rows), task.studies.of_images(held_rows)

    def train(methods: Sequence[Method], cells: Tensor) -> Tried:
        best = BestEpoch(_criterion(rule, task, held_out_studies.of_runs(cells), held_rows, cells))
        return best.chosen(task.fit(methods, train_studies.of_runs(cells), cells, progress, best), rule.name)

    trials = Trials(drawn).train(train, width)
    choices = trials.choices()
    state = trials.gathered(choices)

    def rehearse(methods: Sequence[Method], studies: Studies, cells: list[int]) -> list[Fitted]:
        reader = ReadAt([choices[cell].epoch for cell in cells], device)
        return [reader.restored(fit(methods, studies, watch=reader))]

    biases = _calibrated(state, [choice.method for choice in choices], task, rehearse)
    return Selection([state], biases or [[None] * len(choices)], choices)


def _by_rehearsal(
    rule: Rule, drawn: Configurations, task: Task, width: int | None, progress: Progress | None
) -> Selection:
    """Take the draw with the best mean over several rehearsals, and train it on all images.

    It is calibrated in all of them together.
    """
    choices: dict[int, Choice] = {}
    biases: dict[int, float | None] = {}

    def trials_of(rehearsal: Rehearsal) -> Trials:
        def train(methods: Sequence[Method], cells: Tensor) -> Tried:
            studies = rehearsal.studies.of_runs(cells)
            fitted = fit(methods, studies, progress)
            if not _scores_new_classes(fitted, studies):
                raise UserError(
                    f"select: {rule.name} needs scores of unseen classes; {methods[0].info.title} has none here"
                )
            values = [
                DIVERGED_VALUE if value is None else value
                for value in REHEARSAL_CRITERIA[rule.name](fitted, rehearsal.exam)
            ]
            return fitted, torch.tensor(values, dtype=torch.float64), torch.zeros(len(methods), dtype=torch.int64)

        return Trials([drawn[cell] for cell in rehearsal.cells]).train(train, width)

    for folds in zip(*(task.rehearsals(fold) for fold in range(rule.folds)), strict=True):
        first, *others = (trials_of(rehearsal) for rehearsal in folds)
        first.average(others)
        chosen = first.choices()
        states = [(trials.gathered(chosen), fold.exam) for trials, fold in zip((first, *others), folds, strict=True)]
        cells = folds[0].cells
        choices |= zip(cells, chosen, strict=True)
        biases |= zip(cells, chosen_biases(states, folds[0].ratio), strict=True)
    if set(choices) != set(range(len(drawn))):
        raise UserError(
            f"select: {rule.name} compares draws in rehearsals with seen classes, and {task.dataset} has none:"
            f" {task.no_rehearsal}"
        )
    every = range(len(drawn))
    state = task.fit([choices[cell].method for cell in every], task.studies, torch.arange(len(drawn)), progress)
    return Selection([state], [[biases[cell] for cell in every]], [choices[cell] for cell in every])


def _best_harmonics(fitted: Fitted, exam: Exam) -> list[float | None]:
    """H of every run at its best bias."""
    return [float(curve.harmonics().max()) if curve else None for curve in curves(fitted, exam)]


REHEARSAL_CRITERIA = {"rehearsal": _best_harmonics, "validation": unseen_accuracies}


Rehearse = Callable[[Sequence[Method], Studies, list[int]], Sequence[Fitted]]
"""Trains the methods of these cells on the studies of their rehearsal; returns the states to calibrate."""


def _calibrated(fitted: Fitted, methods: Sequence[Method], task: Task, rehearse: Rehearse) -> list[Biases]:
    """For each state the biases of all cells, chosen in the rehearsal; empty if nothing can be calibrated."""
    if not _scores_new_classes(fitted, task.studies):
        return []
    biases: list[Biases] = []
    for rehearsal in task.rehearsals(0):
        states = rehearse([methods[cell] for cell in rehearsal.cells], rehearsal.studies, rehearsal.cells)
        biases = biases or [[None] * len(methods) for _ in states]
        for biases_of_state, state in zip(biases, states, strict=True):
            of_cells = chosen_biases([(state, rehearsal.exam)], rehearsal.ratio)
            for cell, bias in zip(rehearsal.cells, of_cells, strict=True):
                biases_of_state[cell] = bias
    return biases


def _scores_new_classes(fitted: Fitted, studies: Studies) -> bool:
    """Whether the head scores every class that it is given a text of, also an unseen one."""
    texts = studies.class_texts[torch.tensor([*range(len(studies.texts)), 0], device=studies.texts.device)]
    return fitted.score(studies.features[..., :1, :], texts).shape[-1] == len(texts)


def _criterion(rule: Rule, task: Task, held_out_studies: Studies, held_rows: Tensor, cells: Tensor) -> Criterion:
    """The rule's criterion for runs of these cells, on the held-out images."""
    runs = cells.to(held_rows.device)
    if rule.reveals_truth:
        assert task.truth is not None
        labels = task.truth[..., held_rows].expand(len(task.candidates), -1)[runs]
    else:
        labels = task.candidates[:, held_rows][runs]

    def measure(fitted: Fitted) -> Tensor:
        # Sums of zeros and ones are exact, so epochs and draws that are equally good are so in any stack.
        total = torch.zeros(fitted.runs, dtype=torch.float64, device=held_rows.device)
        image_chunks = chunks(fitted, held_out_studies.features, held_out_studies.class_texts)
        label_chunks = torch.split(labels, [images.shape[-2] for images in image_chunks], dim=1)
        for images, labels_of_images in zip(image_chunks, label_chunks, strict=True):
            values = HELD_OUT_CRITERIA[rule.name](fitted.score(images, held_out_studies.class_texts), labels_of_images)
            total += values.sum(-1, dtype=torch.float64)
        return total / len(held_rows)

    return measure
