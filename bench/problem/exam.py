"""The judge's side of a problem: test images, truth and all class texts. Methods never see it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.contract import ClassTexts
from pzsl_bench.data.tag_corruption import Marks


@dataclass(frozen=True)
class Exam:
    """What only the judge sees. Classes are numbered: first the seen ones (in the study's order), then the unseen ones.

    Where every run has a split of its own, features and truths have a leading run axis.
    """

    features: Tensor
    """(M, d) test images of seen and unseen classes, or (R, M, d)."""
    truth: NDArray[np.int64]
    """(M,) their classes, or (R, M)."""
    texts: ClassTexts
    """What is known of all C classes by their names."""
    seen: int
    """K: classes 0 .. K-1 are the seen ones."""
    train_truth: NDArray[np.int64]
    """(N,) true classes of the study's images, or (R, N)."""
    ordinal: bool = False
    """Whether class numbers are positions on a scale."""
    tags: Marks | None = None
    """(M, C) true tags of the test images, or (R, M, C), in place of `truth`."""
    train_tags: Marks | None = None
    """(N, K) true seen tags of the study's images, or (R, N, K), in place of `train_truth`."""
    top: tuple[int, ...] = ()
    """How many tags are predicted for an image when precision and recall are measured."""

    def of(self, run: int) -> Exam:
        """The exam of one run."""
        if self.features.ndim == 2:
            return self
        if self.tags is not None and self.train_tags is not None:
            return replace(self, features=self.features[run], tags=self.tags[run], train_tags=self.train_tags[run])
        return replace(self, features=self.features[run], truth=self.truth[run], train_truth=self.train_truth[run])
