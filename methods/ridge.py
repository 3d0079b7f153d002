"""Ridge: a linear map between images and class semantics, the simplest compatibility method.

Family: zsl (zero-shot learning from true labels).

Features to semantics:  min_W |X W - Q S|^2 + reg |W - W0|^2,               score(x, c) = cos(x W, s_c)
Semantics to features:  min_W sum_ic q_ic |x_i - s_c W|^2 + reg |W - W0|^2,  score(x, c) = -|x - s_c W|^2

W0 is 0, or the identity where texts lie in the images' own space. With the identity the map starts from the encoder as
it is, and reg says how far the encoder is trusted. Q are the soft labels. The second direction has fewer hubs: points
that are nearest to very many others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.least_squares import Number, Spectrum, moments
from pzsl_bench.blocks.semantics import CentredBoth
from pzsl_bench.contract import Citation, ClosedForm, Fed, State, Study, hyper, method, normalise


@method(
    "ridge",
    title="Ridge",
    family="zsl",
    citation=Citation(
        "Shigeto, Suzuki, Hara, Shimbo and Matsumoto",
        "Ridge Regression, Hubness, and Zero-Shot Learning",
        "ECML PKDD",
        2015,
        "https://arxiv.org/abs/1507.00825",
    ),
    deviations=(
        "Images and class texts are centred on their training means and texts scaled to unit length (center_images,"
        " center_texts): both lie in narrow cones, and the paper's regression has no intercept.",
        "The paper regresses on true labels: soft labels weigh the squared distances to several classes.",
        "The paper shrinks to zero; shrinking to the identity (toward) is an addition for joint encoders.",
        "Features to semantics is scored by the cosine, as usual for texts; the paper takes the nearest neighbour.",
    ),
)
@dataclass(frozen=True)
class Ridge(CentredBoth, Fed, ClosedForm):
    """One linear solve."""

    direction: str = hyper(
        "features",
        "what is mapped: image features to class semantics, or class semantics to prototype images",
        choices=("features", "semantics"),
    )
    toward: str = hyper("zero", "the map of infinite regularisation", choices=("zero", "identity"))
    reg: float = hyper(1.0, "pull towards that map", search=(1e-3, 1e3), above=0)

    @property
    def needs(self) -> frozenset[str]:
        """Pulling towards the identity needs images and texts in one space."""
        return super().needs | ({"alignment"} if self.toward == "identity" else set())

    def solve(self, study: Study) -> State:
        """W: (d, a) for features to semantics, (a, d) for the other direction."""
        features, targets = study.features, study.targets
        if self.toward == "identity" and features.shape[-1] != study.texts.shape[-1]:
            raise UserError(
                "ridge with toward: identity needs class texts as wide as the images,"
                f" not {study.texts.shape[-1]} and {features.shape[-1]} numbers; toward: zero takes any"
            )
        text_mean, image_mean = self.text_mean(study.texts), self.image_mean(features)
        semantics = self.semantics(study.texts, text_mean).double()
        features = features - image_mean
        images_of = moments(features, targets)
        if self.direction == "features":
            weight = self.shrunk(features, images_of @ semantics, self.reg)
        else:
            # Each class once instead of each image: a class of weight D at the mean of its images.
            share = targets.sum(0, dtype=torch.float64).sqrt().unsqueeze(-1)
            weight = self.shrunk(share * semantics, semantics.T @ images_of.T, self.reg)
        return {"weight": weight.to(features.dtype), "text_mean": text_mean, "image_mean": image_mean}

    def shrunk(self, rows: Tensor, right: Tensor, reg: Number) -> Tensor:
        """(n, p) inputs and their moments (p, q) with the outputs -> (p, q)."""
        spectrum = Spectrum.of(rows)
        weight = spectrum.solve(right, reg)
        if self.toward == "zero":
            return weight
        fitted = spectrum.values / (spectrum.values + reg)
        return weight + torch.eye(len(right)).to(weight) - spectrum.basis @ (fitted.unsqueeze(-1) * spectrum.basis.T)

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) cosines, or half of -|x - s W|^2 + |x|^2."""
        features, semantics = features - state["image_mean"], self.semantics(texts, state["text_mean"])
        if self.direction == "features":
            return normalise(features @ state["weight"]) @ normalise(semantics).T
        prototypes = semantics @ state["weight"]
        return features @ prototypes.T - prototypes.square().sum(-1) / 2
