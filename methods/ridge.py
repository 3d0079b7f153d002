"""Ridge: a linear map between images and class semantics, the simplest compatibility method.

Family: zsl (zero-shot learning from true labels).

Features to semantics:  min_W |X W - Q S|^2 + reg |W - c I|^2,               score(x, c) = cos(x W, s_c)
Semantics to features:  min_W sum_ic q_ic |x_i - s_c W|^2 + reg |W - c I|^2,  score(x, c) = -|x - s_c W|^2

Q are the soft labels. The second direction has fewer hubs: points that are nearest to very many others.

c is 0, or above where texts lie in the images' own space (prior: identity). Then the map starts from the encoder as it
is, and reg says how far the encoder is trusted. With W = c I + D, what D adds to a score is of centred images and
texts, and what c I adds is c x . t / |t - mean| of the images and texts as they are: at D = 0 this is zero-shot CLIP.
Images are then ranked by dot products, as the length of x W is the same for all classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.least_squares import CAUTION, Number, Spectrum, moments
from pzsl_bench.blocks.prior import Prior, least_squares_strength
from pzsl_bench.blocks.semantics import CentredBoth
from pzsl_bench.contract import Citation, ClosedForm, Fed, State, Study, hyper, method, normalise

TRUST = 100.0
"""What the prior adds to the fitted penalty, in units of the mean eigenvalue: few images of few classes say little of
other classes, which leaving out images cannot show. Chosen on rehearsals."""


@method(
    "ridge",
    title="Ridge",
    family="zsl",
    version=2,
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
        "The paper shrinks to zero (prior: none); shrinking to the encoder's own alignment is an addition.",
        "The paper chooses the penalty by validation, in absolute numbers (units: absolute); here it is in units of the"
        " one that generalised cross-validation chooses.",
        "Features to semantics is scored by the cosine, as usual for texts; the paper takes the nearest neighbour.",
    ),
)
@dataclass(frozen=True)
class Ridge(Prior, CentredBoth, Fed, ClosedForm):
    """One linear solve."""

    direction: str = hyper(
        "features",
        "what is mapped: image features to class semantics, or class semantics to prototype images",
        choices=("features", "semantics"),
    )
    reg: float = hyper(1.0, "pull towards that map", search=(1e-3, 1e3), above=0)
    units: str = hyper(
        "fitted",
        "what the pull is a multiple of: one that is fitted to the data, or one",
        choices=("fitted", "absolute"),
    )
    strength: float = hyper(2.0, "size of the identity (c), in units of the least-squares one", above=0)

    def solve(self, study: Study) -> State:
        """D: (d, a) for features to semantics, (a, d) for the other direction; c and c / |t - mean|."""
        features, targets = study.features, study.targets
        text_mean, image_mean = self.text_mean(study.texts), self.image_mean(features)
        semantics = self.semantics(study.texts, text_mean).double()
        images = features - image_mean
        images_of = moments(images, targets)
        count = targets.sum(0, dtype=torch.float64)
        if self.direction == "features":
            rows, right = images, images_of @ semantics
            mean = count @ semantics / len(images) if self.center_images else torch.zeros_like(semantics[0])
            total = (moments(targets, targets) * (semantics @ semantics.T)).sum() - len(images) * mean.square().sum()
        else:
            # Each class once instead of each image: a class of weight D at the mean of its images.
            rows, right = count.sqrt().unsqueeze(-1) * semantics, semantics.T @ images_of.T
            total = (images_of.square().sum(0) / torch.where(count > 0, count, 1)).sum()
        spectrum = Spectrum.of(rows)
        state = {"text_mean": text_mean, "image_mean": image_mean}
        if self.from_encoder(study):
            agreement, energy = right.diagonal().sum(), spectrum.values.sum()
            identity = self.strength * least_squares_strength(agreement, energy)
            right = right - identity * (spectrum.basis * spectrum.values) @ spectrum.basis.T
            total = total - 2 * identity * agreement + identity**2 * energy
            state["identity"] = identity.to(features.dtype)
            state["strength"] = (identity / self.text_length(study.texts, text_mean)).to(features.dtype)
        weight = spectrum.solve(right, self.penalty(spectrum, right, total, len(rows), "strength" in state))
        return {"weight": weight.to(features.dtype), **state}

    def penalty(self, spectrum: Spectrum, right: Tensor, total: Tensor, rows: int, from_encoder: bool) -> Number:
        """The pull in absolute numbers, from the moments of the rows with what they are to explain."""
        if self.units == "absolute":
            return self.reg
        fitted = CAUTION * spectrum.fitted_penalty(right, total, rows)
        return self.reg * (fitted + TRUST * spectrum.unit if from_encoder else fitted)

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) cosines, or half of -|x - s W|^2 + |x|^2."""
        images, semantics = features - state["image_mean"], self.semantics(texts, state["text_mean"])
        own = state["strength"] * (features @ texts.T) if "strength" in state else None
        if self.direction == "features":
            projected = images @ state["weight"]
            return normalise(projected) @ normalise(semantics).T if own is None else projected @ semantics.T + own
        moved = semantics @ state["weight"]
        prototypes = moved if own is None else moved + state["identity"] * semantics
        scores = images @ moved.T - prototypes.square().sum(-1) / 2
        return scores if own is None else scores + own
