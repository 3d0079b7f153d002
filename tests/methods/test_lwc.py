"""LWC agrees with its authors' release, through the step and the second pass that the trainer calls."""

from __future__ import annotations

from replay import Replay, agree, fixture


def test_loss_gradient_and_weights_equal_the_release() -> None:
    numbers = fixture("lw_crossentropy")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    assert inputs["lw0"] == 1
    run = Replay("lwc", inputs["candidates"], {"leverage": inputs["lw"]})
    candidates_alone = Replay("lwc", inputs["candidates"], {"leverage": 0.0})
    agree(run.weights, inputs["initial_weights"], tolerance)
    for step, expected in enumerate(numbers["expected"]):
        rows = inputs["batches"][step]
        loss, gradient = run.step(rows, inputs["logits_pre"][step])
        agree(loss, expected["loss"], tolerance)
        agree(gradient, expected["grad_logits"], tolerance)
        candidate_term, _ = candidates_alone.step(rows, inputs["logits_pre"][step])
        agree(candidate_term, expected["candidate_term"], tolerance)
        agree((loss - candidate_term) / inputs["lw"], expected["noncandidate_term"], tolerance)
        for one in (run, candidates_alone):
            one.revise(rows, inputs["logits_post"][step])
        agree(run.weights, expected["weights"], tolerance)
