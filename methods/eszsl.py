"""ESZSL: a bilinear map from images to class semantics in closed form.

min_W |X W S^T - Y|^2 + g |W S^T|^2 + l |X W|^2 + g l |W|^2
W = (X^T X + g I)^-1 X^T Y S (S^T S + l I)^-1,   score(x, c) = x W s_c

The loss is quadratic in Y, so soft labels enter exactly: with uniform candidates the target of an image is the mean
semantics of its candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.contract import Citation, ClosedForm, State, Study, hyper, method, normalise


@method(
    "eszsl",
    title="ESZSL",
    family="zsl",
    citation=Citation(
        "Romera-Paredes and Torr",
        "An embarrassingly simple approach to zero-shot learning",
        "ICML",
        2015,
        "https://proceedings.mlr.press/v37/romera-paredes15.html",
    ),
    deviations=(
        "Class texts are centred on the mean of the seen texts and scaled to unit length (center_texts): CLIP texts"
        " lie in a narrow cone, where the uncentred solution collapses.",
        "Targets are 0/1 (soft: rows that sum to one) as in public Python code; the paper writes -1/+1.",
    ),
)
@dataclass(frozen=True)
class ESZSL(ClosedForm):
    """One linear solve on each side."""

    candidates_as: str = hyper("uniform", "how candidates are fed", choices=("uniform", "random", "refined"))
    reg_feature: float = hyper(1.0, "ridge on the image side (g)", search=(1e-3, 1e3), above=0)
    reg_semantic: float = hyper(1.0, "ridge on the text side (l)", search=(1e-3, 1e3), above=0)
    center_texts: bool = hyper(True, "subtract the mean seen text and normalise again")

    def solve(self, study: Study) -> State:
        """W: (d, a)."""
        mean = study.texts.mean(0) if self.center_texts else torch.zeros_like(study.texts[0])
        semantics = self.semantics(study.texts, mean)
        weight = eszsl_weight(study.features, study.targets, semantics, self.reg_feature, self.reg_semantic)
        return {"weight": weight, "mean": mean.expand_as(mean)}

    def semantics(self, texts: Tensor, mean: Tensor) -> Tensor:
        """(C, a) the class semantics that are fitted and scored."""
        return normalise(texts - mean) if self.center_texts else texts

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) bilinear scores."""
        return features @ state["weight"] @ self.semantics(texts, state["mean"]).T


def eszsl_weight(
    features: Tensor, targets: Tensor, semantics: Tensor, reg_feature: float, reg_semantic: float
) -> Tensor:
    """(N, d), (N, K), (K, a) -> (d, a), by two symmetric solves instead of inverses."""
    left = features.T @ features + reg_feature * torch.eye(features.shape[1]).to(features)
    right = semantics.T @ semantics + reg_semantic * torch.eye(semantics.shape[1]).to(semantics)
    middle = features.T @ (targets @ semantics)
    half = torch.cholesky_solve(middle, torch.linalg.cholesky(left))
    return torch.cholesky_solve(half.T, torch.linalg.cholesky(right)).T
