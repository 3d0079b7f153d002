"""Who plays what in the rehearsals of a dataset, and why there may be none."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base import randomness
from pzsl_bench.data.source import Source

HELD_OUT = 0.2
"""Share of the training images of each fitted class that the rehearsal keeps for its own exam."""


@dataclass(frozen=True)
class Roles:
    """The parts of seen classes and of their training images in the rehearsals of a dataset."""

    dataset: str
    truth: NDArray[np.int64]
    """(N,) seen class of every training image."""
    class_names: tuple[str, ...]
    """The K seen classes."""
    validation: tuple[int, ...]
    """Seen classes that act as the unseen ones in the first rehearsal."""
    untunable: str = ""
    """Why nothing may be chosen on this dataset, if so."""
    _lacks: dict[tuple[int, bool], str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Answers of `lack`: a plan asks for every cell."""

    def acting(self, fold: int) -> tuple[int, ...]:
        """The seen classes that act as the unseen ones in a fold: in fold 0 the validation classes, then others.

        All folds are of one size, and no class acts twice before all classes have acted.
        """
        others = [k for k in range(len(self.class_names)) if k not in self.validation]
        shuffled = randomness.permutation(randomness.key("rehearsal", self.dataset, "folds"), len(others))
        turns = [*self.validation, *(others[i] for i in shuffled)]
        size = len(self.validation)
        return tuple(turns[(fold * size + i) % len(turns)] for i in range(size))

    def fitted(self, fold: int) -> NDArray[np.int64]:
        """The seen classes that are trained on in a fold."""
        acting = self.acting(fold)
        return np.array([k for k in range(len(self.class_names)) if k not in acting], dtype=np.int64)

    def seen_test(self, fold: int) -> NDArray[np.bool_]:
        """(N,) the training images that act as the seen test images: a share of each class that is trained on.

        It is at least one image of every class that has two or more, and never all of a class.
        """
        chosen = np.zeros(len(self.truth), dtype=bool)
        for k in self.fitted(fold):
            rows = np.flatnonzero(self.truth == k)
            order = randomness.permutation(randomness.key("rehearsal", self.dataset, self.class_names[k]), len(rows))
            chosen[rows[order[: held_out_images(len(rows))]]] = True
        return chosen

    def lack(self, folds: int = 1, one_sided: bool = False) -> str:
        """Why so many rehearsals cannot be held, as the end of a sentence; empty if they can.

        A rehearsal that is one-sided has tests of acting classes only, and needs no second image of the others.
        """
        question = folds, one_sided
        if question not in self._lacks:
            self._lacks[question] = self._lack(*question)
        return self._lacks[question]

    def _lack(self, folds: int, one_sided: bool) -> str:
        if self.untunable:
            return self.untunable
        if not self.validation:
            return "no seen class is named to play an unseen one"
        count = np.bincount(self.truth, minlength=len(self.class_names))
        for fold in range(folds):
            if not count[list(self.acting(fold))].any():
                return "the seen classes that play unseen ones have no training image"
            if not one_sided and count[self.fitted(fold)].max(initial=0) < 2:
                return "no class that is trained on has a second image to be tested with"
        return ""


def held_out_images(images: int) -> int:
    """How many images of a class that has so many act as its test images."""
    return min(max(1, int(HELD_OUT * images)), images - 1) if images else 0


def roles_of(dataset: str, source: Source) -> Roles | None:
    """The roles in a dataset that is not yet encoded; None where there is nothing to rehearse for.

    Tags are not rehearsed: the methods for tags in the literature calibrate nothing.
    """
    if source.labels is None or not source.unseen:
        return None
    number = np.full(len(source.class_names), -1, dtype=np.int64)
    number[list(source.seen)] = np.arange(len(source.seen))
    names = tuple(source.class_names[k] for k in source.seen)
    validation = tuple(int(number[k]) for k in source.validation)
    return Roles(dataset, number[source.labels[source.training]], names, validation, source.untunable)
