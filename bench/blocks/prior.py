"""What a map between images and class semantics falls back on where the training images say nothing.

The papers shrink their maps to zero: attributes are no images, and nothing is known of how both go together. Where one
encoder made images and texts, much is known: the encoder's own score x . t. A map that is learnt from nothing forgets
it, most of all for unseen classes, whose texts point in directions that no seen text has. With the prior

    F(x, s) = strength x . t + x' D s'

and D is what shrinks to zero, or starts there. x' and s' are the centred image and text that a method fits; the prior
reads image and text as the encoder made them. At D = 0 the ranking is that of zero-shot CLIP.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Method, Study, hyper

PRIORS = ("auto", "identity", "none")
LEAST_STRENGTH = 1e-6
"""Labels that contradict the encoder leave it this strength, so that it still ranks where nothing else does."""


@dataclass(frozen=True)
class Prior(Method):
    """A method whose map shrinks to zero, as in its paper, or to the encoder's own alignment of images and texts."""

    prior: str = hyper(
        "auto",
        "what the map shrinks to: zero (none), or the encoder's own alignment (identity); auto: the latter where"
        " images and texts are from one encoder",
        choices=PRIORS,
    )

    @property
    def needs(self) -> frozenset[str]:
        """An identity needs images and texts in one space."""
        return super().needs | ({"alignment"} if self.prior == "identity" else set())

    def from_encoder(self, study: Study) -> bool:
        """Whether the map shrinks to the encoder's alignment in this study."""
        width, semantics = study.features.shape[-1], study.texts.shape[-1]
        if self.prior == "identity" and width != semantics:
            raise UserError(
                f"prior: identity needs class texts as wide as the images, not {semantics} and {width} numbers;"
                " prior: none takes any"
            )
        return self.prior == "identity" or (self.prior == "auto" and study.aligned and width == semantics)

    @staticmethod
    def text_length(texts: Tensor, mean: Tensor) -> Tensor:
        """Mean length of the seen texts less their mean: what scaling centred texts to unit length multiplies by."""
        length = (texts - mean).double().norm(dim=-1).mean()
        return torch.where(length > 0, length, torch.ones_like(length))


def least_squares_strength(alignment: Tensor, energy: Tensor) -> Tensor:
    """The factor c of the least sum of squares |target - c score|^2, from the sums of target * score and score^2."""
    return (alignment / torch.where(energy > 0, energy, torch.ones_like(energy))).clamp(min=LEAST_STRENGTH)
