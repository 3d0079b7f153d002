"""Draws of settings: keyed by names, inside their ranges, only of what the grid left open."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from pzsl_bench.contract import METHODS, Batch, Gradient, Output, configure, hyper
from pzsl_bench.planning.draws import configurations, drop_idle_selection, search_ranges
from pzsl_bench.problem.toy import toy_problem, toy_studies, toy_tags
from pzsl_bench.records.cell import Cell
from pzsl_bench.training.fit import fit

CELL = Cell("shapes", "embedded", "flip", 0.3, "proden", (), 0, "covering", 12)


def test_the_first_draw_is_the_method_as_the_grid_has_it_and_the_others_differ_in_what_is_searched() -> None:
    method = configure("proden", {})
    first, *others = configurations(method, CELL)
    assert first == method
    assert len(others) == 11
    for other in others:
        assert {"lr", "weight_decay"} == {k for k in vars(method) if getattr(other, k) != getattr(method, k)}
    assert len({other.lr for other in others}) == 11


def test_draws_fill_their_range_evenly_in_the_logarithm() -> None:
    drawn = configurations(configure("proden", {}), replace(CELL, tune=2001))[1:]
    low, high = search_ranges(METHODS.get("proden"))["lr"]
    rates = torch.tensor([method.lr for method in drawn]).log()
    assert low <= min(method.lr for method in drawn)
    assert max(method.lr for method in drawn) <= high
    middle = (torch.tensor(low).log() + torch.tensor(high).log()) / 2
    assert abs((rates < middle).float().mean() - 0.5) < 0.05


def test_what_the_grid_sets_is_not_drawn_and_changes_no_other_draw() -> None:
    free = configurations(configure("proden", {}), CELL)
    given = configurations(configure("proden", {"lr": 0.5}), replace(CELL, settings=(("lr", 0.5),)))
    assert {method.lr for method in given} == {0.5}
    assert [m.weight_decay for m in given] == [m.weight_decay for m in free]


def test_draws_are_the_same_at_every_rate_and_seed_and_differ_between_datasets_and_methods() -> None:
    method, drawn = configure("proden", {}), configurations(configure("proden", {}), CELL)
    for same in (replace(CELL, rate=0.9), replace(CELL, seed=7), replace(CELL, ambiguity="pair")):
        assert configurations(method, same) == drawn
    assert configurations(method, replace(CELL, dataset="other"))[1] != drawn[1]
    assert configurations(configure("rc", {}), replace(CELL, method="rc"))[1].lr != drawn[1].lr
    assert configurations(method, replace(CELL, tune=3)) == drawn[:3]


@dataclass(frozen=True)
class Branching(Gradient):
    """A method that may branch on one of its floats."""

    branch: float = hyper(0.5, "one way or the other", search=(0.1, 1.0), fixed=True)

    def loss(self, output: Output, batch: Batch) -> torch.Tensor:
        return output.log_probs.mean()


def test_a_float_that_a_stack_must_share_is_not_drawn() -> None:
    assert set(search_ranges(Branching)) == {"lr", "weight_decay"}


@pytest.mark.parametrize(
    ("method", "select", "tune", "expected"),
    [
        ("clip_zero_shot", "covering", 20, ("last", 0)),
        ("clip_zero_shot", "mean10", 0, ("last", 0)),
        ("eszsl", "covering", 20, ("covering", 20)),
        ("eszsl", "covering", 0, ("last", 0)),
        ("proden", "covering", 0, ("covering", 0)),
        ("proden", "rehearsal", 20, ("rehearsal", 20)),
        ("eszsl", "validation", 20, ("validation", 20)),
        ("clip_zero_shot", "validation", 20, ("last", 0)),
        ("proden", "mean1", 0, ("last", 0)),
        ("proden", "mean10", 0, ("mean10", 0)),
    ],
)
def test_a_method_that_has_nothing_to_choose_just_runs(method: str, select: str, tune: int, expected: tuple) -> None:
    cell = drop_idle_selection(Cell("shapes", "embedded", "flip", 0.3, method, (), 0, select, tune))
    assert (cell.select, cell.tune) == expected


def test_a_method_whose_searched_settings_are_all_given_has_no_draws() -> None:
    given = (("lr", 0.1), ("weight_decay", 0.0))
    assert drop_idle_selection(replace(CELL, settings=given)).tune == 0
    assert drop_idle_selection(replace(CELL, settings=given, select="rehearsal")).select == "last"


PROBLEMS = {"classes": (toy_problem(noise=1.5), "flip"), "tags": (toy_tags(noise=1.5), "rps")}


@pytest.mark.parametrize("name", METHODS.names())
def test_a_stack_of_draws_gives_each_draw_what_it_gives_alone(name: str) -> None:
    few = {"epochs": 2} if "epochs" in METHODS.get(name).__dataclass_fields__ else {}
    problem, ambiguity = PROBLEMS["classes" if "classes" in METHODS.get(name).tasks else "tags"]
    cell = Cell("toy", "none", ambiguity, 0.3, name, tuple(few.items()), 0, "covering", 3)
    drawn = configurations(configure(name, few), cell)
    studies = toy_studies(problem, [(ambiguity, 0.3, 0)])
    together = fit(drawn, studies.of_runs(torch.zeros(len(drawn), dtype=torch.int64)))
    scores = together.score(problem.test, problem.class_texts)
    for run, method in enumerate(drawn):
        alone = fit([method], studies).score(problem.test, problem.class_texts)[0]
        torch.testing.assert_close(scores[run], alone, atol=1e-4, rtol=1e-4)
