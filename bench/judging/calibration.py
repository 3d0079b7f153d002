"""Calibrated stacking: the bias on the scores of unseen classes, chosen in rehearsals.

A rehearsal is small and unlike the exam in two ways, and the bias with the best H in it can do more harm than none:

- Its classes stand in another ratio. The more unseen classes compete, the higher the best of their scores, and the
  smaller the bias that is needed. So S and U are means over all subsets of the rehearsal's classes in which seen and
  unseen ones stand in the ratio of the exam. These means are computed exactly: an image is right if no class of the
  subset beats its own, and the number of subsets without the classes that would is a binomial coefficient.
- It has a handful of images and classes. So S and U are smoothed over neighbouring biases, and the bias of the best H
  is shrunk by what is known of its gain over no bias: by gain^2 / (gain^2 + (2 errors)^2), which leaves a half where
  the gain is two standard errors. The error is over the draw of classes, widened by Student's t where there are few.

docs/calibration.md has the figures by which this was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr
from scipy.stats import t as student

from pzsl_bench.judging.judge import answer, chunks, harmonic, harmonic_means
from pzsl_bench.problem.exam import Exam
from pzsl_bench.training.fitted import Fitted

Reals = NDArray[np.float64]

POINTS = 401
"""Biases at which the curves are computed."""
REACH = 6.0
"""How far they reach to both sides of the mean lead, in standard deviations of the leads."""
KERNEL = 0.4
"""Width of the smoothing, in the same unit: about how far the best biases of a rehearsal and of an exam lie apart."""
DOUBT = 2.0
"""How many standard errors of its gain over no bias leave half of the bias."""
ONE_SIDED = float(ndtr(1.0))
"""The share of a normal distribution below one standard error."""


@dataclass(frozen=True)
class Rehearsed:
    """How one run does in one rehearsal, bias by bias."""

    biases: Reals
    """(G,) evenly spaced."""
    spread: float
    """Standard deviation of the leads of seen over unseen scores; 0 if all images have the same."""
    seen: Reals
    """(K, G) accuracy of every seen class that has images, over the subsets of the exam's ratio."""
    unseen: Reals
    """(U, G) the same for the classes that act as unseen."""

    def at(self, biases: Reals) -> tuple[Reals, Reals]:
        """Both accuracies at other biases."""
        seen, unseen = (
            np.array([np.interp(biases, self.biases, row) for row in rows]).reshape(len(rows), len(biases))
            for rows in (self.seen, self.unseen)
        )
        return seen, unseen


def rehearsed(fitted: Fitted, exam: Exam, ratio: float) -> list[Rehearsed | None]:
    """The curves of every run in a rehearsal; `ratio` is that of seen to unseen classes in the exam to come.

    None if a run diverged or cannot score unseen classes, or if the rehearsal has no image of one of the sides.
    """
    answers = answer(fitted, exam)
    one_sided = exam.truth.min(initial=0) >= exam.seen or exam.truth.max(initial=0) < exam.seen
    if answers is None or one_sided or not (exam.truth < exam.seen).any():
        return [None] * fitted.runs
    grids = [_biases(of_run.seen_score - of_run.unseen_score) for of_run in answers]
    subset = subset_sizes(exam.seen, len(exam.texts) - exam.seen, ratio)
    classes, number = np.unique(exam.truth, return_inverse=True)
    sums = np.zeros((fitted.runs, len(classes), POINTS), dtype=np.float32)
    start = 0
    for images in chunks(fitted, exam.features, exam.texts):
        scores = fitted.score(images, exam.texts).cpu()
        part = slice(start, start + scores.shape[1])
        for run, (biases, _) in enumerate(grids):
            chances = chances_right(scores[run].double().numpy(), exam.truth[part], exam.seen, subset, biases)
            np.add.at(sums[run], number[part], chances.astype(np.float32))
        start = part.stop
    accuracies = sums / np.bincount(number)[:, None]
    is_seen = classes < exam.seen
    return [
        Rehearsed(biases, spread, of_run[is_seen].astype(float), of_run[~is_seen].astype(float)) if alive else None
        for (biases, spread), of_run, alive in zip(grids, accuracies, fitted.alive.tolist(), strict=True)
    ]


def chosen_biases(folds: Sequence[tuple[Fitted, Exam]], ratio: float) -> list[float | None]:
    """The bias of every run, from one rehearsal or several; None where none of them could be held."""
    each = zip(*(rehearsed(fitted, exam, ratio) for fitted, exam in folds), strict=True)
    return [chosen_bias([fold for fold in of_run if fold is not None]) for of_run in each]


def chosen_bias(folds: Sequence[Rehearsed]) -> float | None:
    """The bias of one run: that of the best H, shrunk by the doubt about its gain; None without rehearsals."""
    if not folds:
        return None
    spread = float(np.mean([fold.spread for fold in folds]))
    if spread == 0:
        return 0.0
    low, high = min(fold.biases[0] for fold in folds), max(fold.biases[-1] for fold in folds)
    biases = np.linspace(low, high, POINTS * len(folds))
    pairs = [fold.at(biases) for fold in folds]
    width = KERNEL * spread / (biases[1] - biases[0])
    seen, unseen = (_smooth(np.concatenate(rows), width) for rows in zip(*pairs, strict=True))
    means = harmonic_means(seen.mean(0), unseen.mean(0))
    best = int(means.argmax())
    # Beyond their ends the curves are flat.
    pair = [(rows[:, best], np.array([np.interp(0.0, biases, row) for row in rows])) for rows in (seen, unseen)]
    gain = means[best] - harmonic(*(at_zero.mean() for _, at_zero in pair))
    if gain <= 0:
        return 0.0
    doubt = DOUBT * _error_of_gain(pair) / gain
    return float(biases[best] / (1 + doubt**2))


def subset_sizes(seen: int, unseen: int, ratio: float) -> tuple[int, int]:
    """The largest numbers of seen and of unseen classes of a rehearsal that stand in the ratio, as far as they can."""
    if seen >= ratio * unseen:
        return max(1, round(ratio * unseen)), unseen
    return seen, max(1, round(seen / ratio))


def chances_right(scores: Reals, truth: NDArray[np.int64], seen: int, subset: tuple[int, int], biases: Reals) -> Reals:
    """(M, G) the share of subsets with an image's own class in which it is named correctly, at every bias."""
    chances = np.empty((len(scores), len(biases)))
    own = scores[np.arange(len(scores)), truth]
    from_seen = truth < seen
    for rows, mine, others, sizes, sign in (
        (from_seen, scores[:, :seen], scores[:, seen:], subset, 1.0),
        (~from_seen, scores[:, seen:], scores[:, :seen], subset[::-1], -1.0),
    ):
        score, mine, others = own[rows, None], mine[rows], others[rows]
        without_better = avoided(mine.shape[1] - 1, sizes[0] - 1)[(mine > score).sum(1)]
        # A class of the other side is beaten below the own score, and a tie goes to the unseen class.
        ordered = torch.from_numpy(np.sort(others, axis=1))
        limits = torch.from_numpy(score - sign * biases)
        beaten = torch.searchsorted(ordered, limits, right=sign < 0).numpy()
        chances[rows] = without_better[:, None] * avoided(others.shape[1], sizes[1])[others.shape[1] - beaten]
    return chances


def avoided(classes: int, drawn: int) -> Reals:
    """(classes + 1,) the share of draws of so many classes that avoid c given ones, for c = 0, 1, ..., all."""
    left = classes - np.arange(classes + 1)
    enough = left >= drawn
    left = np.where(enough, left, classes)
    logs = gammaln(left + 1) - gammaln(left - drawn + 1) - gammaln(classes + 1) + gammaln(classes - drawn + 1)
    return np.where(enough, np.exp(logs), 0.0)


def _biases(leads: Reals) -> tuple[Reals, float]:
    """The biases at which a run is looked at, and the standard deviation of its leads."""
    middle, spread = float(leads.mean()), float(leads.std())
    return np.linspace(middle - REACH * spread, middle + REACH * spread, POINTS), spread


def _smooth(rows: Reals, width: float) -> Reals:
    """Rows smoothed by a Gaussian of that width, in points; beyond their ends they go on as they end."""
    reach = max(1, int(4 * width))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    padded = np.pad(rows, ((0, 0), (reach, reach)), mode="edge")
    return np.array([np.convolve(row, kernel / kernel.sum(), "valid") for row in padded])


def _error_of_gain(pair: Sequence[tuple[Reals, Reals]]) -> float:
    """Standard error of the difference of two H over the draw of classes, seen and unseen.

    `pair` holds for each of the two sides the accuracies of its classes at the best bias, and those at 0. One class
    alone says nothing of the spread: then the error has no bound if the class changes at all.
    """
    moves = [np.zeros(len(rows)) for rows, _ in pair]
    for number, sign in ((0, 1.0), (1, -1.0)):
        S, U = (side[number].mean() for side in pair)
        total = max(S + U, np.finfo(float).tiny)
        for move, side, slope in zip(moves, pair, (2 * (U / total) ** 2, 2 * (S / total) ** 2), strict=True):
            move += sign * slope * (side[number] - side[number].mean())
    variance = 0.0
    for move, (at_best, at_zero) in zip(moves, pair, strict=True):
        if len(move) == 1:
            variance += np.inf if at_best[0] != at_zero[0] else 0.0
        else:
            variance += move.var(ddof=1) / len(move) * student.ppf(ONE_SIDED, len(move) - 1) ** 2
    return float(np.sqrt(variance))
