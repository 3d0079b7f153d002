"""DEM is its formula. No numbers of the authors' code: its release needs a framework that no longer installs."""

from __future__ import annotations

import pytest
import torch
from replay import double
from retrain import Retrain, study_of

from pzsl_bench.contract import State, configure, normalise
from pzsl_bench.methods.dem import Prototypes
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

RANDOM = torch.Generator().manual_seed(0)
IMAGES, TEXTS = (torch.randn(*shape, generator=RANDOM, dtype=torch.float64) for shape in ((4, 6), (3, 5)))
SOFT = double([[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5], [0, 0, 1]])
PLAIN = {"images": "as_given", "center_images": False, "center_texts": False}


def run(**settings: object) -> tuple[Retrain, State]:
    """A run with drawn parameters, and these."""
    shapes = dict(Prototypes(5, 7, 6, "linear").named_parameters())
    params = {k: torch.randn(p.shape, generator=RANDOM, dtype=torch.float64) for k, p in shapes.items()}
    method = {**PLAIN, "hidden": 7, **settings}
    return Retrain("dem", study_of(IMAGES, TEXTS, SOFT), method, params), params


def prototypes(params: State) -> torch.Tensor:
    inner = (TEXTS @ params["inner.weight"] + params["inner.bias"]).clamp(min=0)
    return inner @ params["out.weight"] + params["out.bias"]


def test_the_loss_is_the_expected_squared_distance() -> None:
    trained, params = run()
    distance = torch.cdist(IMAGES, prototypes(params)).square()
    loss, _ = trained.step(range(4))
    assert loss == pytest.approx((SOFT * distance).sum(1).mean().item())


def test_an_image_belongs_to_the_nearest_prototype() -> None:
    trained, params = run(evaluate="distance")
    torch.testing.assert_close(trained.logits(IMAGES, TEXTS), -torch.cdist(IMAGES, prototypes(params)).square())
    trained, params = run(evaluate="cosine", last="relu")
    cosines = normalise(IMAGES) @ normalise(prototypes(params).clamp(min=0)).T
    torch.testing.assert_close(trained.logits(IMAGES, TEXTS), cosines)


def test_prototypes_become_the_means_of_their_images() -> None:
    problem = toy_problem(seen=4, width=8, noise=0.3)
    studies = toy_studies(problem, [("flip", 0.0, 0)])
    settings = {"epochs": 200, "lr": 1e-2, "weight_decay": 0.0, "evaluate": "distance", "prior": "none"}
    fitted = fit([configure("dem", settings)], studies)
    truth = torch.from_numpy(problem.train_truth)
    means = torch.stack([problem.train[truth == k].mean(0) for k in range(4)])
    nearest = -torch.cdist(problem.test, means).square()
    torch.testing.assert_close(fitted.score(problem.test, problem.texts[:4])[0], nearest, atol=1e-2, rtol=0.0)


def test_a_class_is_given_nothing_at_random_before_training() -> None:
    assert not Prototypes(5, 7, 6, "linear").prototypes(TEXTS.float()).any()
    assert Prototypes(5, 7, 6, "relu").prototypes(TEXTS.float()).any()
