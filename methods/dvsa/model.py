"""What DVSA trains: attribute prototypes in the space of the images, and the attention by which they and images meet.

    A   = softmax_k(t x_i . unit(p_k))                 which attributes an image attends to, (B, a)
    P'  = P + h M Wv,  M_k = mean of the images that attended to attribute k    images calibrate prototypes
    X'  = X + h A P' Wo                                                         prototypes calibrate images
    Z   = X' P'^T                                      attribute scores of an image, (B, a)
    G   = 1 + g (a A - 1)                              how much each attribute counts for this image, (B, a)
    F   = (Z * G) S^T                                  scores of the classes with semantics S, (B, C)

M is a k-means cross-attention whose centres are attributes: attributes compete for every image. It is made of images of
earlier steps, so that a test image has no part in it. Wv, Wo and g start at zero, so training starts at F = X P^T S^T.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pzsl_bench.blocks.least_squares import ridge
from pzsl_bench.contract import normalise
from pzsl_bench.contract.heads import SPEED

DIRECTIONS = ("both", "to_prototypes", "to_images", "none")
STARTS = ("auto", "identity", "ridge", "random")


def first_prototypes(start: str, images: Tensor, semantics: Tensor, targets: Tensor, strength: float) -> Tensor:
    """(a, d) attribute prototypes before training, from (N, d) images, (K, a) semantics and (N, K) soft labels."""
    width = images.shape[-1]
    if start == "identity":
        return torch.eye(width, dtype=images.dtype, device=images.device)
    if start == "ridge":
        return ridge(images, targets @ semantics, strength).T.to(images.dtype)
    return torch.randn(semantics.shape[-1], width, dtype=images.dtype).to(images.device) / math.sqrt(width)


class Seen(NamedTuple):
    """Images as attributes see them."""

    attention: Tensor
    """(B, a) shares of the attributes in an image's attention."""
    scores: Tensor
    """(B, a) attribute scores Z."""
    weighted: Tensor
    """(B, a) attribute scores times what every attribute counts."""


class Model(nn.Module):
    """Attribute prototypes and their attention."""

    def __init__(self, prototypes: Tensor, scale: float, attend: str, reweigh: bool, learn_scale: bool):
        super().__init__()
        width = prototypes.shape[-1]
        self.scale = scale
        self.prototypes = nn.Parameter(prototypes)
        zeros = torch.zeros(width, width, dtype=prototypes.dtype, device=prototypes.device)
        self.to_prototypes = nn.Parameter(zeros.clone()) if attend in ("both", "to_prototypes") else None
        self.to_images = nn.Parameter(zeros.clone()) if attend in ("both", "to_images") else None
        self.gate = nn.Parameter(zeros.new_zeros(())) if reweigh else None
        self.log_scale = nn.Parameter(zeros.new_zeros(())) if learn_scale else None

    def see(self, x: Tensor, sharpness: Tensor | float, gain: Tensor | float, pooled: Tensor | None) -> Seen:
        """(B, d) images, (a, d) mean images of the attributes -> their attention and attribute scores."""
        prototypes: Tensor = self.prototypes
        attention = (sharpness * x @ normalise(prototypes).T).softmax(-1)
        if self.to_prototypes is not None and pooled is not None:
            prototypes = prototypes + gain * pooled @ self.to_prototypes
        if self.to_images is not None:
            x = x + gain * (attention @ prototypes) @ self.to_images
        scores = weighted = x @ prototypes.T
        if self.gate is not None:
            weighted = scores * (1 + self.gate * (attention.shape[-1] * attention - 1))
        return Seen(attention, scores, weighted)

    def logits(self, scores: Tensor, semantics: Tensor, measure: str) -> Tensor:
        """(B, a), (C, a) -> (B, C)."""
        scale: Tensor | float = self.scale
        if measure == "cosine":
            scores, semantics = normalise(scores), normalise(semantics)
        if self.log_scale is not None:
            scale = scale * torch.exp(SPEED * self.log_scale)
        return (scale * scores) @ semantics.T

    def forward(self, features: Tensor, texts: Tensor, within: Any) -> Any:
        """Whatever `within` makes of this model and (B, d) images."""
        return within(self, features)
