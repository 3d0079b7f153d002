"""Asymmetric binary losses: tags that are predicted well count less, and absent ones among them still less."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_BASE = 1e-8
"""The smallest base of a power, whose slope would be infinite at 0."""
Number = float | Tensor


def asymmetric(
    logits: Tensor, kinds: Sequence[tuple[Tensor, Number]], shift: Number, differentiate_focus: bool = False
) -> Tensor:
    """(B, K) loss of every entry.

    The first of `kinds` are the present tags, all others kinds of absent ones: each a (B, K) weight and an exponent.
    present: -(1 - p)^exponent log p;  absent: -p_m^exponent log(1 - p_m), p_m = max(0, p - shift).
    """
    (present, focus), *absent = kinds
    probability = logits.sigmoid()
    margin = torch.as_tensor(shift, dtype=logits.dtype, device=logits.device)
    shifted = (probability - margin).relu()
    # log(1 - p_m) is log(sigmoid(-z) + shift) where that is below one: exact even where sigmoid(-z) is 0.
    below = torch.logaddexp(F.logsigmoid(-logits), margin.log())
    log_absent = torch.where(shifted > 0, below, torch.zeros_like(below))
    total = -present * _focus(1 - probability, focus, differentiate_focus) * F.logsigmoid(logits)
    for weight, exponent in absent:
        total = total - weight * _focus(shifted, exponent, differentiate_focus) * log_absent
    return total


def _focus(base: Tensor, exponent: Number, differentiate: bool) -> Tensor:
    """base^exponent, 1 where the exponent is 0."""
    base = base if differentiate else base.detach()
    power = torch.as_tensor(exponent, dtype=base.dtype, device=base.device)
    raised = base.clamp(min=MIN_BASE) ** power
    return torch.where(power > 0, raised, torch.ones_like(raised))
