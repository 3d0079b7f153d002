"""POP agrees with its authors' release, and as a variant with the PLENCH benchmark's code."""

from __future__ import annotations

from typing import Any

import pytest
from replay import Replay, agree, fixture

from pzsl_bench.methods.pop import POP


def replay(variant: str, inputs: dict[str, Any]) -> Replay:
    settings = {"variant": variant, "window": inputs["R"], **{k: inputs[k] for k in ("warm_up", "theta", "inc")}}
    return Replay("pop", inputs["candidates"], settings)


RELEASES = {"original": fixture("pop_original"), "plench": fixture("pop_plench")}


@pytest.mark.parametrize("variant", RELEASES)
def test_loss_weights_labels_left_and_threshold_equal_public_code(variant: str) -> None:
    numbers = RELEASES[variant]
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    run = replay(variant, inputs)
    assert isinstance(run.method, POP)
    agree(run.weights, inputs["initial_confidence"], tolerance)
    rows = range(inputs["N"])
    for epoch, expected in enumerate(numbers["expected"]):
        logits = inputs["logits"][epoch]
        loss, gradient = run.step(rows, logits, epoch=epoch)
        agree(loss, expected["loss"], tolerance)
        if variant == "original":
            agree(gradient, expected["grad_logits"], tolerance)
        else:
            run.revise(rows, logits, epoch=epoch)
        run.end_epoch(epoch)
        agree(run.weights, expected["confidence"], tolerance)
        assert run.memory["left"].tolist() == [[bool(k) for k in row] for row in expected["purified_mask"]]
        agree(run.method.theta * run.memory["growth"], expected["theta"], tolerance)


def test_a_removed_label_never_returns_in_the_original() -> None:
    run = replay("original", {"candidates": [[1, 1, 0]], "R": 1, "warm_up": 0, "theta": 0.2, "inc": 0.0})
    run.step([0], [[3.0, 0.0, 0.0]])
    run.end_epoch(0)
    assert run.weights.tolist() == [[1.0, 0.0, 0.0]]
    run.step([0], [[0.0, 9.0, 0.0]])
    run.end_epoch(1)
    assert run.weights.tolist() == [[1.0, 0.0, 0.0]]


def test_a_row_never_loses_its_last_label() -> None:
    run = replay("plench", {"candidates": [[1, 1, 0]], "R": 1, "warm_up": 0, "theta": 0.2, "inc": 0.0})
    for epoch, logits in enumerate([[[3.0, 0.0, 0.0]], [[0.0, 3.0, 0.0]]]):
        run.step([0], logits)
        run.revise([0], logits)
        run.end_epoch(epoch)
    assert run.memory["left"].tolist() == [[True, False, False]]
    assert run.weights.tolist() == [[1.0, 0.0, 0.0]]
