"""ALIM's adjusted label importance: other labels than candidates count too, by a factor that moves with the training.

The factor is chosen such that, for the share of images whose true label is assumed to be missing, the best other label
beats the best candidate.
"""

from __future__ import annotations

import torch
from torch import Tensor

GUARD = 1e-9
"""Added to the score of the best other label, as in the release."""


def adjusted(scores: Tensor, candidates: Tensor, importance: Tensor) -> Tensor:
    """(B, K) scores, those of other labels times their importance."""
    return torch.where(candidates, scores, importance * scores)


def adjusted_logits(logits: Tensor, candidates: Tensor, importance: Tensor) -> Tensor:
    """(B, K) the same of logarithms of scores: finite for all candidates, however far below other labels they are."""
    return torch.where(candidates, logits, logits + importance.log())


def lead(scores: Tensor, candidates: Tensor) -> Tensor:
    """(B,) how many times as high the best candidate scores as the best other label; scores are not negative."""
    return (scores * candidates).amax(-1) / ((scores * ~candidates).amax(-1) + GUARD)


def importance_at(noise: Tensor | float, leads: Tensor) -> Tensor:
    """The importance, at most 1, at which a share `noise` of images (N,) prefers another label; 0 without noise."""
    place = (torch.as_tensor(noise, device=leads.device) * len(leads)).long().clamp(0, len(leads) - 1)
    importance = leads.sort().values.gather(0, place.view(1)).squeeze(0).clamp(max=1)
    return torch.where(torch.as_tensor(noise, device=leads.device) > 0, importance, 0.0)
