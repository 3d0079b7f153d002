"""PL-kNN: the k nearest training images vote for all of their candidates.

Family: pll (partial-label learning).

score(x, c) = sum over the k nearest images j of (1 - d_j / sum of their k distances) [c in S_j]

Nothing is learnt and no text is used: a method that scores lower makes poor use of the features. Only seen classes are
scored. It needs images: with three of each of 800 classes, two of ten neighbours at most are of an image's class, and
each brings all its candidates (3 % of seen test images at rate 0.1, where zero-shot CLIP names 66 %).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.contract import Citation, ClosedForm, State, Study, hyper, method

DISTANCES_AT_ONCE = 2**23
"""Distances that one tensor may hold."""
MIN_TOTAL_DISTANCE = 1e-6
"""Neighbours whose distances sum to less count as equally near."""


@method(
    "plknn",
    title="PL-kNN",
    family="pll",
    citation=Citation(
        "Hüllermeier and Beringer",
        "Learning from ambiguously labeled examples",
        "Intelligent Data Analysis",
        2006,
        "https://doi.org/10.3233/IDA-2006-10503",
    ),
    deviations=(
        "Ties go to the class that comes first; public code draws among them.",
        "A training image that is scored is its own nearest neighbour: its vote goes to all of its candidates alike and"
        " leaves k - 1 others to tell them apart.",
    ),
)
@dataclass(frozen=True)
class PLkNN(ClosedForm):
    """Votes of neighbours."""

    k: int = hyper(10, "neighbours", search=(3, 50), above=0)

    @property
    def needs(self) -> frozenset[str]:
        """Images alone."""
        return frozenset()

    def solve(self, study: Study) -> State:
        """The study itself: images (N, d) and candidates (N, K)."""
        return {"images": study.features, "candidates": study.candidates.to(study.features)}

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d) -> (M, K) votes for the seen classes."""
        images, candidates = state["images"], state["candidates"]
        pieces = torch.split(features, max(1, DISTANCES_AT_ONCE // len(images)))
        return torch.cat([self.votes(piece, images, candidates) for piece in pieces])

    def votes(self, features: Tensor, images: Tensor, candidates: Tensor) -> Tensor:
        """(M, d), (N, d), (N, K) -> (M, K)."""
        neighbours = distances(features, images).topk(min(self.k, len(images)), largest=False)
        total = neighbours.values.sum(-1, keepdim=True)
        distinct = total > MIN_TOTAL_DISTANCE
        weights = torch.where(distinct, 1 - neighbours.values / torch.where(distinct, total, 1), 1)
        votes = torch.zeros_like(candidates[:1])
        for weight, image in zip(weights.unbind(-1), neighbours.indices.unbind(-1), strict=True):
            votes = votes + weight.unsqueeze(-1) * candidates[image]
        return votes


def distances(features: Tensor, images: Tensor) -> Tensor:
    """(M, d), (N, d) -> (M, N) Euclidean distances."""
    squares = features.square().sum(-1, keepdim=True) + images.square().sum(-1) - 2 * features @ images.T
    return squares.clamp(min=0).sqrt()
