"""ESZSL: a bilinear map from images to class semantics in closed form.

Family: zsl (zero-shot learning from true labels).

min_W |X W S^T - Y|^2 + g |W S^T|^2 + l |X W|^2 + g l |W|^2
W = (X^T X + g I)^-1 X^T Y S (S^T S + l I)^-1,   score(x, c) = x W s_c

The loss is quadratic in Y, so soft labels enter exactly: with uniform candidates the target of an image is the mean
semantics of its candidates.

With the prior of one encoder, Y - strength X T^T takes the place of Y and strength x . t_c is added to the score: what
is shrunk to zero is the difference from the encoder's own scores, whose strength is the least-squares one. Without it a
map of K seen classes knows K - 1 directions of the texts, and an unseen text is seen only as far as it lies in them.

Uniform candidates do not scale to many classes. In X^T Y the column of a class sums its N / K own images and, with
equal weight, rate N images that have it as a wrong candidate: rate K wrong ones for each right one. That is 4 on
`shapes` at rate 0.1 and 80 on ImageNet (800 seen classes, three images each). Centring takes away the mean of the wrong
ones, not their noise, and a map learnt from nothing has a T1 of 5 there.

So penalties are in units of the data: g is the one that predicts the labels of an image and of a class best by the
other images and classes, which is large where labels are mostly noise, and l the mean eigenvalue of S^T S. Both are
multiplied by `CAUTION`: ranking classes that were never seen asks for more than the squared error.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.least_squares import CAUTION, Number, Residuals, Spectrum, centred, moments
from pzsl_bench.blocks.prior import Prior, least_squares_strength
from pzsl_bench.blocks.semantics import CentredBoth
from pzsl_bench.contract import Citation, ClosedForm, Fed, State, Study, hyper, method


@method(
    "eszsl",
    title="ESZSL",
    family="zsl",
    version=3,
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
        "The paper shrinks W to zero (prior: none); where images and texts are from one encoder, W shrinks to that"
        " encoder's own alignment.",
        "The paper chooses g and l by validation classes, in absolute numbers (units: absolute): here g is in units of"
        " the penalty that generalised cross-validation over images and classes chooses, l in units of the mean"
        " eigenvalue of S^T S.",
    ),
)
@dataclass(frozen=True)
class ESZSL(Prior, CentredBoth, Fed, ClosedForm):
    """A ridge regression on each side."""

    reg_feature: float = hyper(1.0, "ridge on the image side (g)", search=(1e-3, 1e3), above=0)
    reg_semantic: float = hyper(1.0, "ridge on the text side (l)", search=(1e-3, 1e3), above=0)
    units: str = hyper(
        "fitted",
        "what both ridges are multiples of: a penalty that is fitted to the data, or one",
        choices=("fitted", "absolute"),
    )
    strength: float = hyper(1.0, "weight of the encoder's scores, in units of the least-squares one", above=0)

    def solve(self, study: Study) -> State:
        """W: (d, a), and the strength of the encoder's scores where the map shrinks to them."""
        text_mean, image_mean = self.text_mean(study.texts), self.image_mean(study.features)
        semantics, images = self.semantics(study.texts, text_mean), study.features - image_mean
        image_space, text_space = Spectrum.of(images), Spectrum.of(semantics)
        labels = Residuals(moments(images, study.targets), self.label_moments(study.targets))
        state = {"text_mean": text_mean, "image_mean": image_mean}
        if self.from_encoder(study):
            strength, labels = self.beyond_encoder(labels, image_space, study.texts)
            state["strength"] = strength.to(study.features.dtype)
        reg_feature: Number = self.reg_feature
        reg_semantic: Number = self.reg_semantic
        if self.units == "fitted":
            reg_semantic = reg_semantic * CAUTION * text_space.unit
            fitted = labels.fitted_penalty(image_space, len(images), semantics, text_space, reg_semantic)
            reg_feature = reg_feature * CAUTION * fitted
        to_labels = image_space.solve(labels.of_rows, reg_feature)
        weight = text_space.solve(moments(semantics, to_labels.T), reg_semantic).T
        return {"weight": weight.to(study.features.dtype), **state}

    def label_moments(self, targets: Tensor) -> Tensor:
        """(N, K) -> (K, K) Y^T Y, of centred labels if images are centred."""
        products = moments(targets, targets)
        if not self.center_images or len(targets) == 1:
            return products
        total = targets.sum(0, dtype=torch.float64)
        return products - torch.outer(total, total) / len(targets)

    def beyond_encoder(self, labels: Residuals, images: Spectrum, texts: Tensor) -> tuple[Tensor, Residuals]:
        """The strength of the encoder's scores, and the moments of what they leave of the labels."""
        along = texts.double() @ images.basis
        of_images = images.basis @ (images.values.unsqueeze(-1) * along.T)
        scores, agreement = (along * images.values) @ along.T, texts.double() @ labels.of_rows
        sums = (centred(products).diagonal().sum() for products in (agreement, scores))
        strength = self.strength * least_squares_strength(*sums)
        return strength, Residuals(
            labels.of_rows - strength * of_images,
            labels.of_columns - strength * (agreement + agreement.T) + strength**2 * scores,
        )

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) bilinear scores."""
        learnt = (features - state["image_mean"]) @ (state["weight"] @ self.semantics(texts, state["text_mean"]).T)
        return learnt + state["strength"] * (features @ texts.T) if "strength" in state else learnt
