"""The judge of images with several tags: the only reader of their exam.

Besides the metrics of `tag_metrics` on the test images there is mAP_train: the training images ranked for every seen
tag against their true tags, which is what a method made of the annotations that it was given.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pzsl_bench.judging.judge import chunks
from pzsl_bench.judging.tag_metrics import PRESETS, Scores, average_precisions, mean_precision, tag_metrics, with_images
from pzsl_bench.problem.exam import Exam
from pzsl_bench.training.fitted import Fitted

HELD = 2**27
"""Scores of all judged images that are held at once; a run that has more is judged alone."""


def judge_tags(fitted: Fitted, exam: Exam, train: Tensor) -> list[dict[str, float | None]]:
    """The metrics of every run; `train` (N, d) or (R, N, d) are the training images."""
    assert exam.tags is not None and exam.train_tags is not None
    each = max(exam.features.shape[-2] * len(exam.texts), train.shape[-2] * exam.seen)
    width = max(1, HELD // max(1, each))
    results: list[dict[str, float | None]] = []
    for start in range(0, fitted.runs, width):
        runs = slice(start, min(start + width, fitted.runs))
        some = fitted.subset(runs)
        learned = _learned(some, exam, train if train.ndim == 2 else train[runs], runs)
        scores = all_scores(some, exam.features if exam.features.ndim == 2 else exam.features[runs], exam.texts)
        for run, own in enumerate(scores):
            tags = exam.tags if exam.tags.ndim == 2 else exam.tags[start + run]
            metrics = tag_metrics(own, tags[:, : own.shape[1]], exam.seen, exam.top)
            results.append({**metrics, "mAP_train": learned[run]})
    return results


def _learned(fitted: Fitted, exam: Exam, train: Tensor, runs: slice) -> list[float | None]:
    """Every run's mAP of seen tags on the training images."""
    assert exam.train_tags is not None
    values = []
    for run, scores in enumerate(all_scores(fitted, train, exam.texts[: exam.seen])):
        tags = exam.train_tags if exam.train_tags.ndim == 2 else exam.train_tags[runs][run]
        [precisions] = average_precisions(scores, tags, [tags != 0])
        values.append(mean_precision(precisions, with_images(tags), PRESETS[0]))
    return values


def all_scores(fitted: Fitted, features: Tensor, texts: Tensor) -> Scores:
    """(R, M, C) scores, or (R, M, K) from heads that know no unseen tags; made piece by piece."""
    pieces = [fitted.score(some, texts).cpu().numpy() for some in chunks(fitted, features, texts)]
    return np.concatenate(pieces, axis=1)
