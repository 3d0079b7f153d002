"""ESZSL: a bilinear map from images to class semantics in closed form.

Family: zsl (zero-shot learning from true labels).

min_W |X W S^T - Y|^2 + g |W S^T|^2 + l |X W|^2 + g l |W|^2
W = (X^T X + g I)^-1 X^T Y S (S^T S + l I)^-1,   score(x, c) = x W s_c

The loss is quadratic in Y, so soft labels enter exactly: with uniform candidates the target of an image is the mean
semantics of its candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.least_squares import ridge
from pzsl_bench.blocks.semantics import CentredBoth
from pzsl_bench.contract import Citation, ClosedForm, Fed, State, Study, hyper, method


@method(
    "eszsl",
    title="ESZSL",
    family="zsl",
    version=2,
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
        "Images are centred on the mean training image (center_images): without an intercept, flat soft labels are"
        " explained by what all images share.",
        "Targets are 0/1 (soft: rows that sum to one) as in public Python code; the paper writes -1/+1.",
    ),
)
@dataclass(frozen=True)
class ESZSL(CentredBoth, Fed, ClosedForm):
    """A ridge regression on each side."""

    reg_feature: float = hyper(1.0, "ridge on the image side (g)", search=(1e-3, 1e3), above=0)
    reg_semantic: float = hyper(1.0, "ridge on the text side (l)", search=(1e-3, 1e3), above=0)

    def solve(self, study: Study) -> State:
        """W: (d, a)."""
        text_mean, image_mean = self.text_mean(study.texts), self.image_mean(study.features)
        semantics = self.semantics(study.texts, text_mean)
        to_labels = ridge(study.features - image_mean, study.targets, self.reg_feature)
        weight = ridge(semantics, to_labels.T, self.reg_semantic).T
        return {"weight": weight.to(study.features.dtype), "text_mean": text_mean, "image_mean": image_mean}

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) bilinear scores."""
        return (features - state["image_mean"]) @ (state["weight"] @ self.semantics(texts, state["text_mean"]).T)
