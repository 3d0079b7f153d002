"""Linear solves: right where they are easy, sound where they are not, and for each run by itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, vmap

from pzsl_bench.blocks import least_squares
from pzsl_bench.blocks.least_squares import PENALTIES, Residuals, Spectrum, eigen, minimise, moments, ridge

SIZES = st.integers(1, 8)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(SIZES, SIZES, SIZES, st.floats(1e-3, 1e3), st.integers(0, 99))
def test_ridge_is_the_normal_equations_for_any_shape(
    images: int, width: int, outputs: int, penalty: float, seed: int
) -> None:
    rows, targets = drawn(images, width, seed=seed), drawn(images, outputs, seed=seed + 100)
    normal = rows.T @ rows + penalty * torch.eye(width, dtype=torch.float64)
    expected = torch.linalg.solve(normal, rows.T @ targets)
    torch.testing.assert_close(ridge(rows, targets, penalty), expected, atol=1e-8, rtol=1e-8)


def test_columns_that_repeat_are_no_trouble() -> None:
    rows = drawn(30, 3)[:, [0, 1, 2, 0, 0]]
    weight = ridge(rows, drawn(30, 2, seed=1), 1e-9)
    torch.testing.assert_close(weight[0], weight[3], atol=1e-4, rtol=1e-4)
    assert weight.abs().max() < 10


def test_single_precision_features_in_a_narrow_cone_are_solved_as_well_as_double_ones() -> None:
    axis = torch.nn.functional.normalize(drawn(1, 64, seed=1))
    spread = 10 ** torch.linspace(-3, 0, 64, dtype=torch.float64)
    rows = torch.nn.functional.normalize(5 * axis + spread * drawn(20000, 64)).float()
    targets = drawn(20000, 3, seed=2).float()
    weight = ridge(rows, targets, 1e-3)
    normal = rows.double().T @ rows.double() + 1e-3 * torch.eye(64, dtype=torch.float64)
    expected = torch.linalg.solve(normal, rows.double().T @ targets.double())
    torch.testing.assert_close(weight, expected, atol=1e-6 * expected.abs().max().item(), rtol=1e-6)


def test_moments_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = drawn(23, 4), drawn(23, 2, seed=1)
    monkeypatch.setattr(least_squares, "ROWS_AT_ONCE", 7)
    torch.testing.assert_close(moments(left, right), left.T @ right)


@pytest.mark.parametrize("images", [3, 20])
def test_a_spectrum_gives_the_second_moments_back(images: int) -> None:
    rows = drawn(images, 6)
    spectrum = Spectrum.of(rows)
    torch.testing.assert_close((spectrum.basis * spectrum.values) @ spectrum.basis.T, rows.T @ rows)


def test_directions_of_rounding_are_left_out() -> None:
    rows = torch.cat([drawn(20, 2), 1e-8 * drawn(20, 2, seed=1)], dim=1)
    assert (Spectrum.of(rows, cutoff=1e-6).values > 0).sum() == 2
    assert (Spectrum.of(rows, cutoff=0.0).values > 0).sum() == 4


def test_a_run_that_is_not_finite_leaves_the_others_alone() -> None:
    stack = torch.stack([drawn(9, 4), drawn(9, 4, seed=1)])
    stack[1, 0, 0] = torch.nan
    solved = vmap(lambda rows: ridge(rows, rows[:, :1], 0.1))(stack)
    torch.testing.assert_close(solved[0], ridge(stack[0], stack[0][:, :1], 0.1))
    assert solved[1].isnan().any()


def test_eigenvalues_are_never_below_zero() -> None:
    assert eigen(torch.diag(torch.tensor([-1e-9, 1.0])))[0].tolist() == [0.0, 1.0]


def softmax_regression(images: Tensor, soft: Tensor, steps: int) -> Tensor:
    spectrum = Spectrum.of(images)
    start = torch.zeros(images.shape[1], soft.shape[1], dtype=torch.float64)
    return minimise(
        lambda w: images.T @ ((images @ w).softmax(-1) - soft) + 0.1 * w,
        lambda slope: 2 * spectrum.solve(slope, 0.2),
        start,
        steps,
    )


def test_a_smooth_convex_function_is_minimised() -> None:
    images, soft = drawn(50, 4), drawn(50, 3, seed=1).mul(3).softmax(-1)
    weight = softmax_regression(images, soft, 100)
    slope = grad(lambda w: -(soft * (images @ w).log_softmax(-1)).sum() + 0.05 * w.square().sum())(weight)
    assert slope.abs().max() < 1e-10


def test_momentum_pays() -> None:
    # One direction is 400 times as steep as the bound believes of the other.
    steep = torch.tensor([1.0, 0.0025], dtype=torch.float64)
    start = torch.ones(2, dtype=torch.float64)
    assert minimise(lambda w: steep * w, lambda slope: slope, start, 100)[1].abs() < 0.05 * (1 - 0.0025) ** 100


def test_every_run_restarts_by_itself() -> None:
    images, soft = drawn(3, 30, 4), drawn(3, 30, 3, seed=1).mul(torch.tensor([1.0, 5.0, 20.0])[:, None, None])
    together = vmap(lambda x, q: softmax_regression(x, q, 25))(images, soft.softmax(-1))
    for run in range(3):
        alone = softmax_regression(images[run], soft[run].softmax(-1), 25)
        torch.testing.assert_close(together[run], alone, atol=1e-9, rtol=1e-9)


def hat(rows: Tensor, penalty: Tensor) -> Tensor:
    """(N, N) what a ridge of that penalty predicts from the targets of all rows."""
    moments_ = rows.T @ rows + penalty * torch.eye(rows.shape[1], dtype=torch.float64)
    return rows @ torch.linalg.solve(moments_, rows.T)


def left_out(smoother: Tensor) -> Tensor:
    """The same without a row's own target, all rows weighing as much in their own prediction."""
    own = smoother.diagonal().mean()
    return (smoother - own * torch.eye(len(smoother), dtype=torch.float64)) / (1 - own)


@pytest.mark.parametrize("images", [5, 12, 40])
def test_the_fitted_penalty_predicts_rows_best_that_were_left_out(images: int) -> None:
    generator = torch.Generator().manual_seed(images)
    rows = torch.randn(images, 9, generator=generator, dtype=torch.float64)
    targets = rows[:, :3] + 2 * torch.randn(images, 3, generator=generator, dtype=torch.float64)
    space = Spectrum.of(rows)
    penalties = PENALTIES * space.unit
    misses = torch.stack([(targets - left_out(hat(rows, p)) @ targets).square().sum() for p in penalties])
    found = space.fitted_penalty(moments(rows, targets), targets.square().sum(), images)
    torch.testing.assert_close(found, penalties[misses.argmin()])
    assert penalties[0] < found < penalties[-1]


def test_the_fitted_penalty_of_two_sides_leaves_out_a_row_and_a_column() -> None:
    generator = torch.Generator().manual_seed(2)
    rows, columns = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((30, 6), (8, 5)))
    noise = 6 * torch.randn(30, 8, generator=generator, dtype=torch.float64)
    targets = rows[:, :5] @ columns.T + noise
    row_space, column_space = Spectrum.of(rows), Spectrum.of(columns)
    residuals = Residuals(moments(rows, targets), moments(targets, targets))
    found = residuals.fitted_penalty(row_space, 30, columns, column_space, 2.0)
    # What all columns of a row share counts for nothing.
    targets = targets - targets.mean(-1, keepdim=True)
    among = left_out(hat(columns, torch.tensor(2.0)))
    penalties = PENALTIES * row_space.unit
    misses = torch.stack([(targets - left_out(hat(rows, p)) @ targets @ among).square().sum() for p in penalties])
    torch.testing.assert_close(found, penalties[misses.argmin()])
    assert penalties[0] < found < penalties[-1]


def test_a_unit_of_penalty_grows_with_the_number_of_rows() -> None:
    rows = torch.randn(30, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(Spectrum.of(torch.cat([rows] * 4)).unit, 4 * Spectrum.of(rows).unit)
    assert Spectrum.of(torch.zeros(4, 3)).unit == 1
