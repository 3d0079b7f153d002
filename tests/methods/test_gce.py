"""GCE agrees with the PLENCH benchmark's code, through the step that the trainer calls."""

from __future__ import annotations

from replay import Replay, agree, fixture


def test_loss_and_gradient_equal_public_code() -> None:
    numbers = fixture("average_based_mae_gce_exp")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    run = Replay("gce", inputs["candidates"], {"q": inputs["q"]})
    for step, expected in enumerate(numbers["expected"]):
        loss, gradient = run.step(inputs["batches"][step], inputs["logits"][step])
        agree(loss, expected["gce_loss"], tolerance)
        agree(gradient, expected["gce_grad_logits"], tolerance)
