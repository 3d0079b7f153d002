"""The judge of images with several tags: computes the test metrics of a trained stack. It alone reads their exam.

The metrics on the test images are those of `tag_metrics`. There is also mAP_train: the mAP of the seen tags on the
training images against their true tags. It shows how well a method recovered the tags from the annotations.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pzsl_bench.contract import ClassTexts
from pzsl_bench.judging.judge import chunks
from pzsl_bench.judging.tag_metrics import PRESETS, Scores, average_precisions, mean_precision, tag_metrics, with_images
from pzsl_bench.problem.exam import Exam
from pzsl_bench.training.fitted import Fitted

MAX_SCORES = 2**27
"""The most scores of judged images in memory at once; a run with more is judged alone."""


def judge_tags(fitted: Fitted, exam: Exam, train: Tensor) -> list[dict[str, float | None]]:
    """The metrics of every run; `train` (N, d) or (R, N, d) are the training images."""
    assert exam.tags is not None and exam.train_tags is not None
    scores_per_run = max(exam.features.shape[-2] * len(exam.texts), train.shape[-2] * exam.seen)
    width = max(1, MAX_SCORES // max(1, scores_per_run))
    results: list[dict[str, float | None]] = []
    for start in range(0, fitted.runs, width):
        runs = slice(start, min(start + width, fitted.runs))
        part = fitted.subset(runs)
        train_precisions = _train_precisions(part, exam, train if train.ndim == 2 else train[runs], runs)
        scores = all_scores(part, exam.features if exam.features.ndim == 2 else exam.features[runs], exam.texts)
        for run, scores_of_run in enumerate(scores):
            tags = exam.tags if exam.tags.ndim == 2 else exam.tags[start + run]
            metrics = tag_metrics(scores_of_run, tags[:, : scores_of_run.shape[1]], exam.seen, exam.top)
            results.append({**metrics, "mAP_train": train_precisions[run]})
    return results


def _train_precisions(fitted: Fitted, exam: Exam, train: Tensor, runs: slice) -> list[float | None]:
    """The mAP of seen tags on the training images, for each of these runs."""
    assert exam.train_tags is not None
    values = []
    for run, scores in enumerate(all_scores(fitted, train, exam.texts[: exam.seen])):
        tags = exam.train_tags if exam.train_tags.ndim == 2 else exam.train_tags[runs][run]
        [precisions] = average_precisions(scores, tags, [tags != 0])
        values.append(mean_precision(precisions, with_images(tags), PRESETS[0]))
    return values


def all_scores(fitted: Fitted, features: Tensor, texts: ClassTexts) -> Scores:
    """(R, M, C) scores, or (R, M, K) from heads that only know the seen tags; computed in chunks of images."""
    parts = [fitted.score(images, texts).cpu().numpy() for images in chunks(fitted, features, texts)]
    return np.concatenate(parts, axis=1)
