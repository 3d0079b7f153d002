"""A dataset seen through an encoder, and its two sides: the study (what methods see) and the exam (what judges see)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.contract import ClassTexts
from pzsl_bench.contract.text_tower import Tower
from pzsl_bench.data.ambiguity import Labelled
from pzsl_bench.data.tag_corruption import Marks
from pzsl_bench.problem.exam import Exam
from pzsl_bench.problem.roles import Roles
from pzsl_bench.problem.studies import Studies


@dataclass(frozen=True)
class Problem:
    """Tensors of one (dataset, encoder). Classes are numbered: first the seen ones, then the unseen ones."""

    name: str
    train: Tensor
    """(N, d) training images of seen classes, or with seen tags."""
    train_truth: NDArray[np.int64]
    """(N,) their classes; empty where images have tags."""
    test: Tensor
    """(M, d)"""
    test_truth: NDArray[np.int64]
    texts: Tensor
    """(C, a)"""
    class_names: tuple[str, ...]
    seen: int
    validation: tuple[int, ...]
    """Seen classes that act as the unseen ones in the rehearsal, or in the first of several rehearsals."""
    scale: float
    unreadable: int = 0
    candidates: NDArray[np.bool_] | None = None
    """(N, K) the candidate sets that come with the training images, if there are any."""
    ordinal: bool = False
    """Whether class numbers are positions on a scale."""
    views: Tensor | None = None
    """(V, N, d) encoded augmented crops of the training images, where there are any."""
    tower: Tower | None = None
    """The encoder's text tower, if asked for; it reads `tokens`."""
    train_tags: Marks | None = None
    """(N, K) the seen tags of the training images, where an image may have several."""
    test_tags: Marks | None = None
    """(M, C) all tags of the test images."""
    top: tuple[int, ...] = ()
    """How many tags are predicted for an image when precision and recall are measured."""
    synonyms: Tensor | None = None
    """(C, m, a) all names of each class, its own name first, rows of zeros at the end; only if asked for."""
    tokens: Tensor | None = None
    """(C, L) the class names as the text tower reads them; only if asked for."""
    aligned: bool = True
    """Whether images and class texts lie in one space, as those of one encoder do."""
    untunable: str = ""
    """Why nothing may be chosen on this dataset, if so."""

    def to(self, device: torch.device) -> Problem:
        """The same problem on a device."""
        names = ("train", "test", "texts", "views", "synonyms", "tokens")
        tensors = {name: tensor for name in names if (tensor := getattr(self, name)) is not None}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})

    @property
    def class_texts(self) -> ClassTexts:
        """What is known of all classes by their names."""
        return ClassTexts(self.texts, self.tokens, self.synonyms)

    @cached_property
    def labelled(self) -> Labelled:
        """What the harness knows of the training images: candidate sets are drawn from it."""

        def reference() -> NDArray[np.float64]:
            images, names = self.train.double().cpu().numpy(), self.texts[: self.seen].double().cpu().numpy()
            return np.asarray(self.scale * images @ names.T)

        texts = self.texts[: self.seen].double().cpu().numpy()
        return Labelled(self.train_truth, self.seen, texts, reference, self.candidates, self.train_tags)

    def studies(self, drawn: Tensor, keys: Sequence[str], draws: Sequence[str]) -> Studies:
        """The study side for a stack of candidate sets (R, N, K), or of annotations of tags (int8)."""
        return Studies(
            features=self.train,
            texts=self.texts[: self.seen],
            class_names=self.class_names[: self.seen],
            scale=self.scale,
            candidates=drawn,
            keys=tuple(keys),
            draws=tuple(draws),
            views=self.views,
            tower=self.tower,
            synonyms=None if self.synonyms is None else self.synonyms[: self.seen],
            tokens=None if self.tokens is None else self.tokens[: self.seen],
            aligned=self.aligned,
        ).with_candidates(drawn)

    def exam(self) -> Exam:
        """The judge's side."""
        truths = (self.test_truth, self.class_texts, self.seen, self.train_truth, self.ordinal)
        return Exam(self.test, *truths, self.test_tags, self.train_tags, self.top)

    @property
    def roles(self) -> Roles | None:
        """The parts of seen classes and their images in rehearsals; None where there is nothing to rehearse for.

        Tags are not rehearsed: the methods for tags in the literature calibrate nothing.
        """
        if self.test_tags is not None or not self.unseen:
            return None
        names = self.class_names[: self.seen]
        return Roles(self.name, self.train_truth, names, self.validation, self.untunable)

    @property
    def unseen(self) -> int:
        """The number of unseen classes."""
        return len(self.class_names) - self.seen

    def rehearsal(self, fold: int = 0) -> tuple[Problem, NDArray[np.int64], NDArray[np.int64]]:
        """A rehearsal of this problem with seen classes only, and the training rows and classes that it is fitted on.

        Some seen classes act as the unseen ones. A share of the training images of the other classes acts as the seen
        test images. Whatever is chosen (calibration, tuning) is chosen on rehearsals: no test image and no unseen class
        takes part in it. The candidate sets that go with it are made by `pzsl_bench.problem.rehearsal_sets`.
        """
        roles = self.roles
        assert roles is not None
        fitted, acting = roles.fitted(fold), np.array(roles.acting(fold), dtype=np.int64)
        fits = np.isin(self.train_truth, fitted) & ~roles.seen_test(fold)
        classes = np.concatenate([fitted, acting])
        number = np.full(self.seen, -1, dtype=np.int64)
        number[classes] = np.arange(len(classes))
        rows = np.flatnonzero(fits)
        fit_rows = torch.from_numpy(rows).to(self.train.device)
        class_rows = torch.from_numpy(classes).to(self.texts.device)
        small = Problem(
            name=self.name,
            train=self.train[fit_rows],
            train_truth=number[self.train_truth[rows]],
            test=self.train[torch.from_numpy(np.flatnonzero(~fits)).to(self.train.device)],
            test_truth=number[self.train_truth[~fits]],
            texts=self.texts[class_rows],
            class_names=tuple(self.class_names[k] for k in classes),
            seen=len(fitted),
            validation=(),
            scale=self.scale,
            views=None if self.views is None else self.views[:, fit_rows],
            tower=self.tower,
            synonyms=None if self.synonyms is None else self.synonyms[class_rows],
            tokens=None if self.tokens is None else self.tokens[class_rows],
            aligned=self.aligned,
        )
        return small, rows, fitted
