"""Settings that all trained methods share: what label weights start from, and what stands for a class."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import FEEDS, HEADS, METHODS, Fed, Gradient, configure
from pzsl_bench.contract.heads import Adapter, ClassResidual, CosineHead
from pzsl_bench.contract.needs import EXTRAS, FEED_NEEDS, OF_NAMES, PROTOTYPES, STARTS
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.reports.describe import description
from pzsl_bench.running.opened import with_names
from pzsl_bench.synonyms.space import centres, ensemble
from pzsl_bench.training.fit import fit
from pzsl_bench.training.fitted import Fitted

TRAINED = [n for n, cls in METHODS.all().items() if issubclass(cls, Gradient) and "classes" in cls.tasks]
STARTING = [n for n in TRAINED if "init_confidence" not in METHODS.get(n).unused()]
COMPARING = [n for n in TRAINED if "prototypes" not in METHODS.get(n).unused()]
PROBLEM = toy_problem(noise=1.5)
STUDIES = toy_studies(PROBLEM, [("flip", 0.5, 0)])


def short(name: str, **settings: str) -> dict[str, object]:
    """Settings for a training of two passes."""
    known = {f.name for f in fields(METHODS.get(name))}
    return {**({"epochs": 2} if "epochs" in known else {}), **settings}


def trained(name: str, **settings: str) -> Fitted:
    return fit([configure(name, short(name, **settings))], STUDIES)


def test_partial_label_methods_have_both_settings() -> None:
    assert {"proden", "rc", "pico", "solar", "naive"} <= set(STARTING) & set(COMPARING)


@pytest.mark.parametrize("name", STARTING)
def test_a_start_that_can_be_set_makes_a_difference(name: str) -> None:
    usual = trained(name).score(PROBLEM.test, PROBLEM.texts)
    for start in ("clip", "s3"):
        assert not torch.equal(trained(name, init_confidence=start).score(PROBLEM.test, PROBLEM.texts), usual), start


@pytest.mark.parametrize("name", [n for n in TRAINED if n not in STARTING])
def test_a_start_that_would_be_ignored_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.init_confidence: method '{name}' has no use for it: "):
        configure(name, {"init_confidence": "s3"})
    assert "init_confidence" not in description(name)


@pytest.mark.parametrize("name", [n for n in TRAINED if n not in COMPARING])
def test_prototypes_that_would_be_ignored_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.prototypes: method '{name}' has no use for it: "):
        configure(name, {"prototypes": "ensemble"})


@pytest.mark.parametrize("name", COMPARING)
def test_prototypes_are_compared_by_a_cosine_head_only(name: str) -> None:
    assert {"alignment", "ensemble texts"} <= configure(name, {"prototypes": "ensemble"}).needs
    assert {"alignment", "s3 texts"} <= configure(name, {"prototypes": "s3_center"}).needs
    assert not configure(name, {}).needs & OF_NAMES
    if tuple(METHODS.get(name).__dataclass_fields__["head"].metadata["choices"]) == HEADS:
        with pytest.raises(UserError, match="prototypes: ensemble is for a cosine head; head: linear compares with"):
            configure(name, {"prototypes": "ensemble", "head": "linear"})


def test_starts_are_feeds_and_say_what_they_need() -> None:
    assert set(STARTS.values()) <= set(FEEDS)
    for start, feed in STARTS.items():
        method = configure("proden", {"init_confidence": start})
        assert method.feed == feed
        assert method.needs == FEED_NEEDS.get(feed, frozenset())
    assert set().union(*FEED_NEEDS.values(), *PROTOTYPES.values()) <= EXTRAS | {"alignment"}


def test_methods_that_are_fed_go_by_candidates_as() -> None:
    for name, cls in METHODS.all().items():
        if issubclass(cls, Fed):
            assert configure(name, {"candidates_as": "s3_prior"}).feed == "s3_prior"
            assert {"alignment", "synonyms"} <= configure(name, {"candidates_as": "s3_prior"}).needs


def test_the_label_weights_of_a_method_start_where_the_setting_says() -> None:
    sure = fit([configure("naive", {"epochs": 1, "init_confidence": "s3"})], STUDIES)
    usual = fit([configure("naive", {"epochs": 1})], STUDIES)
    assert sure.curves["loss"][0, 0] < usual.curves["loss"][0, 0]


def test_a_problem_is_given_what_is_asked_of_its_names() -> None:
    names = PROBLEM.synonyms
    assert names is not None
    plain = replace(PROBLEM, synonyms=None)
    for need, texts in (
        ("ensemble texts", ensemble(names)),
        ("s3 texts", centres(names)),
        ("synonyms", plain.texts),
    ):
        problem = with_names(plain, names, frozenset({need}))
        assert torch.equal(problem.texts, texts)
        assert (problem.synonyms is not None) == (need == "synonyms")
    both = with_names(plain, names, frozenset({"synonyms", "s3 texts"}))
    assert both.synonyms is names
    assert torch.equal(both.texts, centres(names))


def test_prototypes_start_at_zero_shot_with_the_mean_of_the_names() -> None:
    assert PROBLEM.synonyms is not None
    problem = with_names(PROBLEM, PROBLEM.synonyms, frozenset({"ensemble texts"}))
    head = CosineHead(16, 1.0, False, Adapter(16, 4), ClassResidual(len(problem.texts), 16))
    torch.testing.assert_close(head(PROBLEM.test, problem.texts), PROBLEM.test @ ensemble(PROBLEM.synonyms).T)
