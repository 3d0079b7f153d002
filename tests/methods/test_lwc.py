"""LWC agrees with its authors' release, through the step and the second pass that the trainer calls."""

from __future__ import annotations

from replay import Replay, agree, fixture


def test_loss_gradient_and_weights_equal_the_release() -> None:
    numbers = fixture("lw_crossentropy")
    given, tolerance = numbers["inputs"], numbers["tolerance"]
    assert given["lw0"] == 1
    run = Replay("lwc", given["candidates"], {"leverage": given["lw"]})
    candidates_alone = Replay("lwc", given["candidates"], {"leverage": 0.0})
    agree(run.weights, given["initial_weights"], tolerance)
    for step, expected in enumerate(numbers["expected"]):
        rows = given["batches"][step]
        loss, gradient = run.step(rows, given["logits_pre"][step])
        agree(loss, expected["loss"], tolerance)
        agree(gradient, expected["grad_logits"], tolerance)
        candidate_term, _ = candidates_alone.step(rows, given["logits_pre"][step])
        agree(candidate_term, expected["candidate_term"], tolerance)
        agree((loss - candidate_term) / given["lw"], expected["noncandidate_term"], tolerance)
        for one in (run, candidates_alone):
            one.revise(rows, given["logits_post"][step])
        agree(run.weights, expected["weights"], tolerance)
