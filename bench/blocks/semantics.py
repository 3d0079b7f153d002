"""Centring of class semantics and of images. Semantics have one row per class: embeddings of names, or attributes.

The names of one encoder lie in a narrow cone (CLIP: a mean cosine of 0.6): most of every row is what all names share.
A linear map fitted to such rows explains that part first and the differences last, although only the differences tell
classes apart. Subtracting the mean leaves the differences. If the mean image is subtracted as well, the map has nothing
else to explain.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.contract import Method, hyper

MIN_LENGTH = 1e-6
"""What is left of a unit vector after a subtraction is rounding, not a direction, if it is shorter than this."""


@dataclass(frozen=True)
class Centred(Method):
    """A method that fits class semantics without what they have in common: `class Sae(Centred, Fed, ClosedForm)`."""

    center_texts: bool = hyper(True, "subtract the mean seen text and normalise again")

    def text_mean(self, texts: Tensor) -> Tensor:
        """(K, a) seen classes -> (a,) what is subtracted; zero for a single class, which would be its own mean."""
        center = self.center_texts and len(texts) > 1
        return texts.mean(0) if center else torch.zeros_like(texts[0])

    def semantics(self, texts: Tensor, mean: Tensor) -> Tensor:
        """(C, a) the rows that are fitted and scored, for any classes."""
        return class_semantics(texts, mean) if self.center_texts else texts


@dataclass(frozen=True)
class CentredBoth(Centred):
    """A method that fits differences between images to differences between classes, as one with an intercept does."""

    center_images: bool = hyper(True, "subtract the mean training image, as an intercept would")

    def image_mean(self, features: Tensor) -> Tensor:
        """(N, d) training images -> (d,) what is subtracted from any image; zero for a single one."""
        center = self.center_images and len(features) > 1
        return features.mean(0) if center else torch.zeros_like(features[0])


def class_semantics(texts: Tensor, mean: Tensor) -> Tensor:
    """(C, a), (a,) -> (C, a) unit rows of the differences; a single column keeps its lengths, its only content."""
    centred = texts - mean
    return F.normalize(centred, dim=-1, eps=MIN_LENGTH) if texts.shape[-1] > 1 else centred
