"""The nearest point of a convex hull is the one that general solvers find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_space import CLASS, IMAGE
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls
from torch import Tensor

from pzsl_bench.synonyms.hull_distance import nearest_squares, nearest_weights


def problem(points: Tensor, images: Tensor, there: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The inner products of (C, m, d) names and (B, d) images."""
    dots = torch.einsum("bd,cmd->bcm", images, points)
    allowed = torch.ones(points.shape[:2], dtype=torch.bool) if there is None else there
    squares = images.square().sum(-1)[:, None].expand(dots.shape[:2])
    return points @ points.transpose(1, 2), dots, allowed.expand_as(dots), squares


def drawn(seed: int, names: int, width: int, classes: int = 3, images: int = 4) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(classes, 1, width)) + rng.normal(size=(classes, names, width))
    rows = rng.normal(size=(images, width))
    return (
        torch.from_numpy(points / np.linalg.norm(points, axis=-1, keepdims=True)),
        torch.from_numpy(rows / np.linalg.norm(rows, axis=-1, keepdims=True)),
    )


def test_the_nearest_point_of_three_names() -> None:
    weights = nearest_weights(*problem(CLASS[:, :3], IMAGE))
    torch.testing.assert_close(weights[0, 0], torch.tensor([0.37944370, 0.0, 0.62055630]).double(), atol=1e-6, rtol=0)
    square = nearest_squares(*problem(CLASS[:, :3], IMAGE))
    assert square.item() ** 0.5 == pytest.approx(0.62814039, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 9))
def test_the_distance_is_that_of_scipy_s_non_negative_least_squares(seed: int, names: int, width: int) -> None:
    points, images = drawn(seed, names, width)
    squares = nearest_squares(*problem(points, images))
    for b, image in enumerate(images.numpy()):
        for c, rows in enumerate(points.numpy()):
            tall = np.concatenate([(rows - image).T, np.ones((1, names))])
            weights, _ = nnls(tall, np.eye(width + 1)[-1])
            nearest = weights @ rows / weights.sum()
            assert squares[b, c].item() ** 0.5 == pytest.approx(np.linalg.norm(image - nearest), abs=1e-6)


def test_the_distance_is_that_of_a_general_constrained_solver() -> None:
    points, images = drawn(5, 6, 8)
    squares = nearest_squares(*problem(points, images))
    for b, image in enumerate(images.numpy()):
        for c, rows in enumerate(points.numpy()):
            solved = minimize(
                lambda w, rows=rows, image=image: np.square(image - w @ rows).sum(),
                np.full(6, 1 / 6),
                bounds=[(0, 1)] * 6,
                constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
                options={"ftol": 1e-14, "maxiter": 500},
                method="SLSQP",
            )
            assert squares[b, c].item() == pytest.approx(solved.fun, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_weights_are_shares_of_the_names_that_there_are(seed: int, names: int) -> None:
    points, images = drawn(seed, names, 4)
    there = torch.from_numpy(np.random.default_rng(seed).random((3, names)) < 0.6)
    there[:, 0] = True
    weights = nearest_weights(*problem(points, images, there))
    assert (weights >= 0).all()
    assert not weights[~there.expand_as(weights)].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 3).double())


def test_an_image_inside_of_the_hull_is_at_no_distance() -> None:
    points, _ = drawn(1, 5, 6)
    inside = points.mean(1)
    squares = nearest_squares(*problem(points, inside))
    assert squares.diagonal().max() < 1e-9


def test_names_that_say_the_same_do_no_harm() -> None:
    points, images = drawn(2, 4, 5)
    doubled = torch.cat([points, points, points + 1e-12], dim=1)
    torch.testing.assert_close(
        nearest_squares(*problem(doubled, images)), nearest_squares(*problem(points, images)), atol=1e-8, rtol=0
    )


def test_thirty_names_in_few_dimensions_are_solved() -> None:
    points, images = drawn(3, 30, 3, classes=6, images=40)
    squares = nearest_squares(*problem(points.float(), images.float()))
    assert squares.isfinite().all()
    torch.testing.assert_close(squares.double(), nearest_squares(*problem(points, images)), atol=1e-5, rtol=0)
