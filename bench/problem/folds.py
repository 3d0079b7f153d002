"""The problems of the runs of a stack: one for all runs, or one for each where every seed has a split of its own.

Folds are trained together like any other runs. They share class texts and numbers of images; their images, truths and
candidate sets get the run axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.data.ambiguity import LabelSets
from pzsl_bench.data.tag_corruption import Marks
from pzsl_bench.problem.exam import Exam
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.studies import Studies


@dataclass(frozen=True)
class Problems:
    """One problem for each of R runs, all of one size."""

    each: tuple[Problem, ...]

    def __post_init__(self) -> None:
        if len({size(problem) for problem in self.each}) != 1:
            raise ValueError("problems of one stack must be of one size")

    @property
    def images_differ(self) -> bool:
        """Whether some runs have other images than others."""
        return any(problem is not self.each[0] for problem in self.each)

    def studies(self, drawn: Tensor, keys: Sequence[str], draws: Sequence[str]) -> Studies:
        """The study side, for candidate sets (R, N, K), or annotations of tags (int8)."""
        studies = self.each[0].studies(drawn, keys, draws)
        if not self.images_differ:
            return studies
        # Crops are encoded for the training images of a dataset, not for those of every split.
        return replace(studies, features=torch.stack([problem.train for problem in self.each]), views=None)

    def exam(self) -> Exam:
        """The judge's side."""
        exam = self.each[0].exam()
        if not self.images_differ:
            return exam
        return replace(
            exam,
            features=torch.stack([problem.test for problem in self.each]),
            truth=np.stack([problem.test_truth for problem in self.each]),
            train_truth=np.stack([problem.train_truth for problem in self.each]),
            tags=_stacked([problem.test_tags for problem in self.each]),
            train_tags=_stacked([problem.train_tags for problem in self.each]),
        )

    def groups(self) -> list[tuple[Problem, list[int]]]:
        """The different problems, each with its runs."""
        groups: dict[int, tuple[Problem, list[int]]] = {}
        for run, problem in enumerate(self.each):
            groups.setdefault(id(problem), (problem, []))[1].append(run)
        return list(groups.values())

    def truths(self) -> LabelSets:
        """(R, N, K) the true labels as candidate sets, or the true tags; (1, N, K) where all runs have the same."""
        each = self.each if self.images_differ else self.each[:1]
        label_sets: list[NDArray[Any]] = [problem.labelled.true_labels() for problem in each]
        return np.stack(label_sets)


def _stacked(tags: Sequence[Marks | None]) -> Marks | None:
    """(R, ...) the tags of all runs; None where images are of one class."""
    present = [run_tags for run_tags in tags if run_tags is not None]
    return np.stack(present) if present else None


def size(problem: Problem) -> tuple[int, int]:
    """What two problems must share to be trained together: the numbers of training and test images."""
    return len(problem.train), len(problem.test)
