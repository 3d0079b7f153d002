"""Which classes a ranking loss compares: a positive by its soft labels, a negative among those that come too close.

Everything is chosen by uniform numbers that the caller throws, one row of a batch at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor


def of_class(values: Tensor, number: Tensor) -> Tensor:
    """(B, K), (B,) -> (B,) each row's value at its own class."""
    return values.gather(-1, number.unsqueeze(-1)).squeeze(-1)


def draw_class(soft: Tensor, dice: Tensor) -> Tensor:
    """(B, K) soft labels, (B,) -> (B,) a class drawn by them; never one of weight zero."""
    total = soft.cumsum(-1)
    passed = (total <= dice.unsqueeze(-1) * total[..., -1:]) & (total < total[..., -1:])
    return passed.sum(-1)


def member(among: Tensor, dice: Tensor) -> Tensor:
    """(B, K) bool, (B,) -> (B,) a marked class, all equally likely; class 0 where none is marked."""
    count = among.sum(-1)
    place = torch.minimum((dice * count).long(), count - 1)
    return (among.cumsum(-1) <= place.unsqueeze(-1)).sum(-1)


def first(among: Tensor) -> Tensor:
    """(B, K) bool -> (B,) the first marked class; class 0 where none is marked."""
    return among.to(torch.uint8).argmax(-1)


def trials(hits: Tensor, classes: Tensor, dice: Tensor) -> Tensor:
    """(B,) how many draws with replacement it takes to meet one of `hits` among so many classes.

    The number of draws is geometric, so one uniform number replaces drawing them; `classes` + 1 where none would hit.
    """
    share = hits / classes.clamp(min=1)
    misses = torch.log1p(-dice) / torch.log1p(-share)
    most = classes.to(share.dtype)
    return (torch.where(hits > 0, misses, most).floor().minimum(most) + 1).long()


def rank_weights(classes: int, like: Tensor) -> Tensor:
    """(C,) 0, 1, 1 + 1/2, ...: what a rank costs, for ranks 0 .. C - 1."""
    ranks = torch.arange(1, classes, device=like.device, dtype=like.dtype)
    return torch.cat([like.new_zeros(1), (1 / ranks).cumsum(0)])
