"""Means over some of the images of a batch."""

from __future__ import annotations

from torch import Tensor


def mean_over(chosen: Tensor, values: Tensor) -> Tensor:
    """Mean of the values (B,) of the chosen images (B,); 0 where none is."""
    return (chosen * values).sum() / chosen.sum().clamp(min=1)
