"""SAE: a linear encoder of images into class semantics whose transpose is the decoder.

Family: zsl (zero-shot learning from true labels).

min_W |X - Z W|^2 + lam |X W^T - Z|^2   with the semantics Z = Q S of the images
A W + W B = C,   A = Z^T Z,  B = lam X^T X,  C = (1 + lam) Z^T X

In the eigenvectors of A and B, the Sylvester equation is one division per element. `direction: features` scores
cos(x W^T, s_c) and `direction: semantics` scores cos(x, s_c W), with rows of W scaled to unit length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.least_squares import ROUNDING_SHARE, eigen, moments
from pzsl_bench.blocks.semantics import CentredBoth
from pzsl_bench.contract import Citation, ClosedForm, Fed, State, Study, hyper, method, normalise


@method(
    "sae",
    title="SAE",
    family="zsl",
    citation=Citation(
        "Kodirov, Xiang and Gong",
        "Semantic Autoencoder for Zero-Shot Learning",
        "CVPR",
        2017,
        "https://arxiv.org/abs/1704.08345",
    ),
    deviations=(
        "Images and class texts are centred on their training means and texts scaled to unit length (center_images,"
        " center_texts): both lie in narrow cones, and the paper's maps have no intercept.",
        "The semantics of an image are expected under its soft labels: exact for the encoder, for the decoder the"
        " spread between its candidates is left out.",
        "The released demos reduce CUB features by a ridge and z-score scores over the whole test set, which is"
        " transductive; neither is done.",
        "Where both A and B are singular the smallest solution is taken; the release's solver has none.",
    ),
)
@dataclass(frozen=True)
class SAE(CentredBoth, Fed, ClosedForm):
    """One Sylvester equation."""

    direction: str = hyper(
        "semantics",
        "what is mapped at the exam: image features to semantics, or semantics to features",
        choices=("features", "semantics"),
    )
    lam: float = hyper(1.0, "weight of the encoder beside the decoder", search=(1e-3, 1e3), above=0)
    unit_images: bool = hyper(True, "scale images to unit length")

    def solve(self, study: Study) -> State:
        """W: (a, d)."""
        images = self.scaled(study.features)
        text_mean, image_mean = self.text_mean(study.texts), self.image_mean(images)
        semantics = self.semantics(study.texts, text_mean).double()
        images = images - image_mean
        semantic_values, semantic_basis = eigen(semantics.T @ moments(study.targets, study.targets) @ semantics)
        image_values, image_basis = eigen(moments(images, images))
        cross_moments = semantics.T @ moments(study.targets, images)
        rotated = (1 + self.lam) * (semantic_basis.T @ cross_moments @ image_basis)
        total = semantic_values.unsqueeze(-1) + self.lam * image_values
        empty = total <= ROUNDING_SHARE * total.max()
        solution = torch.where(empty, 0, rotated / torch.where(empty, 1, total))
        weight = semantic_basis @ solution @ image_basis.T
        return {"weight": weight.to(study.features.dtype), "text_mean": text_mean, "image_mean": image_mean}

    def scaled(self, features: Tensor) -> Tensor:
        """(M, d) images, scaled to unit length if `unit_images`."""
        return normalise(features) if self.unit_images else features

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) cosines."""
        images = self.scaled(features) - state["image_mean"]
        semantics, weight = self.semantics(texts, state["text_mean"]), normalise(state["weight"])
        if self.direction == "features":
            return normalise(images @ weight.T) @ normalise(semantics).T
        return normalise(images) @ normalise(semantics @ weight).T
