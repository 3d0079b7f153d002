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

PENALTIES = 10 ** torch.linspace(-3, 5, 33, dtype=torch.float64)
"""Penalties that are compared, in units of the mean eigenvalue."""
CAUTION = 3.0
"""Factor of fitted penalties: ranking classes that were never seen asks for more than the squared error of seen ones.
Chosen on rehearsals of real features."""

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

    @property
    def unit(self) -> Tensor:
        """The mean of the eigenvalues above zero: a penalty in this unit does not depend on the number of rows."""
        mean = self.values.sum() / (self.values > 0).sum().clamp(min=1)
        return torch.where(mean > 0, mean, torch.ones_like(mean))

    @property
    def spread(self) -> Tensor:
        """(r,) lengths of the columns of X basis, 1 for those of zeros; divided by them the others are orthonormal."""
        return torch.where(self.values > 0, self.values, torch.ones_like(self.values)).sqrt()

    def left_out(self, penalties: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """(P,) penalties -> (P, r) and (P,): a target's share that the other rows predict, in and off the span.

        This is generalised cross-validation: every row weighs as much in its own prediction as the average row.
        """
        fitted = self.values / (self.values + penalties.unsqueeze(-1))
        self_weight = fitted.sum(-1, keepdim=True) / rows
        within = (fitted - self_weight) / (1 - self_weight)
        return within, -(self_weight / (1 - self_weight)).squeeze(-1)

    def fitted_penalty(self, right: Tensor, total: Tensor, rows: int) -> Tensor:
        """The penalty, of `PENALTIES` units, that predicts targets R best where a row is left out.

        From X^T R (d, m) and the sum of squares of R.
        """
        along = (self.basis.T @ right).square().sum(-1) / self.spread.square() * (self.values > 0)
        steps = PENALTIES.to(self.values)
        within, off = self.left_out(steps * self.unit, rows)
        misses = (1 - within).square() @ along + (1 - off).square() * (total - along.sum())
        return self.unit * steps[misses.argmin()]

    def solve(self, right: Tensor, penalty: Number) -> Tensor:
        """(X^T X + penalty I)^-1 right, for columns (d, m) in the span of the rows."""
        return self.basis @ ((self.basis.T @ right) / (self.values + penalty).unsqueeze(-1))

    def to(self, dtype: torch.dtype) -> Spectrum:
        """The same in another precision."""
        return Spectrum(self.basis.to(dtype), self.values.to(dtype))


def ridge(rows: Tensor, targets: Tensor, penalty: Number) -> Tensor:
    """argmin_W |X W - Y|^2 + penalty |W|^2: (N, d), (N, m) -> (d, m), in double precision."""
    return Spectrum.of(rows).solve(moments(rows, targets), penalty)


@dataclass(frozen=True)
class Residuals:
    """Moments of what a map between N rows and K columns is to explain: targets R (N, K)."""

    of_rows: Tensor
    """(d, K) X^T R."""
    of_columns: Tensor
    """(K, K) R^T R."""

    def fitted_penalty(self, rows: Spectrum, count: int, columns: Tensor, space: Spectrum, penalty: Number) -> Tensor:
        """The penalty on the row side, of `PENALTIES` units, that predicts R best where row and column are left out.

        `columns` (K, a) are the descriptions of the columns, of spectrum `space`, with their own penalty. What all
        columns of a row share is left out: it ranks none above another.
        """
        images_of, among = centred(self.of_rows), centred(centred(self.of_columns).T)
        left = rows.basis.T @ images_of / rows.spread.unsqueeze(-1) * (rows.values > 0).unsqueeze(-1)
        right = columns.double() @ space.basis / space.spread
        both = (left @ right).square()
        left_only = left.square().sum(-1) - both.sum(-1)
        right_only = (right * (among @ right)).sum(0) - both.sum(0)
        neither = among.diagonal().sum() - both.sum() - left_only.sum() - right_only.sum()
        steps = PENALTIES.to(rows.values)
        a, off_rows = rows.left_out(steps * rows.unit, count)
        b, off_columns = space.left_out(torch.as_tensor(penalty).to(steps).reshape(1), len(columns))
        b = b.squeeze(0)
        misses = (1 - a.unsqueeze(-1) * b).square().mul(both).sum((-1, -2))
        misses = (
            misses + (1 - a * off_columns).square() @ left_only + (1 - off_rows.unsqueeze(-1) * b).square() @ right_only
        )
        misses = misses + (1 - off_rows * off_columns).square() * neither
        return rows.unit * steps[misses.argmin()]


def centred(columns: Tensor) -> Tensor:
    """(m, K) without the mean of every row."""
    return columns - columns.mean(-1, keepdim=True)


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
