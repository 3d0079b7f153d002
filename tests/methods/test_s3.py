"""S^3 as the harness plays it: zero-shot CLIP with one name, a space with several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from golden_space import CLASS, IMAGE
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import configure
from pzsl_bench.judging.judge import judge
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.running.opened import with_names
from pzsl_bench.synonyms.scores import NEIGHBOURS, SCORES
from pzsl_bench.synonyms.space import RULES
from pzsl_bench.training.fit import fit

POINTS = [("flip", 0.3, 0), ("flip", 0.6, 1)]
PLAIN = toy_problem(noise=1.5)


def named(names: Tensor, problem: Problem = PLAIN) -> tuple[Problem, Studies]:
    """The problem and two studies of it, with these names of the classes."""
    named_problem = with_names(problem, names, frozenset({"synonyms"}))
    return named_problem, replace(toy_studies(problem, POINTS), synonyms=names[: problem.seen])


def scores(names: Tensor, name: str = "s3", **settings: Any) -> Tensor:
    problem, studies = named(names)
    return fit([configure(name, settings)] * 2, studies).score(problem.test, problem.class_texts)


def padded(names: Tensor, more: int = 3) -> Tensor:
    return torch.cat([names, torch.zeros(len(names), more, names.shape[-1])], dim=1)


@pytest.mark.parametrize("score", SCORES)
def test_one_name_is_zero_shot_clip_to_the_bit(score: str) -> None:
    studies = toy_studies(PLAIN, POINTS)
    zero_shot = fit([configure("clip_zero_shot", {})] * 2, studies).score(PLAIN.test, PLAIN.texts)
    only = PLAIN.texts[:, None]
    for names in (only, padded(only), only.repeat(1, 4, 1)):
        assert torch.equal(scores(names, score_by=score), zero_shot)
    assert PLAIN.synonyms is not None
    assert torch.equal(scores(PLAIN.synonyms, score_by=score, eps_rule="fixed", eps=0.0), zero_shot)


def test_its_own_name_alone_is_zero_shot_clip_whatever_the_others_are() -> None:
    assert PLAIN.synonyms is not None
    assert torch.equal(scores(PLAIN.synonyms, score_by="canonical")[0], PLAIN.test @ PLAIN.texts.T)


@pytest.mark.parametrize(
    ("settings", "score"),
    [
        ({"eps_rule": "fixed", "eps": 0.2}, 0.79951266),
        ({"eps_rule": "coverage", "rho": 0.75}, 0.79951266),
        ({"eps_rule": "gap"}, 0.79951266),
        ({"eps_rule": "gap", "k": 1}, 0.79890363),
        ({"eps_rule": "gap", "neighbours": "star"}, 0.79890363),
        ({"eps_rule": "fixed", "eps": 0.2, "neighbours": "star"}, 0.79890363),
        ({"eps_rule": "gap", "neighbours": "facet"}, 0.79951266),
        ({"eps_rule": "gap", "neighbours": "soft"}, 0.79921804),
        ({"eps_rule": "gap", "score_by": "hull"}, -(0.62814039**2) / 2),
        ({"eps_rule": "fixed", "eps": 0.2, "score_by": "simplex"}, -(0.63141477**2) / 2),
        ({"eps_rule": "gap", "score_by": "lse"}, 0.79114688),
        ({"most": 2, "score_by": "mean"}, 0.79081220),
        ({"most": 2, "score_by": "subspace"}, 0.8),
    ],
)
def test_settings_reach_the_geometry(settings: dict[str, Any], score: float) -> None:
    studies = replace(toy_studies(PLAIN, POINTS[:1]), texts=CLASS[:, 0], synonyms=CLASS)
    studies = replace(studies, features=IMAGE, candidates=torch.ones(1, 1, 1, dtype=torch.bool))
    got = fit([configure("s3", settings)], studies).score(IMAGE, studies.class_texts)
    assert got.item() == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("neighbours", NEIGHBOURS)
@pytest.mark.parametrize("rule", RULES)
def test_a_whole_exam_is_judged(rule: str, neighbours: str) -> None:
    assert PLAIN.synonyms is not None
    problem, studies = named(PLAIN.synonyms)
    fitted = fit([configure("s3", {"eps_rule": rule, "neighbours": neighbours, "eps": 0.7})] * 2, studies)
    for metrics in judge(fitted, problem.exam(), studies.features, studies.candidates, [None, None]):
        assert metrics["T1"] is not None
        assert metrics["T1"] > 0.5


def test_the_scale_of_all_classes_together_is_that_of_the_seen_ones() -> None:
    assert PLAIN.synonyms is not None
    strange = PLAIN.synonyms.clone()
    strange[PLAIN.seen :, 1:] *= -1
    settings = {"eps_rule": "quantile", "quantile": 0.7}
    usual, other = scores(PLAIN.synonyms, **settings), scores(strange, **settings)
    assert torch.equal(usual[..., : PLAIN.seen], other[..., : PLAIN.seen])
    assert not torch.equal(usual, other)


def test_names_beyond_those_asked_for_change_nothing() -> None:
    assert PLAIN.synonyms is not None
    other = PLAIN.synonyms.clone()
    other[:, 3:] = other[:, 3:].flip(0)
    assert torch.equal(scores(PLAIN.synonyms, most=2), scores(other, most=2))
    assert not torch.equal(scores(PLAIN.synonyms), scores(other))


@pytest.mark.parametrize("name", ["s3", "ts3"])
def test_runs_may_have_images_of_their_own(name: str) -> None:
    assert PLAIN.synonyms is not None
    problem, studies = named(PLAIN.synonyms)
    own_images = replace(studies, features=torch.stack([studies.features, studies.features.flip(0)]))
    fitted = fit([configure(name, {})] * 2, own_images)
    images = torch.stack([problem.test, problem.test.flip(0)])
    together = fitted.score(images, problem.class_texts)
    for run in range(2):
        torch.testing.assert_close(together[run], fitted.score(images[run], problem.class_texts)[0])


def test_rehearsals_take_the_names_of_their_classes_along() -> None:
    assert PLAIN.synonyms is not None
    problem, _ = named(PLAIN.synonyms)
    small, _, fitted = problem.rehearsal()
    assert small.synonyms is not None
    assert torch.equal(small.synonyms[: len(fitted)], PLAIN.synonyms[torch.from_numpy(fitted)])


def test_a_share_that_is_none_is_told_in_words() -> None:
    for setting in ("rho", "quantile"):
        with pytest.raises(UserError, match=f"{setting}: 1.5 is not a share, a number from 0 to 1"):
            configure("s3", {setting: 1.5})
    with pytest.raises(UserError, match="did you mean 'local_center'"):
        configure("s3", {"score_by": "localcenter"})


@pytest.mark.parametrize("name", ["s3", "ts3"])
def test_it_says_what_it_needs_and_what_it_can_be_asked(name: str) -> None:
    method = configure(name, {})
    assert method.needs == {"texts", "alignment", "synonyms"}
    assert method.tasks == {"classes", "tags"}
    assert any("our reading" in line.lower() for line in method.info.deviations)


def test_names_of_unseen_classes_are_in_the_exam_and_not_in_the_study() -> None:
    assert PLAIN.synonyms is not None
    problem, studies = named(PLAIN.synonyms)
    names = problem.exam().texts.names
    assert studies.synonyms is not None and names is not None
    assert torch.equal(studies.synonyms, PLAIN.synonyms[: PLAIN.seen])
    assert torch.equal(names, PLAIN.synonyms)
