"""Semantic mining: K-means cross-attention between the images of a batch and the label embeddings.

Classes compete for every image (a k-means assignment), and each class moves by the pooled images assigned to it:

    Z = kappa norm(X) Wq norm(C)^T        scores of images for classes, (B, K)
    A = assign(Z)                         each image to one class, (B, K)
    M = A^T norm(X) / max(1, n)^eta       the n images of a class, pooled, (K, d)
    C' = base + M Wo + bo                 for classes with images; the others keep their stored C
    E = unit(C' + FFN(LN(C')))            label embeddings as they are used for scoring

With `block: confidences`, the default, images are assigned by their confidences instead: see prototypes.py.

The caller decides which images A and M are computed from, one batch or many (`class_sums`, `pool_sums`).

Images come as unit vectors. Wq starts as the identity and Wo, bo and the last layer of FFN at zero, so that training
starts at zero-shot CLIP: the first assignment is the nearest text and the first label embeddings are the texts.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pzsl_bench.contract import normalise
from pzsl_bench.contract.heads import Dense, FromZero

ASSIGNMENTS = (
    "confidences",
    "argmax_st",
    "argmax_sg",
    "gumbel_logits",
    "gumbel_probs",
    "soft_kmeans",
    "softmax_xattn",
    "none",
)
GUMBEL_TEMPERATURE = 0.1
LN_EPS = 1e-6


class SemanticMining(FromZero):
    """The block's parameters and its steps; the caller decides what is masked, stored and scored."""

    grown: ClassVar[tuple[str, ...]] = ("out.weight", "out.bias")
    kept = 1.0

    def __init__(self, width: int, norm: str, start: str, ffn: bool, attends: bool = True):
        super().__init__()
        self.norm = norm
        self.ffn = FeedForward(width) if ffn else None
        if not attends:
            return
        self.query = nn.Parameter(torch.eye(width))
        if start == "random":
            nn.init.xavier_uniform_(self.query)
        self.out = Dense(width, width)
        nn.init.zeros_(self.out.bias)
        if start == "identity":
            nn.init.zeros_(self.out.weight)

    def values(self, x: Tensor) -> Tensor:
        """(B, d) unit images -> (B, d) as the block sees them."""
        return x if self.norm == "l2" else F.layer_norm(x, x.shape[-1:], eps=LN_EPS)

    def scores(self, x: Tensor, centres: Tensor, scale: Tensor | float) -> Tensor:
        """(B, d) unit images, (K, d) -> (B, K); `ln` divides by sqrt(d) instead of multiplying by `scale`."""
        keys = normalise(centres) if self.norm == "l2" else centres
        factor = scale if self.norm == "l2" else 1 / math.sqrt(x.shape[-1])
        # The query is multiplied with the keys first, as there are fewer classes than images.
        return self.values(x) @ (self.query @ keys.T * factor)

    def moved(self, base: Tensor, centres: Tensor, pooled: Tensor, filled: Tensor) -> Tensor:
        """(K, d) base plus visual evidence where a class has images, the stored centre where it has none."""
        return torch.where(filled.unsqueeze(-1), base + self.out(pooled), centres)

    def read(self, centres: Tensor) -> Tensor:
        """(K, d) unit label embeddings."""
        return normalise(centres if self.ffn is None else centres + self.ffn(centres))


class FeedForward(nn.Module):
    """W2 gelu(W1 LN(c)), with W2 starting at zero."""

    def __init__(self, width: int):
        super().__init__()
        self.inner = Dense(width, 2 * width)
        self.outer = Dense(2 * width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, c: Tensor) -> Tensor:
        """(K, d) -> (K, d)."""
        out: Tensor = self.outer(F.gelu(self.inner(F.layer_norm(c, c.shape[-1:], eps=LN_EPS))))
        return out


def assign(kind: str, scores: Tensor, soft: Tensor, uniform: Tensor | None = None) -> Tensor:
    """(B, K) assignment of images to classes by one of the rules; `uniform` holds random numbers for rules with noise.

    `soft` is the softmax of the scores over the classes.
    """
    if kind == "softmax_xattn":
        # Classic cross-attention: images compete for every class.
        return scores.softmax(0)
    if kind == "soft_kmeans":
        return soft
    if kind == "argmax_st":
        return hard(soft) + soft - soft.detach()
    if kind == "argmax_sg":
        return hard(soft).detach()
    assert uniform is not None
    # Noise on the probabilities is the released rule, noise on the scores the one probably meant.
    noisy = (soft if kind == "gumbel_probs" else scores) + gumbel(uniform)
    sample = (noisy / GUMBEL_TEMPERATURE).softmax(-1)
    return hard(sample) + sample - sample.detach()


def hard(soft: Tensor) -> Tensor:
    """(B, K) one at the largest entry of every row, the first of equals."""
    # The same as one-hot argmax, but several times as fast on a CPU.
    order = torch.arange(soft.shape[-1], 0, -1, device=soft.device, dtype=soft.dtype)
    largest = (soft == soft.amax(-1, keepdim=True)) * order
    return (largest == largest.amax(-1, keepdim=True)).to(soft.dtype)


def entropy(scores: Tensor, soft: Tensor) -> Tensor:
    """(B,) entropy of every image's soft assignment, from its scores and their softmax."""
    return scores.amax(-1) - soft.amax(-1).log() - (soft * scores).sum(-1)


def gumbel(uniform: Tensor) -> Tensor:
    """Gumbel noise from uniform numbers in [0, 1)."""
    tiny = torch.finfo(uniform.dtype).tiny
    return -torch.log((-torch.log1p(-uniform)).clamp(min=tiny))


def class_sums(assignment: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """(K, d) sum of the images of each class, and (K,) how many they are."""
    return assignment.T @ values, assignment.detach().sum(0)


def pool_sums(total: Tensor, count: Tensor, eta: Tensor | float) -> Tensor:
    """(K, d) the images of each class pooled, from their sum and number.

    eta = 1 is their mean (true k-means), eta = 0 their sum (as the group's code and kMaX-DeepLab have it).
    """
    return total / count.clamp(min=1).pow(eta).unsqueeze(-1)


def pool(assignment: Tensor, values: Tensor, eta: Tensor | float) -> tuple[Tensor, Tensor]:
    """(K, d) the images of each class pooled, and (K,) how many they are."""
    total, count = class_sums(assignment, values)
    return pool_sums(total, count, eta), count
