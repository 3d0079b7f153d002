"""RC agrees with public code, through the step and the second pass that the trainer calls."""

from __future__ import annotations

from replay import Replay, agree, fixture


def test_loss_gradient_and_weights_equal_public_code() -> None:
    numbers = fixture("rc_and_plench_proden")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    run = Replay("rc", inputs["candidates"])
    agree(run.weights, inputs["initial_confidence"], tolerance)
    for step, expected in enumerate(numbers["expected"]):
        rows = inputs["batches"][step]
        loss, gradient = run.step(rows, inputs["logits_pre"][step])
        agree(loss, expected["loss"], tolerance)
        agree(gradient, expected["grad_logits"], tolerance)
        run.revise(rows, inputs["logits_post"][step])
        agree(run.weights, expected["confidence"], tolerance)


def test_a_label_that_underflowed_can_return() -> None:
    run = Replay("rc", [[1, 1, 0]])
    run.step([0], [[0.0, 0.0, 0.0]])
    run.revise([0], [[2000.0, 0.0, 0.0]])
    assert run.weights.tolist() == [[1.0, 0.0, 0.0]]
    run.revise([0], [[0.0, 2000.0, 0.0]])
    assert run.weights.tolist() == [[0.0, 1.0, 0.0]]
