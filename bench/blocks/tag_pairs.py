"""Ranking losses as sums over pairs of classes: those that should score lower against those that should score higher.

Value and slopes are computed without autograd, for a part of the upper classes at a time, and then handed to autograd
as they are. A thousand tags thus need neither a (B, K, K) tensor nor a second pass through it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Kernel = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gaps s_n - s_p -> their costs, and the slopes of the costs."""
GAPS_AT_ONCE = 2**21
"""Gaps of a run that one tensor may hold."""


def logistic(gap: Tensor) -> tuple[Tensor, Tensor]:
    """log(1 + e^gap), however large the gap."""
    return F.softplus(gap), gap.sigmoid()


def hinge(margin: float | Tensor) -> Kernel:
    """max(0, margin + gap)."""

    def of(gap: Tensor) -> tuple[Tensor, Tensor]:
        missing = gap + margin
        return missing.relu(), (missing > 0).to(gap.dtype)

    return of


def pair_sums(scores: Tensor, upper: Tensor, lower: Tensor, max_upper: int, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """(B,) sums over pairs (p, n) of upper_p lower_n kernel(s_n - s_p), and (B, K) their slopes in the scores.

    `scores`, `upper` and `lower` are (B, K); `max_upper` is the largest number of classes of an image
    with an upper weight, or 0 where that is not known. No class is paired with itself.
    """
    images, classes = scores.shape
    with torch.no_grad():
        scores = scores.detach()
        count = min(max_upper or classes, classes)
        weights, places = upper.topk(count, dim=-1)
        tops = scores.gather(-1, places)
        step = max(1, GAPS_AT_ONCE // (images * classes))
        value, falling, rising = scores.new_zeros(images), [], torch.zeros_like(scores)
        for start in range(0, count, step):
            part = slice(start, start + step)
            cost, slope = kernel(scores.unsqueeze(-2) - tops[..., part].unsqueeze(-1))
            share = weights[..., part]
            value = value + (share * (cost @ lower.unsqueeze(-1)).squeeze(-1)).sum(-1)
            falling.append(share * (slope @ lower.unsqueeze(-1)).squeeze(-1))
            rising = rising + (share.unsqueeze(-2) @ slope).squeeze(-2)
        slopes = lower * rising - torch.zeros_like(scores).scatter(-1, places, torch.cat(falling, dim=-1))
        itself, _ = kernel(torch.zeros_like(scores))
        return value - (upper * lower * itself).sum(-1), slopes


def attached(value: Tensor, slopes: Tensor, scores: Tensor) -> Tensor:
    """(B,) the value, with the given slopes (B, K) as its gradient in the scores."""
    return value + (slopes * (scores - scores.detach())).sum(-1)
