"""Linear models that are solved rather than trained, on the second moments of the images.

Second moments are summed and factored in double precision: with unit features of a narrow cone their eigenvalues
spread over six powers of ten, single precision has seven digits, and a GPU's fast products have three. All functions
are written for one run and work under `torch.func.vmap`, which computes only once what the runs share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_AT_ONCE = 2**15
"""Rows that are converted to double precision at once."""
ROUNDING_SHARE = 1e-12
"""An eigenvalue in double precision below this share of the largest one is rounding."""

Number = float | Tensor
Slope = Callable[[Tensor], Tensor]


def moments(left: Tensor, right: Tensor) -> Tensor:
    """(N, d), (N, m) -> (d, m) left^T right, in double precision."""
    pairs = zip(torch.split(left, ROWS_AT_ONCE), torch.split(right, ROWS_AT_ONCE), strict=True)
    total = left.new_zeros(left.shape[-1], right.shape[-1], dtype=torch.float64)
    for left_rows, right_rows in pairs:
        total = total + left_rows.double().T @ right_rows.double()
    return total


def eigen(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """(n, n) -> (n,) eigenvalues, none below zero, and (n, n) eigenvectors; NaN where the matrix is not finite."""
    sound = symmetric.isfinite().all()
    # LAPACK refuses a whole stack for one run that is not finite.
    values, vectors = torch.linalg.eigh(torch.where(sound, symmetric, torch.zeros_like(symmetric)))
    return torch.where(sound, values.clamp(min=0), torch.full_like(values, torch.nan)), vectors


@dataclass(frozen=True)
class Spectrum:
    """X^T X = basis diag(values) basis^T of rows X (N, d), with r = min(N, d) directions, in double precision."""

    basis: Tensor
    """(d, r)"""
    values: Tensor
    """(r,)"""

    @classmethod
    def of(cls, rows: Tensor, cutoff: float = ROUNDING_SHARE) -> Spectrum:
        """From the smaller of X^T X and X X^T, without directions below `cutoff` times the largest eigenvalue."""
        images, width = rows.shape
        if images >= width:
            values, basis = eigen(moments(rows, rows))
        else:
            values, images_basis = eigen(moments(rows.T, rows.T))
            basis = rows.double().T @ images_basis / torch.where(values > 0, values, torch.ones_like(values)).sqrt()
        significant = ~(values <= cutoff * values.max())
        return cls(basis * significant, values * significant)

    def solve(self, right: Tensor, penalty: Number) -> Tensor:
        """(X^T X + penalty I)^-1 right, for columns (d, m) in the span of the rows."""
        return self.basis @ ((self.basis.T @ right) / (self.values + penalty).unsqueeze(-1))

    def to(self, dtype: torch.dtype) -> Spectrum:
        """The same in another precision."""
        return Spectrum(self.basis.to(dtype), self.values.to(dtype))


def ridge(rows: Tensor, targets: Tensor, penalty: Number) -> Tensor:
    """argmin_W |X W - Y|^2 + penalty |W|^2: (N, d), (N, m) -> (d, m), in double precision."""
    return Spectrum.of(rows).solve(moments(rows, targets), penalty)


def minimise(slope: Slope, bound: Slope, start: Tensor, steps: int) -> Tensor:
    """The minimum of a smooth convex function of a tensor, by a fixed number of accelerated steps.

    `slope` is the gradient of the function. `bound` applies the inverse of a matrix that its curvature nowhere exceeds,
    so every step goes to the minimum of a parabola above the function. Momentum starts anew where it points uphill
    (O'Donoghue and Candes, 2015), for each run by itself.
    """
    current = ahead = start
    pace = torch.ones_like(start.sum())
    for _ in range(steps):
        uphill = slope(ahead)
        landed = ahead - bound(uphill)
        move = landed - current
        overshot = (uphill * move).sum() > 0
        faster = torch.where(overshot, torch.ones_like(pace), (1 + (1 + 4 * pace**2).sqrt()) / 2)
        momentum = torch.where(overshot, torch.zeros_like(pace), (pace - 1) / faster)
        current, ahead, pace = landed, landed + momentum * move, faster
    return current
