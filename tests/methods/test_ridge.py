"""Ridge is the minimum of the objectives that its description writes down, image by image.

There are no numbers of the authors to compare with: a linear solve is checked against what it claims to minimise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import grad

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import ClosedForm, State, Study, configure
from pzsl_bench.judging.judge import answer, class_accuracy
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

REG = 0.7
PLAIN = {"reg": REG, "units": "absolute", "center_texts": False, "center_images": False}
BOTH = pytest.mark.parametrize("direction", ["features", "semantics"])


def study(width: int = 6, semantics: int = 6) -> Study:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(12, width, generator=generator, dtype=torch.float64)
    soft = torch.rand(12, 4, generator=generator, dtype=torch.float64).softmax(-1)
    texts = torch.randn(4, semantics, generator=generator, dtype=torch.float64)
    return Study(images, soft > 0, soft, texts, ("",) * 4, 1.0)


def solved(data: Study, **settings: object) -> tuple[ClosedForm, State]:
    method = configure("ridge", {**PLAIN, "prior": "none", **settings})
    assert isinstance(method, ClosedForm)
    return method, method.solve(data)


def objective(data: Study, direction: str, start: Tensor) -> Callable[[Tensor], Tensor]:
    """The regression written out over images and classes."""
    images, soft, texts = data.features, data.targets, data.texts

    def value(weight: Tensor) -> Tensor:
        if direction == "features":
            misfit = (images @ weight - soft @ texts).square().sum()
        else:
            misfit = (soft * (images[:, None] - (texts @ weight)[None]).square().sum(-1)).sum()
        return misfit + REG * (weight - start).square().sum()

    return value


@BOTH
@pytest.mark.parametrize("semantics", [3, 6, 9])
def test_no_other_map_fits_better(direction: str, semantics: int) -> None:
    data = study(semantics=semantics)
    weight = solved(data, direction=direction)[1]["weight"]
    slope = grad(objective(data, direction, torch.zeros_like(weight)))(weight)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)


@BOTH
def test_no_other_map_fits_better_when_shrunk_to_the_identity(direction: str) -> None:
    data = study()
    state = solved(data, direction=direction, prior="identity")[1]
    identity = state["identity"] * torch.eye(6, dtype=torch.float64)
    weight = state["weight"] + identity
    slope = grad(objective(data, direction, identity))(weight)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)


@BOTH
def test_no_other_multiple_of_the_identity_fits_better(direction: str) -> None:
    data = study()
    data = replace(data, features=data.features + data.targets @ data.texts)
    size = solved(data, direction=direction, prior="identity", strength=1.0)[1]["identity"]
    value = objective(data, direction, torch.zeros(6, 6, dtype=torch.float64))
    penalty = REG * 6 * size**2
    around = [value(factor * size * torch.eye(6).double()) - factor**2 * penalty for factor in (0.9, 1.0, 1.1)]
    assert around[1] < min(around[0], around[2])


@BOTH
def test_the_fitted_pull_grows_with_the_ambiguity(direction: str) -> None:
    problem = toy_problem(noise=1.0)
    clear, dim = (toy_studies(problem, [("flip", rate, 0)]).of(0) for rate in (0.0, 0.6))
    fits = []
    for data in (clear, dim):
        method = configure("ridge", {"direction": direction, "prior": "none"})
        assert isinstance(method, ClosedForm)
        fits.append(method.solve(data)["weight"].norm())
    assert fits[1] < 0.5 * fits[0]


def test_centring_is_an_intercept() -> None:
    data = study(semantics=3)
    _, state = solved(data, direction="semantics", center_images=True)
    shifted = Study(data.features + 5, data.candidates, data.targets, data.texts, data.class_names, 1.0)
    _, moved = solved(shifted, direction="semantics", center_images=True)
    torch.testing.assert_close(state["weight"], moved["weight"], atol=1e-9, rtol=1e-9)


def test_prototypes_are_compared_by_their_distance() -> None:
    data = study(semantics=3)
    method, state = solved(data, direction="semantics")
    near = -torch.cdist(data.features, data.texts @ state["weight"]).square()
    scores = method.score(state, data.features, data.texts)
    torch.testing.assert_close(2 * scores - data.features.square().sum(-1, keepdim=True), near)


def unseen_accuracy(problem: Problem, name: str, settings: dict[str, object], flip: float) -> float:
    studies = toy_studies(problem, [("flip", flip, 0)])
    answers = answer(fit([configure(name, settings)], studies), problem.exam())
    assert answers is not None
    truth = problem.test_truth
    unseen = truth >= problem.seen
    return class_accuracy(truth[unseen], answers[0].unseen[unseen], range(problem.seen, len(problem.texts)))


@BOTH
def test_a_hard_pull_to_the_identity_gives_the_encoder_back(direction: str) -> None:
    problem = toy_problem()
    studies = toy_studies(problem, [("flip", 0.3, 0)])
    settings = {"direction": direction, "prior": "identity", "units": "absolute", "reg": 1e9}
    fitted = fit([configure("ridge", settings)], studies)
    scores = fitted.score(problem.test, problem.texts)[0]
    # A prototype's own length is the same for all texts, which are unit vectors.
    length = fitted.state["identity"][0] ** 2 / 2 if direction == "semantics" else 0
    cosines = fitted.state["strength"][0] * problem.test @ problem.texts.T - length
    torch.testing.assert_close(scores, cosines, atol=1e-4, rtol=0)


def test_a_pull_to_the_identity_helps_where_labels_say_little() -> None:
    problem = toy_problem(noise=1.5)
    alone, pulled = (unseen_accuracy(problem, "ridge", {"prior": prior}, flip=0.6) for prior in ("none", "identity"))
    assert pulled > alone + 0.1


def test_the_identity_needs_one_space() -> None:
    with pytest.raises(UserError, match="not 3 and 6 numbers; prior: none"):
        solved(study(semantics=3), prior="identity")
