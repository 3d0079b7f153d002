"""The methods' side of a problem, for a whole stack of runs at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from pzsl_bench.contract import ClassTexts, Study
from pzsl_bench.contract.text_tower import Tower


@dataclass(frozen=True)
class Studies:
    """A stack of R studies. They differ in their candidate sets; folds of one dataset also differ in their images."""

    features: Tensor
    """(N, d) shared by all, or (R, N, d)."""
    texts: Tensor
    """(K, a), shared."""
    class_names: tuple[str, ...]
    scale: float
    candidates: Tensor
    """(R, N, K) bool."""
    keys: tuple[str, ...]
    """Names of the R cells; every random number of a run is a function of its name."""
    draws: tuple[str, ...]
    """Names of the R (dataset, ambiguity, rate, noise, seed) points, shared by all methods."""
    views: Tensor | None = None
    """(V, N, d) encoded augmented crops, shared."""
    tower: Tower | None = None
    """The encoder's text tower, if asked for; it reads `tokens`."""
    marks: Tensor | None = None
    """(R, N, K) int8, annotations of tags: 1 present, -1 absent, 0 not said; None where an image is of one class.

    With annotations, the candidates are the tags that are not marked absent.
    """
    synonyms: Tensor | None = None
    """(K, m, a) all names of each class, its own name first, rows of zeros at the end; shared, only if asked for."""
    tokens: Tensor | None = None
    """(K, L) the class names as the text tower reads them; shared, only if asked for."""
    aligned: bool = True
    """Whether images and class texts lie in one space."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def per_run_features(self) -> bool:
        """Whether every run has images of its own."""
        return self.features.ndim == 3

    @cached_property
    def uniform(self) -> Tensor:
        """(R, N, K) the candidates as soft labels of equal weight; of tags, 1 for those marked present."""
        if self.marks is not None:
            return (self.marks > 0).float()
        weights = self.candidates.float()
        return weights / weights.sum(-1, keepdim=True)

    def single(self, candidates: Tensor, targets: Tensor, features: Tensor, marks: Tensor | None = None) -> Study:
        """What one run sees; works on plain tensors and under vmap."""
        shared = (self.texts, self.class_names, self.scale, self.views, self.tower)
        return Study(features, candidates, targets, *shared, marks, self.synonyms, self.tokens, self.aligned)

    @property
    def class_texts(self) -> ClassTexts:
        """What is known of the seen classes by their names."""
        return ClassTexts(self.texts, self.tokens, self.synonyms)

    def of(self, run: int, targets: Tensor | None = None) -> Study:
        """The study of one run."""
        features = self.features[run] if self.per_run_features else self.features
        marks = None if self.marks is None else self.marks[run]
        return self.single(self.candidates[run], self.uniform[run] if targets is None else targets, features, marks)

    def of_runs(self, runs: Tensor) -> Studies:
        """The studies of these runs; a run may occur more than once."""
        numbers, runs = runs.tolist(), runs.to(self.candidates.device)
        return replace(
            self,
            features=self.features[runs] if self.per_run_features else self.features,
            candidates=self.candidates[runs],
            marks=None if self.marks is None else self.marks[runs],
            keys=tuple(self.keys[run] for run in numbers),
            draws=tuple(self.draws[run] for run in numbers),
        )

    def of_images(self, rows: Tensor) -> Studies:
        """The same studies with some of the images only."""
        return replace(
            self,
            features=self.features[..., rows, :],
            candidates=self.candidates[:, rows],
            marks=None if self.marks is None else self.marks[:, rows],
            views=None if self.views is None else self.views[..., rows, :],
        )

    def with_candidates(self, drawn: Tensor) -> Studies:
        """The same studies with other candidate sets (R, N, K), or with other annotations of tags (int8)."""
        drawn = drawn.to(self.features.device)
        if drawn.dtype == torch.int8:
            return replace(self, candidates=drawn >= 0, marks=drawn)
        return replace(self, candidates=drawn, marks=None)
