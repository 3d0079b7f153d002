"""WiSE-FT merges as its release does, through the score that the judge asks for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from replay import agree, double, fixture
from torch import Tensor, nn
from torch.func import grad
from torch.nn.functional import log_softmax, normalize

from pzsl_bench.contract import Gradient, Net, Study, configure
from pzsl_bench.methods.linear_probe import Probe
from pzsl_bench.methods.wise_ft import fisher, merged
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

FIXTURE = fixture("wise_ft")
GIVEN, EXPECTED = FIXTURE["inputs"], FIXTURE["expected"]
TOLERANCE = {"atol": FIXTURE["tolerance"], "rtol": 0.0}
FLOOR = GIVEN["fisher_floor"]
BY_ALPHA = list(zip(GIVEN["alphas"], EXPECTED, strict=True))
CASES = pytest.mark.parametrize(("alpha", "expected"), BY_ALPHA, ids=[str(a) for a in GIVEN["alphas"]])
PROBLEM = toy_problem(noise=1.5)


def state(name: str) -> dict[str, Tensor]:
    return {key: double(values) for key, values in GIVEN[name].items()}


class AsGiven(Probe):
    """A probe whose zero-shot rows are the texts as they are."""

    def zero_shot(self, texts: Tensor) -> Tensor:
        return texts.T


@CASES
def test_parameters_equal_the_release(alpha: float, expected: dict[str, dict[str, Any]]) -> None:
    start, end = state("theta0"), state("theta1")
    fishers = state("fisher0"), state("fisher1")
    for kind, made in (("plain", merged(start, end, alpha)), ("fisher", merged(start, end, alpha, fishers, FLOOR))):
        assert made.keys() == expected[kind].keys()
        for name, values in expected[kind].items():
            agree(made[name], values, TOLERANCE)


@CASES
@pytest.mark.parametrize("merge", ["plain", "fisher"])
def test_the_scored_classifier_equals_the_release(
    merge: str, alpha: float, expected: dict[str, dict[str, Any]]
) -> None:
    texts, tuned = double(GIVEN["theta0"]["W"]), double(GIVEN["theta1"]["W"])
    method = configure("wise_ft", {"alpha": alpha, "merge": merge, "floor": FLOOR})
    assert isinstance(method, Gradient)
    probe = AsGiven(Study(texts, texts > 9, texts, texts, ("",) * 3, 1.0))
    memory = {"zero_shot": double(GIVEN["fisher0"]["W"]).T, "tuned": double(GIVEN["fisher1"]["W"]).T}
    scores = method.score(Net(probe, {"weight": tuned.T}, texts), memory, torch.eye(5, dtype=torch.float64))
    agree(scores.T, expected[merge]["W"], TOLERANCE)


def scores(studies: Studies, name: str = "wise_ft", **settings: Any) -> Tensor:
    return fit([configure(name, {"epochs": 3, "lr": 0.1, **settings})] * len(studies), studies).score(
        PROBLEM.test, PROBLEM.texts
    )


def test_nothing_of_the_probe_is_zero_shot_and_all_of_it_is_the_probe() -> None:
    # Random numbers come from a run's name, which is the same for both here.
    studies = toy_studies(PROBLEM, [("flip", 0.3, 0), ("flip", 0.5, 1)])
    zero_shot = (PROBLEM.scale * PROBLEM.test @ PROBLEM.texts.T).expand(2, -1, -1)
    probe = scores(studies, "linear_probe")
    torch.testing.assert_close(scores(studies, alpha=0.0), zero_shot, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores(studies, alpha=1.0), probe, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores(studies, alpha=0.3), 0.7 * zero_shot + 0.3 * probe, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(probe, zero_shot, atol=0.1)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_fisher_information_moves_only_seen_classes_and_stays_between_the_two(alpha: float) -> None:
    studies = toy_studies(PROBLEM, [("flip", 0.3, 0)])
    zero_shot = PROBLEM.scale * PROBLEM.test @ PROBLEM.texts.T
    made = scores(studies, alpha=alpha, merge="fisher")[0]
    torch.testing.assert_close(made[:, PROBLEM.seen :], zero_shot[:, PROBLEM.seen :], atol=1e-4, rtol=1e-4)
    assert made.isfinite().all()


def test_fisher_information_is_the_mean_squared_slope_of_the_models_own_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    want = torch.zeros_like(weight)
    for image in images:
        p = (image @ weight).softmax(-1)
        for label in range(5):
            slope = grad(lambda w, image=image, label=label: log_softmax(image @ w, -1)[label])(weight)
            want += p[label] * slope.square() / len(images)
    torch.testing.assert_close(fisher(images @ weight, images), want)


def test_a_probe_starts_at_the_zero_shot_classifier() -> None:
    texts = normalize(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), dim=-1)
    probe: nn.Module = Probe(Study(texts, texts > 9, texts, texts[:2], ("",) * 2, 30.0))
    torch.testing.assert_close(probe(texts, texts), 30 * texts @ texts.T)
