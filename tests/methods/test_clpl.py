"""CLPL agrees with the deep port of public code, and with the paper's loss on raw scores."""

from __future__ import annotations

import pytest
from replay import Replay, agree, fixture


def test_loss_and_gradient_equal_the_port_to_probabilities() -> None:
    numbers = fixture("clpl_softmax")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    run = Replay("clpl", inputs["candidates"])
    for step, expected in enumerate(numbers["expected"]):
        loss, gradient = run.step(inputs["batches"][step], inputs["logits"][step])
        agree(loss, expected["loss"], tolerance)
        agree(gradient, expected["grad_logits"], tolerance)


def test_raw_scores_are_the_papers_formula() -> None:
    loss, _ = Replay("clpl", [[1, 1, 0, 0]], {"scores": "raw"}).step([0], [[2.0, -1.0, 0.5, -3.0]])
    # Mean candidate score 0.5, one short of the margin by half; 0.5 should be below -1; -3 is.
    assert loss.item() == pytest.approx(0.5**2 + 1.5**2)
