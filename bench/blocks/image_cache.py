"""The cache of the Tip-Adapter family: training images vote for their labels beside a zero-shot classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks.clip_space import InClipSpace
from pzsl_bench.contract import Fed, Study, hyper, normalise

IMAGES_AT_ONCE = 2**10
"""Images, and keys, that are compared at once."""
MAX_EXPONENT = 40.0
"""Exponent above which a vote no longer grows. Keys of unit length never come near it."""

Number = float | Tensor


@dataclass(frozen=True)
class Cached(InClipSpace, Fed):
    """A method that keeps training images as keys and their soft labels as values."""

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
        """Encoded crops, if they are the keys."""
        return super().needs | ({"views"} if self.keys == "crops" else set())

    def cached_keys(self, study: Study) -> Tensor:
        """(N, d) the keys, unit vectors; the same for all runs that share their images."""
        if self.keys == "images":
            return normalise(study.features)
        assert study.views is not None
        return normalise(study.views.mean(0))

    def labels(self, study: Study) -> Tensor:
        """(N, K) the values: soft labels, scaled to `shots` images of a class."""
        images, classes = study.targets.shape
        return study.targets * (self.shots * classes / images) if self.shots else study.targets


def affinity(cosines: Tensor, beta: Number) -> Tensor:
    """exp(-beta (1 - cosine)) of any shape."""
    return torch.exp((beta * (cosines - 1)).clamp(max=MAX_EXPONENT))


def votes(images: Tensor, keys: Tensor, values: Tensor, beta: Number) -> Tensor:
    """(M, d), (N, d), (N, K) -> (M, K) affinities to the keys times their values, in chunks of images and keys."""
    return torch.cat([_votes(chunk, keys, values, beta) for chunk in torch.split(images, IMAGES_AT_ONCE)])


def _votes(images: Tensor, keys: Tensor, values: Tensor, beta: Number) -> Tensor:
    chunks = zip(torch.split(keys, IMAGES_AT_ONCE), torch.split(values, IMAGES_AT_ONCE), strict=True)
    total = images.new_zeros(len(images), values.shape[-1])
    for key, value in chunks:
        total = total + affinity(images @ key.T, beta) @ value
    return total


def beside_texts(seen_votes: Tensor, texts: Tensor) -> Tensor:
    """(M, K) votes of a cache for the seen classes -> (M, C) with zeros for the other classes."""
    return F.pad(seen_votes, (0, len(texts) - seen_votes.shape[-1]))
