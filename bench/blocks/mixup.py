"""Mixtures of images and of their labels with those of partners in the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl_bench.blocks.distributions import beta


def mix(rows: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """(B, ...) every row mixed with that of its partner; `share` is the part of the row itself."""
    return share * rows + (1 - share) * rows[partners]


def larger_share(uniforms: Tensor, strength: int) -> Tensor:
    """max(l, 1 - l) for l ~ Beta(strength, strength): the row itself has the larger part of its mixture."""
    share = beta(uniforms, strength)
    return torch.maximum(share, 1 - share)
