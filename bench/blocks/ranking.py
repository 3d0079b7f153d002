"""Choice of the classes that a ranking loss compares: a positive by the soft labels, a negative among violators.

All choices follow uniform random numbers that the caller passes as `dice`, one number for each row of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def of_class(values: Tensor, number: Tensor) -> Tensor:
    """(B, K), (B,) -> (B,) the value of each row at the class with the row's number."""
    return values.gather(-1, number.unsqueeze(-1)).squeeze(-1)


def draw_class(soft: Tensor, dice: Tensor) -> Tensor:
    """(B, K) soft labels, (B,) dice -> (B,) a class drawn by the soft labels; never one of weight zero."""
    total = soft.cumsum(-1)
    passed = (total <= dice.unsqueeze(-1) * total[..., -1:]) & (total < total[..., -1:])
    return passed.sum(-1)


def draw_marked(marked: Tensor, dice: Tensor) -> Tensor:
    """(B, K) bool, (B,) dice -> (B,) a marked class, all equally likely; class 0 where none is marked."""
    count = marked.sum(-1)
    place = torch.minimum((dice * count).long(), count - 1)
    return (marked.cumsum(-1) <= place.unsqueeze(-1)).sum(-1)


def first_marked(marked: Tensor) -> Tensor:
    """(B, K) bool -> (B,) the first marked class; class 0 where none is marked."""
    return marked.to(torch.uint8).argmax(-1)


def trials(hits: Tensor, classes: Tensor, dice: Tensor) -> Tensor:
    """(B,) how many draws with replacement from `classes` classes it takes to meet one of `hits` of them.

    The number of draws has a geometric distribution, so one uniform number replaces the draws. It is at most
    `classes` + 1, which also stands for no hit at all.
    """
    share = hits / classes.clamp(min=1)
    misses = torch.log1p(-dice) / torch.log1p(-share)
    limit = classes.to(share.dtype)
    return (torch.where(hits > 0, misses, limit).floor().minimum(limit) + 1).long()


def rank_weights(classes: int, like: Tensor) -> Tensor:
    """(C,) 0, 1, 1 + 1/2, ...: the cost of the ranks 0 .. C - 1."""
    ranks = torch.arange(1, classes, device=like.device, dtype=like.dtype)
    return torch.cat([like.new_zeros(1), (1 / ranks).cumsum(0)])
