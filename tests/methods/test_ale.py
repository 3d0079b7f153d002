"""ALE agrees with public code, sample by sample, after the same draws."""

from __future__ import annotations

from typing import Any

import pytest
from per_sample import CERTAIN, PerSample, the_map
from replay import agree, double, fixture
from retrain import Retrain

from pzsl_bench.blocks.ranking import rank_weights
from pzsl_bench.contract import State

FILE = PerSample("ale", fixture("ale"))
OTHERS = 3
"""Classes besides the right one."""


def violators(run: Retrain, row: int) -> list[int]:
    """Classes that come too close to the right one, by the definition."""
    scores = run.study.features[row] @ the_map(run) @ run.study.texts.T
    right = int(run.study.targets[row].argmax())
    return [k for k in range(len(scores)) if k != right and 1 + scores[k] - scores[right] > 0]


def dice(draws: list[int], too_close: list[int]) -> State:
    """Uniform numbers that stand for these draws, the last of which is a violator if one was met."""
    share = len(too_close) / OTHERS
    met = draws[-1] in too_close
    needed = len(draws) - 0.5 if met else OTHERS + 0.5
    place = too_close.index(draws[-1]) + 0.5 if met else 0.5
    return {
        "positive": CERTAIN,
        "trials": double([1 - (1 - share) ** needed if share < 1 else 0.5]),
        "wrong": double([place / max(1, len(too_close))]),
    }


@pytest.mark.parametrize(("case", "expected"), FILE.cases)
def test_maps_and_cosines_equal_public_code(case: dict[str, Any], expected: dict[str, Any]) -> None:
    run, recorded = FILE.columns(lr=case["lr"], evaluate="cosine"), iter(case["draws"])
    for weight in expected["W_after_epoch"]:
        for row in FILE.given["order"]:
            too_close, draws = violators(run, row), list[int]()
            while len(draws) < OTHERS and not (draws and draws[-1] in too_close):
                draws.append(next(recorded))
            run.step([row], dice=dice(draws, too_close))
        agree(the_map(run), weight, FILE.bounds)
    assert next(recorded, None) is None
    agree(FILE.cosines(run, expected), expected["cosine_test"], FILE.bounds)


def test_weights_of_ranks_equal_public_code() -> None:
    agree(rank_weights(4, double([0.0])), FILE.given["beta"], FILE.bounds)
