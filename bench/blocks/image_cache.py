"""A cache of training images that vote for their labels: what the Tip-Adapter family adds to a zero-shot classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks.clip_space import InClipSpace
from pzsl_bench.contract import Fed, Study, hyper, normalise

PIECE = 2**10
"""Images, and keys, that meet at once."""
LARGEST = 40.0
"""Exponent at which a vote stops to grow; keys of unit length never come near."""

Number = float | Tensor


@dataclass(frozen=True)
class Cached(InClipSpace, Fed):
    """A method that keeps the training images as keys and their soft labels as values."""

    alpha: float = hyper(3.0, "weight of the cache", search=(0.1, 30.0))
    beta: float = hyper(20.0, "sharpness: a key's vote is exp(-beta (1 - cosine))", search=(0.5, 50.0))
    shots: int = hyper(16, "images of a class that alpha is meant for, to which the votes are scaled; 0: plain sums")
    keys: str = hyper(
        "images",
        "what is kept of an image: its features, or the mean of its encoded augmented crops",
        choices=("images", "crops"),
    )

    @property
    def needs(self) -> frozenset[str]:
        """Crops must have been encoded."""
        return super().needs | ({"views"} if self.keys == "crops" else set())

    def cached_keys(self, study: Study) -> Tensor:
        """(N, d) the keys, unit vectors; the same for all runs that share their images."""
        if self.keys == "images":
            return normalise(study.features)
        assert study.views is not None
        return normalise(study.views.mean(0))

    def labels(self, study: Study) -> Tensor:
        """(N, K) the values."""
        images, classes = study.targets.shape
        return study.targets * (self.shots * classes / images) if self.shots else study.targets


def affinity(cosines: Tensor, beta: Number) -> Tensor:
    """exp(-beta (1 - cosine)) of any shape."""
    return torch.exp((beta * (cosines - 1)).clamp(max=LARGEST))


def votes(images: Tensor, keys: Tensor, values: Tensor, beta: Number) -> Tensor:
    """(M, d), (N, d), (N, K) -> (M, K) affinities to the keys times their values, never all of them at once."""
    return torch.cat([_votes(some, keys, values, beta) for some in torch.split(images, PIECE)])


def _votes(images: Tensor, keys: Tensor, values: Tensor, beta: Number) -> Tensor:
    pieces = zip(torch.split(keys, PIECE), torch.split(values, PIECE), strict=True)
    total = images.new_zeros(len(images), values.shape[-1])
    for key, value in pieces:
        total = total + affinity(images @ key.T, beta) @ value
    return total


def beside_texts(known: Tensor, texts: Tensor) -> Tensor:
    """(M, K) what a cache says of the seen classes -> (M, C) with nothing said of the others."""
    return F.pad(known, (0, len(texts) - known.shape[-1]))
