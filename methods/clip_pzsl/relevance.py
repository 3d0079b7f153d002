"""The partial zero-shot loss in parts: relevance of candidates, their weights and confidences, alignment terms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ALIGNMENTS = ("cosine", "contrastive", "mse", "none")
BARRIER_HEIGHT = 1e30
"""How far the barrier puts other labels below the candidates."""
TINY_RELEVANCE = 1e-30
"""Added to every relevance, so that weights do not all vanish."""


def barrier(candidates: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, K) 0 on the candidates and far below every logit elsewhere. Adding it is much faster than masking."""
    return (candidates.to(dtype) - 1) * BARRIER_HEIGHT


def softmax_over_candidates(logits: Tensor, walls: Tensor) -> Tensor:
    """(B, K) softmax over the candidates only; `walls` is their barrier."""
    return (logits + walls).softmax(-1)


def combined(relevance: Tensor, confidences: Tensor) -> Tensor:
    """(B, K) relevance times confidence in rows that sum to one; confidences alone where all products are 0."""
    # The small addition is lost in rounding wherever a product can be represented.
    weights = confidences * (relevance + TINY_RELEVANCE)
    return weights / weights.sum(-1, keepdim=True)


def alignment(kind: str, cosines: Tensor, weights: Tensor, embeddings: Tensor, scale: Tensor | float) -> Tensor:
    """Scalar: how far (B, K) unit images are from their weighted unit label embeddings, by the cosines of the two.

    cosine:      mean_i sum_j w_ij (1 - cos_ij)
    mse:         mean_i |x_i - sum_j w_ij e_j|^2; |x_i - e_j|^2 weighted by w_ij would be twice `cosine`
    contrastive: cross entropy of w with the softmax of scale * cos over the labels, and over the images of the batch,
                 in the mean
    """
    if kind == "cosine":
        return (weights * (1 - cosines)).sum(-1).mean()
    if kind == "mse":
        return (1 - 2 * (weights * cosines).sum(-1) + (weights @ embeddings).square().sum(-1)).mean()
    logits = scale * cosines
    log_shares = F.log_softmax(logits, -1) + F.log_softmax(logits, -2)
    return -(weights * log_shares).sum(-1).mean() / 2


def spread(weights: Tensor, count: Tensor) -> Tensor:
    """(B,) length of the weights' deviation from their mean over an image's `count` candidates."""
    return (weights.square().sum(-1) - weights.sum(-1).square() / count).clamp(min=0).sqrt()
