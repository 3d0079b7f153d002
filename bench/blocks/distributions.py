"""Normal and beta random numbers from uniform ones, for methods that use dice in a step."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normal(uniforms: Tensor) -> Tensor:
    """(..., 2n) uniform numbers -> (..., n) standard normal ones (Box-Muller)."""
    radius, angle = uniforms.chunk(2, dim=-1)
    # Uniform numbers lie below one, so the logarithm is finite.
    return (-2 * torch.log1p(-radius)).sqrt() * torch.cos(2 * math.pi * angle)


def beta(uniforms: Tensor, strength: int) -> Tensor:
    """Beta(a, a) for a whole a: the middle one of 2a - 1 uniform numbers on the last axis."""
    if uniforms.shape[-1] != 2 * strength - 1:
        raise ValueError(f"Beta({strength}, {strength}) is made from {2 * strength - 1} uniform numbers")
    return uniforms.median(dim=-1).values
