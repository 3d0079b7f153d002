"""The copies of a stack that are made while it trains are those of the right epochs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pzsl_bench.contract import configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.selecting.kept_epochs import BestEpoch, ReadAt, Tail
from pzsl_bench.training.fit import fit
from pzsl_bench.training.fitted import Fitted

CPU = torch.device("cpu")
METHOD = configure("proden", {"epochs": 5, "batch": 32})


@pytest.fixture(scope="module")
def studies() -> Studies:
    return toy_studies(toy_problem(noise=2.0), [("flip", 0.3, seed) for seed in range(3)])


class History:
    """A copy of every state of a training."""

    def __init__(self) -> None:
        self.states: dict[int, dict[str, Tensor]] = {}

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        self.states[epoch] = {name: value.clone() for name, value in fitted.state.items()}


@pytest.fixture(scope="module")
def history(studies: Studies) -> dict[int, dict[str, Tensor]]:
    seen = History()
    fit([METHOD] * 3, studies, watch=seen)
    return seen.states


def same(fitted: Fitted, run: int, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(fitted.state[name][run], value[run]) for name, value in state.items())


def scripted(*values: list[float]) -> BestEpoch:
    """A watch whose criterion has these values, epoch after epoch."""
    script = [torch.tensor(value, dtype=torch.float64) for value in values]
    return BestEpoch(lambda _: script.pop(0))


def test_every_run_is_kept_at_its_own_best_epoch_and_ties_go_to_the_later(studies: Studies, history: dict) -> None:
    best = scripted([0.9, 0.1, 0.5], [0.2, 0.3, 0.5], [0.3, 0.8, 0.4], [0.4, 0.2, 0.5], [0.5, 0.7, 0.1])
    chosen, values, epochs = best.chosen(fit([METHOD] * 3, studies, watch=best), "covering")
    assert epochs.tolist() == [1, 3, 4]
    assert values.tolist() == [0.9, 0.8, 0.5]
    for run, epoch in enumerate(epochs.tolist()):
        assert same(chosen, run, history[epoch])
    assert chosen.curves["covering"][1].tolist() == [0.1, 0.3, 0.8, 0.2, 0.7]
    assert chosen.weights is None, "the label weights are those of another epoch"


def test_a_run_that_diverges_is_kept_as_it_was_before(studies: Studies, history: dict) -> None:
    nan = float("nan")
    best = scripted([0.1, nan, 0.1], [0.2, nan, 0.2], [nan, nan, 0.3], [nan, nan, 0.4], [nan, nan, 0.5])
    chosen, _, epochs = best.chosen(fit([METHOD] * 3, studies, watch=best), "covering")
    assert chosen.alive.tolist() == [True, False, True]
    assert (epochs[0].item(), epochs[2].item()) == (2, 5)
    assert same(chosen, 0, history[2])


def test_a_run_is_read_at_the_epoch_asked_for(studies: Studies, history: dict) -> None:
    reader = ReadAt([4, 1, 5], CPU)
    read = reader.restored(fit([METHOD] * 3, studies, watch=reader))
    for run, epoch in enumerate([4, 1, 5]):
        assert same(read, run, history[epoch])


def test_without_an_epoch_the_end_is_read(studies: Studies, history: dict) -> None:
    reader = ReadAt([None] * 3, CPU)
    end = fit([METHOD] * 3, studies, watch=reader)
    assert reader.restored(end) is end
    assert same(end, 0, history[5])


def test_being_alive_is_told_as_of_the_epoch_that_is_read(studies: Studies) -> None:
    fitted = fit([METHOD] * 3, studies)
    reader = ReadAt([2, 3, 1], CPU)
    for epoch, alive in enumerate([[True, True, True], [True, True, False], [False, False, False]], 1):
        reader(epoch, replace(fitted, alive=torch.tensor(alive)))
    assert reader.restored(fitted).alive.tolist() == [True, False, True]


@pytest.mark.parametrize(("window", "epochs"), [(1, [5]), (3, [3, 4, 5]), (9, [1, 2, 3, 4, 5])])
def test_the_tail_is_the_last_epochs_or_all_there_are(
    studies: Studies, history: dict, window: int, epochs: list[int]
) -> None:
    tail = Tail(METHOD, window)
    states = tail.last_states(fit([METHOD] * 3, studies, watch=tail))
    assert len(states) == len(epochs)
    assert all(
        same(state, run, history[epoch]) for state, epoch in zip(states, epochs, strict=True) for run in range(3)
    )


def test_a_method_without_epochs_is_its_own_tail_and_best(studies: Studies) -> None:
    solved = [configure("eszsl", {})] * 3
    tail, best = Tail(solved[0], 10), BestEpoch(lambda _: torch.tensor([0.1, 0.2, float("nan")]))
    end = fit(solved, studies, watch=tail)
    assert tail.last_states(end) == [end]
    chosen, values, epochs = best.chosen(end, "covering")
    assert epochs.tolist() == [0, 0, 0]
    assert chosen.alive.tolist() == [True, True, False]
    assert values[:2].tolist() == pytest.approx([0.1, 0.2])
