"""Draws of many cells in one stack: the best of every cell is chosen, and taken out as it was trained."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pzsl_bench.contract import Method, configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.selecting.trials import Trials, Tried
from pzsl_bench.training.fit import fit

RATES = [[1e-3, 1e-2], [1e-3, 3e-3, 3e-2]]
VALUES = {(0, 1e-3): 0.2, (0, 1e-2): 0.4, (1, 1e-3): 0.5, (1, 3e-3): 0.7, (1, 3e-2): 0.7}
DRAWN = [[configure("proden", {"lr": lr, "epochs": 2}) for lr in rates] for rates in RATES]


class Work:
    """Trains runs, and values them by `VALUES`."""

    def __init__(self, max_runs: int = 99) -> None:
        self.studies: Studies = toy_studies(toy_problem(noise=2.0), [("flip", 0.3, 0), ("flip", 0.5, 1)])
        self.max_runs, self.sizes = max_runs, list[int]()

    def __call__(self, methods: Sequence[Method], cells: Tensor) -> Tried:
        self.sizes.append(len(methods))
        if len(methods) > self.max_runs:
            raise torch.OutOfMemoryError("too many")
        values = [VALUES[cell, method.lr] for cell, method in zip(cells.tolist(), methods, strict=True)]
        fitted = fit(methods, self.studies.of_runs(cells))
        return fitted, torch.tensor(values, dtype=torch.float64), torch.full((len(methods),), 2)


def test_the_best_draw_of_every_cell_wins_and_ties_go_to_the_earlier() -> None:
    first, second = Trials(DRAWN).train(Work(), None).choices()
    assert (first.draw, first.method.lr) == (1, 1e-2)
    assert (second.draw, second.method.lr) == (1, 3e-3)
    assert [trial.value for trial in second.trials] == [0.5, 0.7, 0.7]
    assert [trial.settings for trial in second.trials] == [{}, {"lr": 3e-3}, {"lr": 3e-2}]
    assert first.epoch == 2


def test_a_draw_that_diverged_is_never_chosen_but_told() -> None:
    class Half(Work):
        def __call__(self, methods: Sequence[Method], cells: Tensor) -> Tried:
            fitted, values, epochs = super().__call__(methods, cells)
            return fitted, values.where(values < 0.6, float("-inf")), epochs

    _, second = Trials(DRAWN).train(Half(), None).choices()
    assert second.draw == 0
    assert [trial.value for trial in second.trials] == [0.5, None, None]


@pytest.mark.parametrize("width", [None, 1, 2, 4])
def test_the_chosen_runs_are_those_that_would_have_been_trained_alone(width: int | None) -> None:
    work = Work()
    trials = Trials(DRAWN).train(work, width)
    assert max(work.sizes) <= (width or 5)
    choices = trials.choices()
    stack = trials.gathered(choices)
    problem = toy_problem(noise=2.0)
    scores = stack.score(problem.test, problem.texts)
    assert stack.runs == 2
    for cell, choice in enumerate(choices):
        alone = fit([choice.method], work.studies.of_runs(torch.tensor([cell])))
        torch.testing.assert_close(scores[cell], alone.score(problem.test, problem.texts)[0], atol=1e-4, rtol=1e-4)


def test_a_part_that_does_not_fit_into_memory_is_halved() -> None:
    tight = Work(max_runs=2)
    trials = Trials(DRAWN).train(tight, None)
    assert tight.sizes == [5, 2, 3, 1, 2]
    assert [choice.draw for choice in trials.choices()] == [1, 1]


def test_memory_that_does_not_suffice_for_one_run_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Trials(DRAWN).train(Work(max_runs=0), None)
