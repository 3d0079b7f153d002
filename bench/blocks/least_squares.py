"""Linear models that are solved rather than trained, on the second moments of the images.

Second moments are summed and factored in double precision: with unit features of a narrow cone their eigenvalues
spread over six powers of ten, single precision has seven digits, and a GPU's fast products have three. All functions
are written for one run and work under `torch.func.vmap`, which computes what runs share only once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 2**15
"""Images that are turned into double precision at once."""
NOISE = 1e-12
"""Share of the largest eigenvalue below which an eigenvalue in double precision is rounding."""

Number = float | Tensor
Slope = Callable[[Tensor], Tensor]


def moments(left: Tensor, right: Tensor) -> Tensor:
    """(N, d), (N, m) -> (d, m) left^T right, in double precision."""
    pairs = zip(torch.split(left, ROWS), torch.split(right, ROWS), strict=True)
    total = left.new_zeros(left.shape[-1], right.shape[-1], dtype=torch.float64)
    for some, others in pairs:
        total = total + some.double().T @ others.double()
    return total


def eigen(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """(n, n) -> (n,) eigenvalues, none below zero, and (n, n) eigenvectors; not a number where the matrix is not."""
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
    def of(cls, rows: Tensor, least: float = NOISE) -> Spectrum:
        """From the smaller of X^T X and X X^T; directions below that share of the largest eigenvalue are left out."""
        images, width = rows.shape
        if images >= width:
            values, basis = eigen(moments(rows, rows))
        else:
            values, images_basis = eigen(moments(rows.T, rows.T))
            basis = rows.double().T @ images_basis / torch.where(values > 0, values, torch.ones_like(values)).sqrt()
        kept = ~(values <= least * values.max())
        return cls(basis * kept, values * kept)

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

    `slope` is its gradient. `bound` applies the inverse of a matrix that its curvature nowhere exceeds: every step
    goes to the minimum of a parabola above the function. Momentum starts anew where it points uphill (O'Donoghue and
    Candes, 2015), for each run by itself.
    """
    here = ahead = start
    pace = torch.ones_like(start.sum())
    for _ in range(steps):
        uphill = slope(ahead)
        landed = ahead - bound(uphill)
        move = landed - here
        overshot = (uphill * move).sum() > 0
        faster = torch.where(overshot, torch.ones_like(pace), (1 + (1 + 4 * pace**2).sqrt()) / 2)
        momentum = torch.where(overshot, torch.zeros_like(pace), (pace - 1) / faster)
        here, ahead, pace = landed, landed + momentum * move, faster
    return here
