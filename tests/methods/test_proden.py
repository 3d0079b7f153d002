"""PRODEN agrees with its authors' release, through the step that the trainer calls."""

from __future__ import annotations

import torch
from replay import Replay, agree, double, fixture


def test_loss_gradient_and_confidences_equal_the_original_release() -> None:
    numbers = fixture("proden_original")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    run = Replay("proden", inputs["candidates"])
    torch.testing.assert_close(run.weights, double(inputs["initial_confidence"]))
    for step, expected in enumerate(numbers["expected"]):
        loss, gradient = run.step(inputs["batches"][step], inputs["logits"][step])
        agree(loss, expected["loss"], tolerance)
        agree(gradient, expected["grad_logits"], tolerance)
        agree(run.weights, expected["confidence"], tolerance)
