"""DeViSE agrees with public code, sample by sample; its other scans are what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from per_sample import CERTAIN, PerSample, the_map
from replay import agree, double, fixture

from pzsl_bench.contract import Batch, Gradient, Output, configure

FILE = PerSample("devise", fixture("devise"))


@pytest.mark.parametrize(("case", "expected"), FILE.cases)
def test_maps_and_answers_equal_public_code(case: dict[str, Any], expected: dict[str, Any]) -> None:
    run = FILE.columns(lr=case["lr"], margin=case["margin"], scan="first", evaluate="cosine")
    for weight in expected["W_after_epoch"]:
        for row in FILE.given["order"]:
            run.step([row], dice={"positive": CERTAIN})
        agree(the_map(run), weight, FILE.bounds)
    FILE.cosines(run, expected)


@pytest.mark.parametrize(
    ("scan", "dice", "hinges"),
    [("first", 0.0, [1.5]), ("shuffled", 0.1, [1.5]), ("shuffled", 0.9, [0.7]), ("all", 0.0, [1.5, 0.7])],
)
def test_a_scan_counts_the_violators_it_meets(scan: str, dice: float, hinges: list[float]) -> None:
    """Class 1 scores 1. Class 0 scores more but is a candidate too, and class 3 is further below than the margin."""
    batch = Batch(
        weights=double([[0.0, 1.0, 0.0, 0.0, 0.0]]),
        candidates=torch.tensor([[True, True, False, False, False]]),
        dice={"positive": CERTAIN, "wrong": double([dice])},
    )
    method = configure("devise", {"scan": scan})
    assert isinstance(method, Gradient)
    loss = method.loss(Output(double([[3.0, 1.0, 1.5, -1.0, 0.7]])), batch)
    assert loss.item() == pytest.approx(sum(hinges))
