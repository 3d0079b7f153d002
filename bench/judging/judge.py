"""The judge: computes the test metrics of a trained stack, once, after training. It alone reads an exam.

Accuracies are means over classes of per-class top-1 accuracy, unless said otherwise.
T1: unseen images among unseen classes.
U and S: unseen and seen images among all classes. H: their harmonic mean.
seen_acc: seen images among seen classes.
accuracy: the same as a plain share of the images, as the partial-label literature reports it.
D: share of training images whose best-scored candidate is the true label; at most the share whose candidates hold it.
recovered: of the training images whose candidates do not hold the true label (ambiguities with noise), the share whose
best-scored class among all seen classes, candidates or not, is the true label. Where no label is missing there is none.
within_3 and within_5, for ordinal classes such as ages: the shares of seen test images whose predicted class is at most
3 or 5 away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.contract import ClassTexts
from pzsl_bench.problem.exam import Exam
from pzsl_bench.training.fitted import Fitted

Ints = NDArray[np.int64]
Reals = NDArray[np.float64]

CHUNK = 2**24
"""Scores that are in memory at once while judging."""
WITHIN = (3, 5)
"""Distances from the true class that count as right for ordinal classes, as in the literature on facial ages."""

CALIBRATED = ("U_cal", "S_cal", "H_cal", "gamma")
"""The metrics with calibrated stacking; they need a rehearsal."""


@dataclass(frozen=True)
class Answers:
    """The predictions of one run for M images: the best seen and the best unseen class, and their scores, each (M,)."""

    seen: Ints
    seen_score: Reals
    unseen: Ints
    unseen_score: Reals

    def among_all(self, bias: float | None = None) -> Ints:
        """(M,) predictions among all classes; a bias is added to unseen scores, and ties then go to unseen classes."""
        lead = self.unseen_score - self.seen_score
        return np.where(lead > 0 if bias is None else -lead <= bias, self.unseen, self.seen)


def class_accuracy(truth: Ints, predicted: Ints, classes: range | Ints) -> float:
    """Mean over the classes of the share of their images that are predicted correctly, without classes of no image."""
    numbers = np.asarray(classes)
    right = np.bincount(truth[truth == predicted], minlength=numbers.max(initial=0) + 1)[numbers]
    count = np.bincount(truth, minlength=numbers.max(initial=0) + 1)[numbers]
    present = count > 0
    return float((right[present] / count[present]).mean()) if present.any() else float("nan")


def harmonic(seen: float, unseen: float) -> float:
    """2 S U / (S + U), and 0 when both are 0; NaN if one of them is, since a mean of one side would be no such mean."""
    return float(harmonic_means(np.array(seen), np.array(unseen)))


def harmonic_means(seen: Reals, unseen: Reals) -> Reals:
    """The same for arrays."""
    total = seen + unseen
    return np.where(total == 0, 0.0, 2 * seen * unseen / np.where(total == 0, 1.0, total))


@dataclass(frozen=True)
class Stacking:
    """The calibrated-stacking curve: a bias on unseen scores is raised until every image is called unseen.

    A side without images has NaN in place of accuracies, and so have the area and every harmonic mean.
    """

    bias: Reals
    """Distinct biases at which predictions change from seen to unseen, ascending; point j + 1 is at bias[j]."""
    seen: Reals
    """Seen accuracy before the first change and after each."""
    unseen: Reals
    """Unseen accuracy at the same points."""

    @property
    def area(self) -> float:
        """AUSUC: area under the seen-unseen curve."""
        return float(np.trapezoid(self.seen, self.unseen))

    def harmonics(self) -> Reals:
        """H at every point of the curve."""
        return harmonic_means(self.seen, self.unseen)

    def best_bias(self) -> float:
        """The bias of the largest H; -inf if H is largest before any prediction changes."""
        best = int(self.harmonics().argmax())
        return float("-inf") if best == 0 else float(self.bias[best - 1])


def stacking(truth: Ints, answers: Answers, seen: int, classes: int) -> Stacking:
    """The curve of one run: the bias runs over all values at which a prediction changes. O(M log M)."""
    needed_bias = answers.seen_score - answers.unseen_score
    bias, point = np.unique(needed_bias, return_inverse=True)
    count = np.bincount(truth, minlength=classes)
    from_seen = truth < seen
    # An image weighs 1 / (its class size * number of classes on its side): sums of weights are class means.
    sides = np.where(from_seen, (count[:seen] > 0).sum(), (count[seen:] > 0).sum())
    weight = 1.0 / (count[truth] * sides)
    lost = np.where(from_seen & (answers.seen == truth), weight, 0.0)
    gained = np.where(~from_seen & (answers.unseen == truth), weight, 0.0)
    falls = np.concatenate([[0.0], np.bincount(point, lost, len(bias)).cumsum()])
    rises = np.concatenate([[0.0], np.bincount(point, gained, len(bias)).cumsum()])
    falling = np.maximum(lost.sum() - falls, 0.0)
    return Stacking(
        bias,
        falling if from_seen.any() else np.full_like(falling, np.nan),
        rises if not from_seen.all() else np.full_like(rises, np.nan),
    )


def scores_unseen(fitted: Fitted, exam: Exam) -> bool:
    """Whether there are unseen classes, and the head can score them."""
    if len(exam.texts) == exam.seen:
        return False
    return fitted.score(exam.features[..., :1, :], exam.texts).shape[-1] > exam.seen


def answer(fitted: Fitted, exam: Exam) -> list[Answers] | None:
    """Answers of every run to the exam; None if there are no unseen classes or the head cannot score them."""
    if not scores_unseen(fitted, exam):
        return None
    best: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for images in chunks(fitted, exam.features, exam.texts):
        scores = fitted.score(images, exam.texts)
        s, u = scores[..., : exam.seen].max(-1), scores[..., exam.seen :].max(-1)
        best.append((s.indices, s.values, u.indices + exam.seen, u.values))
    parts = [torch.cat([b[i] for b in best], dim=1).cpu().numpy() for i in range(4)]
    return [
        Answers(parts[0][r], parts[1][r].astype(float), parts[2][r], parts[3][r].astype(float))
        for r in range(fitted.runs)
    ]


def seen_answers(fitted: Fitted, features: Tensor, texts: Tensor | ClassTexts, among: Tensor | None = None) -> Ints:
    """(R, M) best-scored seen classes of (M, d) or (R, M, d) images; with `among`, the best of (R, M, K) candidates."""
    predictions = []
    start = 0
    for images in chunks(fitted, features, texts):
        scores = fitted.score(images, texts)
        if among is not None:
            scores = scores.masked_fill(~among[:, start : start + scores.shape[1]], float("-inf"))
        predictions.append(scores.argmax(-1))
        start += scores.shape[1]
    return np.asarray(torch.cat(predictions, dim=1).cpu().numpy())


def curves(fitted: Fitted, exam: Exam) -> list[Stacking | None]:
    """The calibrated-stacking curve of every run; None if it diverged or cannot score unseen classes."""
    answers, classes = answer(fitted, exam), len(exam.texts)
    if answers is None:
        return [None] * fitted.runs
    return [
        stacking(exam.of(run).truth, of_run, exam.seen, classes) if alive else None
        for run, (of_run, alive) in enumerate(zip(answers, fitted.alive.tolist(), strict=True))
    ]


def unseen_accuracies(fitted: Fitted, exam: Exam) -> list[float | None]:
    """T1 of every run; None if it diverged or cannot score unseen classes, or if there are no unseen images."""
    answers, unseen = answer(fitted, exam), range(exam.seen, len(exam.texts))
    if answers is None:
        return [None] * fitted.runs
    values: list[float | None] = []
    for run, (of_run, alive) in enumerate(zip(answers, fitted.alive.tolist(), strict=True)):
        truth = exam.of(run).truth
        rows = truth >= exam.seen
        values.append(class_accuracy(truth[rows], of_run.unseen[rows], unseen) if alive and rows.any() else None)
    return values


def judge(
    fitted: Fitted, exam: Exam, train: Tensor, candidates: Tensor, biases: Sequence[float | None]
) -> list[dict[str, float | None]]:
    """The metrics of every run.

    `train` (N, d) or (R, N, d) are the training images, `candidates` (R, N, K) the sets that they came with.
    """
    seen_texts = exam.texts[: exam.seen]
    identified = seen_answers(fitted, train, seen_texts, candidates) == exam.train_truth
    recovered = recovered_shares(fitted, exam, train, candidates)
    # Images of a seen class. Where every run has a split of its own, those of a seen class in the split of any run.
    rows = np.flatnonzero((exam.truth < exam.seen).reshape(-1, exam.truth.shape[-1]).any(0))
    among_seen = seen_answers(
        fitted, exam.features[..., torch.from_numpy(rows).to(exam.features.device), :], seen_texts
    )
    answers = answer(fitted, exam)
    results = []
    for run in range(fitted.runs):
        exam_of_run = exam.of(run)
        metrics: dict[str, float | None] = {
            **seen_metrics(exam_of_run.truth[rows], among_seen[run], exam_of_run),
            "D": float(identified[run].mean()),
            **({} if recovered[run] is None else {"recovered": recovered[run]}),
        }
        if answers is not None:
            metrics |= zero_shot_metrics(exam_of_run, answers[run], biases[run])
        results.append({k: None if v is None or not np.isfinite(v) else v for k, v in metrics.items()})
    return results


def recovered_shares(fitted: Fitted, exam: Exam, train: Tensor, candidates: Tensor) -> list[float | None]:
    """For every run, the share of images without a true candidate that are named correctly among all seen classes.

    None where every image has its true label among its candidates.
    """
    truth = torch.from_numpy(exam.train_truth).to(candidates.device).expand(candidates.shape[:2])
    missing = ~candidates.gather(-1, truth[..., None]).squeeze(-1).cpu().numpy()
    if not missing.any():
        return [None] * fitted.runs
    right = seen_answers(fitted, train, exam.texts[: exam.seen]) == exam.train_truth
    return [_share(right[run, rows]) if rows.any() else None for run, rows in enumerate(missing)]


def seen_metrics(truth: Ints, predicted: Ints, exam: Exam) -> dict[str, float | None]:
    """Accuracies of predictions among seen classes, on the images of seen classes."""
    truth, predicted = truth[truth < exam.seen], predicted[truth < exam.seen]
    metrics: dict[str, float | None] = {
        "seen_acc": class_accuracy(truth, predicted, range(exam.seen)),
        "accuracy": _share(truth == predicted),
    }
    if exam.ordinal:
        metrics |= {f"within_{limit}": _share(abs(truth - predicted) <= limit) for limit in WITHIN}
    return metrics


def zero_shot_metrics(exam: Exam, answers: Answers, bias: float | None) -> dict[str, float | None]:
    """T1, U, S, H, AUSUC, and U, S and H with calibrated stacking (suffix _cal) at a bias from rehearsals.

    What cannot be had is NaN or None: S without images of seen classes, T1 and U without those of unseen ones, H and
    AUSUC without either, and everything calibrated without a bias.
    """
    classes = len(exam.texts)
    from_seen, seen, unseen = exam.truth < exam.seen, range(exam.seen), range(exam.seen, classes)

    def seen_and_unseen(bias: float | None) -> tuple[float, float]:
        joint = answers.among_all(bias)
        return (
            class_accuracy(exam.truth[from_seen], joint[from_seen], seen),
            class_accuracy(exam.truth[~from_seen], joint[~from_seen], unseen),
        )

    S, U = seen_and_unseen(None)
    metrics: dict[str, float | None] = {
        "T1": class_accuracy(exam.truth[~from_seen], answers.unseen[~from_seen], unseen),
        "U": U,
        "S": S,
        "H": harmonic(S, U),
        "AUSUC": stacking(exam.truth, answers, exam.seen, classes).area,
    }
    if bias is None:
        return metrics | dict.fromkeys(CALIBRATED)
    S, U = seen_and_unseen(bias)
    return metrics | dict(zip(CALIBRATED, (U, S, harmonic(S, U), bias), strict=True))


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else float("nan")


def chunks(fitted: Fitted, features: Tensor, texts: Tensor | ClassTexts) -> tuple[Tensor, ...]:
    """The images (..., M, d) in chunks whose scores fit into memory; a single chunk for a transductive method."""
    if fitted.method.transductive:
        return (features,)
    return torch.split(features, max(1, CHUNK // max(1, fitted.runs * len(texts))), dim=-2)
