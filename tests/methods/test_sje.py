"""SJE agrees with public code, sample by sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from per_sample import CERTAIN, PerSample, the_map
from replay import agree, double, fixture

FILE = PerSample("sje", fixture("sje"))
AS_PUBLIC = {"violation": "standardised", "evaluate": "cosine"}


@pytest.mark.parametrize(("case", "expected"), FILE.cases)
def test_maps_and_answers_equal_public_code(case: dict[str, Any], expected: dict[str, Any]) -> None:
    run = FILE.columns(lr=case["lr"], margin=case["margin"], **AS_PUBLIC)
    for weight in expected["W_after_epoch"]:
        for row in FILE.given["order"]:
            run.step([row], dice={"positive": CERTAIN})
        agree(the_map(run), weight, FILE.bounds)
    FILE.cosines(run, expected)


@pytest.mark.parametrize(("case", "expected"), FILE.cases)
def test_the_most_violating_class_equals_public_code(case: dict[str, Any], expected: dict[str, Any]) -> None:
    """A single step with a learning rate of 1 moves the map by the image times what was found."""
    labels = FILE.given["y"]
    for row, worst in enumerate(expected["most_violating_at_W0"]):
        run = FILE.columns(lr=1.0, margin=case["margin"], **AS_PUBLIC)
        run.step([row], dice={"positive": CERTAIN})
        texts = run.study.texts
        moved = torch.outer(run.study.features[row], texts[labels[row]] - texts[worst])
        agree(the_map(run) - double(FILE.given["W0"]), moved.tolist(), FILE.bounds)
