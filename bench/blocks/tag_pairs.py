"""Sums over pairs of an image's classes: how far those that should lie below come too close to those above.

Value and slopes are computed without a gradient, some of the upper classes at a time, and handed to autograd as they
are: a thousand tags need neither a (B, K, K) tensor nor a second pass through it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Kernel = Callable[[Tensor], tuple[Tensor, Tensor]]
"""What a gap costs, and the slope of that."""
AT_ONCE = 2**21
"""Numbers of a run that one tensor of gaps may hold."""


def logistic(gap: Tensor) -> tuple[Tensor, Tensor]:
    """log(1 + e^gap), however large the gap."""
    return F.softplus(gap), gap.sigmoid()


def hinge(margin: float | Tensor) -> Kernel:
    """max(0, margin + gap)."""

    def of(gap: Tensor) -> tuple[Tensor, Tensor]:
        missing = gap + margin
        return missing.relu(), (missing > 0).to(gap.dtype)

    return of


def pair_sums(scores: Tensor, upper: Tensor, lower: Tensor, most: int, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """(B,) sums over pairs (p, n) of upper_p lower_n kernel(s_n - s_p), and (B, K) their slopes in the scores.

    `scores`, `upper` and `lower` are (B, K); `most` says how many classes of an image have an upper weight at most,
    0 where that is not known. No class is paired with itself.
    """
    images, classes = scores.shape
    with torch.no_grad():
        scores = scores.detach()
        kept = min(most or classes, classes)
        weights, places = upper.topk(kept, dim=-1)
        tops = scores.gather(-1, places)
        step = max(1, AT_ONCE // (images * classes))
        value, falling, rising = scores.new_zeros(images), [], torch.zeros_like(scores)
        for start in range(0, kept, step):
            some = slice(start, start + step)
            cost, slope = kernel(scores.unsqueeze(-2) - tops[..., some].unsqueeze(-1))
            share = weights[..., some]
            value = value + (share * (cost @ lower.unsqueeze(-1)).squeeze(-1)).sum(-1)
            falling.append(share * (slope @ lower.unsqueeze(-1)).squeeze(-1))
            rising = rising + (share.unsqueeze(-2) @ slope).squeeze(-2)
        slopes = lower * rising - torch.zeros_like(scores).scatter(-1, places, torch.cat(falling, dim=-1))
        itself, _ = kernel(torch.zeros_like(scores))
        return value - (upper * lower * itself).sum(-1), slopes


def attached(value: Tensor, slopes: Tensor, scores: Tensor) -> Tensor:
    """(B,) the value, with the given slopes (B, K) as its gradient in the scores."""
    return value + (slopes * (scores - scores.detach())).sum(-1)
