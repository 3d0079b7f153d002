"""Maps shrink to the encoder's own alignment where there is one, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.prior import LEAST_STRENGTH, Prior, least_squares_strength
from pzsl_bench.contract import ClosedForm, Gradient, configure
from pzsl_bench.data.source import Source
from pzsl_bench.problem.build import build_problem
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit, initialise

STILL = {"epochs": 1, "lr": 1e-30}
SHRUNK: list[tuple[str, dict[str, object]]] = [
    ("eszsl", {"reg_feature": 1e12}),
    ("eszsl", {"reg_semantic": 1e12, "center_images": False}),
    ("ridge", {"reg": 1e12}),
    ("ridge", {"reg": 1e12, "direction": "semantics"}),
    ("sae", {"pull": 1e12}),
    ("sae", {"pull": 1e12, "direction": "features"}),
    ("sync", {"lam": 1e9}),
    *((name, STILL) for name in ("ale", "devise", "sje", "dem")),
    ("latem", {**STILL, "spread": 0.0}),
    ("ale", {**STILL, "evaluate": "cosine"}),
    ("dem", {**STILL, "evaluate": "distance"}),
]
METHODS = ["eszsl", "ridge", "sae", "sync", "ale", "devise", "sje", "latem", "dem"]
PROBLEM = toy_problem(noise=1.2)


def narrow(problem: Problem) -> Problem:
    """The same with images and texts in two cones, as CLIP's are."""
    shift = torch.randn(2, problem.texts.shape[1], generator=torch.Generator().manual_seed(3))
    images, texts = ((lambda rows, s=s: torch.nn.functional.normalize(rows + s / s.norm(), dim=-1)) for s in shift)
    return replace(problem, train=images(problem.train), test=images(problem.test), texts=texts(problem.texts))


CONES = narrow(PROBLEM)


def scores(name: str, settings: dict[str, object], problem: Problem = CONES, flip: float = 0.3) -> Tensor:
    studies = toy_studies(problem, [("flip", flip, 0), ("flip", 0.6, 1)])
    return fit([configure(name, settings)] * 2, studies).score(problem.test, problem.texts)


def ranks_of(table: Tensor) -> Tensor:
    return table.double().argsort(-1)


@pytest.mark.parametrize(("name", "settings"), SHRUNK)
def test_a_map_that_is_shrunk_away_ranks_as_the_encoder_alone(name: str, settings: dict[str, object]) -> None:
    found = scores(name, {**settings, "prior": "identity"})
    alone = CONES.test @ CONES.texts.T
    # Differences of rounding may turn two classes that score alike.
    best = alone.gather(-1, ranks_of(found[0]))
    assert (best[:, 1:] - best[:, :-1] > -1e-5).all()
    assert torch.equal(found.argmax(-1), alone.argmax(-1).expand(2, -1))


@pytest.mark.parametrize("name", METHODS)
def test_without_the_prior_the_encoder_is_not_asked(name: str) -> None:
    method = configure(name, {"prior": "none"})
    study = toy_studies(CONES, [("flip", 0.3, 0)])
    if isinstance(method, ClosedForm):
        kept = method.solve(study.of(0))
    else:
        assert isinstance(method, Gradient)
        _, _, kept = initialise(method, study, study.uniform)
    assert "strength" not in kept


@pytest.mark.parametrize("name", METHODS)
def test_texts_as_wide_as_images_but_of_another_origin_are_no_prior(name: str) -> None:
    short = {"epochs": 2} if isinstance(configure(name, {}), Gradient) else {}
    strangers = replace(CONES, aligned=False)
    assert torch.equal(scores(name, short, strangers), scores(name, {**short, "prior": "none"}, strangers))


@pytest.mark.parametrize("name", METHODS)
def test_texts_of_the_encoder_are_a_prior_by_default(name: str) -> None:
    short = {"epochs": 2} if isinstance(configure(name, {}), Gradient) else {}
    assert torch.equal(scores(name, short), scores(name, {**short, "prior": "identity"}))
    assert not torch.equal(scores(name, short), scores(name, {**short, "prior": "none"}))


@pytest.mark.parametrize("name", METHODS)
def test_only_an_identity_asks_for_one_space(name: str) -> None:
    assert "alignment" in configure(name, {"prior": "identity"}).needs
    for prior in ("auto", "none"):
        assert "alignment" not in configure(name, {"prior": prior}).needs


@pytest.mark.parametrize("name", METHODS)
def test_an_identity_between_two_widths_is_refused(name: str) -> None:
    wide = replace(CONES, texts=torch.cat([CONES.texts, CONES.texts], dim=-1))
    with pytest.raises(UserError, match="not 32 and 16 numbers; prior: none takes any"):
        scores(name, {"prior": "identity"}, wide)


@pytest.mark.parametrize("name", ["eszsl", "ridge", "sae", "sync", "dem"])
def test_unseen_classes_profit_from_the_prior_where_few_were_seen(name: str) -> None:
    """Three seen classes say nothing of most directions in which six others differ."""
    few = narrow(toy_problem(seen=3, unseen=6, width=24, noise=1.0))
    truth = torch.from_numpy(few.test_truth)
    unseen = truth >= few.seen
    right = [
        (scores(name, {"prior": prior}, few)[0][unseen][:, few.seen :].argmax(-1) + few.seen == truth[unseen])
        for prior in ("none", "identity")
    ]
    assert right[1].float().mean() > right[0].float().mean() + 0.1


def test_labels_that_contradict_the_encoder_leave_it_last() -> None:
    assert least_squares_strength(torch.tensor(-3.0), torch.tensor(2.0)) == pytest.approx(LEAST_STRENGTH)
    assert least_squares_strength(torch.tensor(3.0), torch.tensor(2.0)) == 1.5
    assert least_squares_strength(torch.tensor(0.0), torch.tensor(0.0)) == pytest.approx(LEAST_STRENGTH)


def test_a_problem_says_whether_its_texts_are_of_the_encoder() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(12, 6)).astype(np.float32)
    source = Source(
        labels=np.arange(12) % 4,
        is_test=np.arange(12) >= 8,
        class_names=tuple("abcd"),
        seen=(0, 1, 2),
        unseen=(3,),
        validation=(0,),
        checksum="",
        features=features,
        texts=features[:4],
    )
    for aligned in (True, False):
        problem = build_problem("small", replace(source, aligned=aligned), features, features[:4], 10.0)
        studies = problem.studies(torch.ones(1, len(problem.train), 3, dtype=torch.bool), ["a"], ["a"])
        assert problem.aligned is problem.rehearsal()[0].aligned is studies.aligned is studies.of(0).aligned is aligned


def test_settings_of_a_prior_are_checked() -> None:
    assert Prior.__dataclass_fields__["prior"].default == "auto"
    with pytest.raises(UserError, match="prior"):
        configure("eszsl", {"prior": "identiy"})
