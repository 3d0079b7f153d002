"""Softmax regression on soft labels, by a fixed number of steps that a whole stack takes together.

min_W -sum_ic q_ic log p_ic + ridge/2 |W|^2. Its curvature never exceeds X^T X / 2 + ridge (Boehning, 1992), so
accelerated steps with this one matrix solve it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl_bench.blocks.least_squares import Number, Spectrum, minimise
from pzsl_bench.contract import State


def softmax_regression(rows: Tensor, soft: Tensor, ridge: Number, steps: int) -> State:
    """(N, d), (N, K) -> weight (d, K) and bias (K,)."""
    images = with_constant(rows)
    spectrum = Spectrum.of(images, cutoff=10 * torch.finfo(images.dtype).eps).to(images.dtype)

    def slope(weight: Tensor) -> Tensor:
        return images.T @ ((images @ weight).softmax(-1) - soft) + ridge * weight

    start = images.new_zeros(images.shape[-1], soft.shape[-1])
    weight = minimise(slope, lambda uphill: 2 * spectrum.solve(uphill, 2 * ridge), start, steps)
    return {"weight": weight[:-1], "bias": weight[-1]}


def with_constant(features: Tensor) -> Tensor:
    """(N, d) -> (N, d + 1): a column of ones, whose weights are the bias."""
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=-1)
