"""The criteria of selection equal a published implementation, and stay numbers where softmax would not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from replay import double, fixture

from pzsl_bench.selecting.criteria import approximated, covering, right


def fixture_numbers() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict]:
    numbers = fixture("model_selection_criteria")
    inputs = numbers["inputs"]
    candidates = double(inputs["candidates"]).bool()
    return double(inputs["logits"])[None], candidates[None], torch.tensor(inputs["true_labels"]), numbers


@pytest.mark.parametrize("name", ["covering_rate", "approximated_accuracy", "oracle_accuracy"])
def test_the_criteria_equal_those_of_plench(name: str) -> None:
    logits, candidates, truth, numbers = fixture_numbers()
    values = {
        "covering_rate": lambda: covering(logits, candidates),
        "approximated_accuracy": lambda: approximated(logits, candidates),
        "oracle_accuracy": lambda: right(logits, truth),
    }[name]()
    assert values.shape == (1, len(truth))
    tolerance = numbers["tolerance"]
    assert values.mean(-1).item() == pytest.approx(
        numbers["expected"][name], abs=tolerance["atol"], rel=tolerance["rtol"]
    )


def test_truths_may_be_each_runs_own() -> None:
    logits, _, truth, numbers = fixture_numbers()
    two = right(logits.expand(2, -1, -1), torch.stack([truth, logits[0].argmax(-1)])).mean(-1)
    assert two.tolist() == pytest.approx([numbers["expected"]["oracle_accuracy"], 1.0])


problems = st.integers(1, 6).flatmap(
    lambda classes: st.tuples(
        st.lists(st.floats(-300, 300, width=32), min_size=classes, max_size=classes),
        st.lists(st.booleans(), min_size=classes, max_size=classes).filter(any),
    )
)


@given(problems)
def test_the_approximated_accuracy_lies_between_zero_and_the_covering_rate(problem: tuple[list, list]) -> None:
    scores, candidates = torch.tensor([[problem[0]]]), torch.tensor([[problem[1]]])
    covered, share = covering(scores, candidates), approximated(scores, candidates)
    assert share.isfinite().all()
    assert (share >= 0).all()
    assert (share <= covered + 1e-6).all()


def test_of_all_classes_the_best_has_its_own_probability_and_of_one_candidate_everything() -> None:
    scores = torch.tensor([[[2.0, 1.0, 0.0], [300.0, 0.0, -300.0]]])
    everything = torch.ones(1, 2, 3, dtype=torch.bool)
    torch.testing.assert_close(approximated(scores, everything), scores.softmax(-1).amax(-1))
    alone = torch.tensor([[[True, False, False], [False, True, False]]])
    assert approximated(scores, alone).tolist() == [[1.0, 0.0]]
