"""SAE: a linear encoder of images into class semantics whose transpose is the decoder.

Family: zsl (zero-shot learning from true labels).

min_W |X - Z W|^2 + lam |X W^T - Z|^2   with the semantics Z = Q S of the images
A W + W B = C,   A = Z^T Z,  B = lam X^T X,  C = (1 + lam) Z^T X

In the eigenvectors of A and B, the Sylvester equation is one division per element. `direction: features` scores
cos(x W^T, s_c) and `direction: semantics` scores cos(x, s_c W), with rows of W scaled to unit length.

The paper regularises by the autoencoder alone. Where images and texts are from one encoder (prior: identity), the
objective gets a term mu |W - c I|^2, which adds mu to A: with W = c I + D,

A D + D B + mu D = C - c (A + B)

What D adds to a score is of centred images and texts, what c I adds is c x . t / |t - mean| of those as they are, and
rows of W keep their lengths: at D = 0 the ranking is that of zero-shot CLIP.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.least_squares import ROUNDING_SHARE, Spectrum, eigen, moments
from pzsl_bench.blocks.prior import Prior, least_squares_strength
from pzsl_bench.blocks.semantics import MIN_LENGTH, CentredBoth
from pzsl_bench.contract import Citation, ClosedForm, Fed, State, Study, hyper, method, normalise


@method(
    "sae",
    title="SAE",
    family="zsl",
    version=2,
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
        "The pull to the encoder's own alignment is an addition for joint encoders (prior: none leaves it out).",
        "Where both A and B are singular the smallest solution is taken; the release's solver has none.",
    ),
)
@dataclass(frozen=True)
class SAE(Prior, CentredBoth, Fed, ClosedForm):
    """One Sylvester equation."""

    direction: str = hyper(
        "semantics",
        "what is mapped at the exam: image features to semantics, or semantics to features",
        choices=("features", "semantics"),
    )
    lam: float = hyper(1.0, "weight of the encoder beside the decoder", search=(1e-3, 1e3), above=0)
    pull: float = hyper(
        100.0, "pull to the identity (mu), in units of the mean eigenvalues of A and B", search=(1e-2, 1e4), above=0
    )
    strength: float = hyper(2.0, "size of the identity (c), in units of the least-squares one", above=0)
    unit_images: bool = hyper(True, "scale images to unit length")

    def solve(self, study: Study) -> State:
        """W: (a, d), or D where W shrinks to the identity; c and c / |t - mean|."""
        images = self.scaled(study.features)
        text_mean, image_mean = self.text_mean(study.texts), self.image_mean(images)
        semantics = self.semantics(study.texts, text_mean).double()
        images = images - image_mean
        semantic_moments = semantics.T @ moments(study.targets, study.targets) @ semantics
        image_moments = moments(images, images)
        semantic_values, semantic_basis = eigen(semantic_moments)
        image_values, image_basis = eigen(image_moments)
        right = (1 + self.lam) * semantics.T @ moments(study.targets, images)
        total = semantic_values.unsqueeze(-1) + self.lam * image_values
        state = {"text_mean": text_mean, "image_mean": image_mean}
        if self.from_encoder(study):
            both = semantic_moments + self.lam * image_moments
            identity = self.strength * least_squares_strength(right.diagonal().sum(), both.diagonal().sum())
            right = right - identity * both
            spaces = Spectrum(semantic_basis, semantic_values), Spectrum(image_basis, image_values)
            total = total + self.pull * (spaces[0].unit + self.lam * spaces[1].unit)
            state["identity"] = identity.to(study.features.dtype)
            state["strength"] = (identity / self.text_length(study.texts, text_mean)).to(study.features.dtype)
        rotated = semantic_basis.T @ right @ image_basis
        empty = total <= ROUNDING_SHARE * total.max()
        solution = torch.where(empty, 0, rotated / torch.where(empty, 1, total))
        weight = semantic_basis @ solution @ image_basis.T
        return {"weight": weight.to(study.features.dtype), **state}

    def scaled(self, features: Tensor) -> Tensor:
        """(M, d) images, scaled to unit length if `unit_images`."""
        return normalise(features) if self.unit_images else features

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) cosines; with the prior, products with classes of unit length or prototypes."""
        images = self.scaled(features) - state["image_mean"]
        semantics, weight = self.semantics(texts, state["text_mean"]), state["weight"]
        if "strength" in state:
            scores = images @ (semantics @ weight).T + state["strength"] * (self.scaled(features) @ texts.T)
            prototypes = semantics @ weight + state["identity"] * semantics
            return scores if self.direction == "features" else scores / prototypes.norm(dim=-1).clamp(min=MIN_LENGTH)
        weight = normalise(weight)
        if self.direction == "features":
            return normalise(images @ weight.T) @ normalise(semantics).T
        return normalise(images) @ normalise(semantics @ weight).T
