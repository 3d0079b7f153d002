"""SynC agrees with the authors' release, through the functions that the harness calls.

The file also holds the Crammer-Singer and the structured loss, which the harness does not have (see the method's
deviations), and the distances that only the structured loss uses.
"""

from __future__ import annotations

import torch
from replay import agree, double, fixture
from torch import Tensor
from torch.func import grad
from torch.nn import functional as F

from pzsl_bench.contract import Study, configure
from pzsl_bench.methods.sync import (
    SynC,
    hinge_slope,
    median_distance,
    phantom_classifiers,
    squared_distances,
    unit_rows,
)

FIXTURE = fixture("sync")
GIVEN, EXPECTED = FIXTURE["inputs"], FIXTURE["expected"]
TOLERANCE = {"atol": FIXTURE["tolerance"], "rtol": 0.0}
K, LAM = GIVEN["n_seen"], GIVEN["lam"]
IMAGES, TEXTS = double(GIVEN["X"]), double(GIVEN["signatures"])
LABELS = F.one_hot(double(GIVEN["y_1based"]).long() - 1).double()
SIGNATURES = unit_rows(TEXTS)
UNIT = median_distance(SIGNATURES)


def sync(**settings: object) -> SynC:
    method = configure("sync", {"lam": LAM, "unit_images": False, "scale": GIVEN["sim_scale"], **settings})
    assert isinstance(method, SynC)
    return method


def objective(weight: Tensor) -> Tensor:
    """The one-versus-other objective of classifiers (K, d), as the paper writes it."""
    hinge = (1 - (2 * LABELS - 1) * (IMAGES @ weight.T)).relu()
    return hinge.square().mean() + LAM / 2 * weight.square().sum()


def study() -> Study:
    return Study(IMAGES, LABELS > 0, LABELS, TEXTS[:K], ("",) * K, 1.0)


def test_signatures_and_similarities_equal_the_release() -> None:
    agree(SIGNATURES / UNIT, EXPECTED["signatures_scaled"], TOLERANCE)
    near = squared_distances(SIGNATURES / UNIT, SIGNATURES[:K] / UNIT)
    agree(near[:K].sqrt(), EXPECTED["class_distance_seen"], TOLERANCE)
    agree((-GIVEN["rbf_unnormalised_scale"] * near[K:]).exp(), EXPECTED["sim_unseen_seen_rbf"], TOLERANCE)
    similarity = sync().similarity(SIGNATURES, SIGNATURES[:K], UNIT)
    agree(similarity[:K], EXPECTED["sim_seen_seen"], TOLERANCE)
    agree(similarity[K:], EXPECTED["sim_unseen_seen"], TOLERANCE)


def test_bases_and_scores_equal_the_release() -> None:
    weight, seen = double(GIVEN["W_eval"]), SIGNATURES[:K]
    bases = phantom_classifiers(sync().similarity(seen, seen, UNIT), weight)
    agree(bases, EXPECTED["V"], TOLERANCE)
    scores = sync().score({"bases": bases, "signatures": seen, "unit": UNIT}, double(GIVEN["X_test"]), TEXTS)
    agree(scores[:, :K], EXPECTED["scores_seen"], TOLERANCE)
    agree(scores[:, K:], EXPECTED["scores_unseen"], TOLERANCE)


def test_the_slope_that_is_followed_is_that_of_the_released_objective() -> None:
    weight = double(GIVEN["W_eval"])
    agree(objective(weight), EXPECTED["ovo"]["f"], TOLERANCE)
    slope = 2 * hinge_slope(IMAGES @ weight.T, LABELS, 1 - LABELS).T @ IMAGES / LABELS.numel() + LAM * weight
    agree(slope, EXPECTED["ovo"]["grad"], TOLERANCE)


def test_the_solution_is_the_optimum() -> None:
    method = sync(steps=100)
    state = method.solve(study())
    weight = method.similarity(state["signatures"], state["signatures"], state["unit"]) @ state["bases"]
    recorded = double(EXPECTED["ovo_optimum"]["W"])
    assert grad(objective)(weight).norm() < 1e-12
    agree(objective(weight), EXPECTED["ovo_optimum"]["f"], TOLERANCE)
    # The recorded optimum stops at a slope of 2e-9; an objective as convex as this one allows it so much distance.
    assert (weight - recorded).norm() <= grad(objective)(recorded).norm() / LAM
    agree(weight, recorded.tolist(), {"atol": 2e-7, "rtol": 0.0})


def test_candidates_are_no_negatives_when_asked_so() -> None:
    everything = Study(IMAGES, torch.ones_like(LABELS).bool(), LABELS, TEXTS[:K], ("",) * K, 1.0)
    state = sync(negatives="outside", lam=1e-3, steps=100).solve(everything)
    pushed = sync(negatives="expected", lam=1e-3, steps=100).solve(everything)
    scores = sync().score(state, IMAGES, TEXTS[:K])
    assert scores[LABELS.bool()].min() > 0.5
    assert sync().score(pushed, IMAGES, TEXTS[:K])[~LABELS.bool()].mean() < scores[~LABELS.bool()].mean()


def test_identical_signatures_are_no_distance() -> None:
    rows = double([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert median_distance(rows) == torch.tensor(2.0, dtype=torch.float64).sqrt()
    assert median_distance(rows[:2]) == 1
    assert median_distance(rows[:1]) == 1
