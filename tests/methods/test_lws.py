"""LWS agrees with its authors' release, through the step and the second pass that the trainer calls."""

from __future__ import annotations

from replay import Replay, agree, fixture

RELEASED = {"scores": "raw", "softness": 1.0}


def test_loss_gradient_and_weights_equal_the_release() -> None:
    numbers = fixture("lw_sigmoid")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    assert inputs["lw0"] == 1
    run = Replay("lws", inputs["candidates"], {**RELEASED, "leverage": inputs["lw"]})
    candidates_alone = Replay("lws", inputs["candidates"], {**RELEASED, "leverage": 0.0})
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


def test_logits_of_zero_are_moved() -> None:
    _, gradient = Replay("lws", [[1, 1, 0]], RELEASED).step([0], [[0.0, 0.0, 0.0]])
    assert (gradient[0, :2] < 0).all()
    assert gradient[0, 2] > 0


def test_centred_scores_do_not_see_what_all_logits_share() -> None:
    near, _ = Replay("lws", [[1, 1, 0]]).step([0], [[3.0, 1.0, -2.0]])
    far, _ = Replay("lws", [[1, 1, 0]]).step([0], [[103.0, 101.0, 98.0]])
    agree(near, far.item(), {"atol": 1e-12, "rtol": 1e-12})
