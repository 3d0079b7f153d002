"""CAVL agrees with its authors' release, and with its paper where the two differ."""

from __future__ import annotations

import pytest
import torch
from replay import Replay, agree, fixture


@pytest.mark.parametrize(
    ("rule", "labels"), [("released", "pseudo_label"), ("paper", "pseudo_label_restricted_to_candidates")]
)
def test_loss_gradient_and_labels_equal_the_release(rule: str, labels: str) -> None:
    numbers = fixture("cavl")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    run = Replay("cavl", inputs["candidates"], {"rule": rule, "warm_up": 0})
    agree(run.weights, inputs["initial_confidence"], tolerance)
    for step, expected in enumerate(numbers["expected"]):
        rows = inputs["batches"][step]
        loss, gradient = run.step(rows, inputs["logits_pre"][step])
        agree(loss, expected["loss"], tolerance)
        agree(gradient, expected["grad_logits"], tolerance)
        run.revise(rows, inputs["logits_post"][step])
        assert run.weights[rows].argmax(1).tolist() == expected[labels]
        if rule == "paper":
            assert (run.weights <= run.candidates).all()
            # The next step of the fixture starts from the release's labels.
            run.weights = torch.tensor(expected["confidence"], dtype=torch.float64)
        else:
            agree(run.weights, expected["confidence"], tolerance)


def test_the_released_rule_leaves_the_candidates_in_the_fixture() -> None:
    steps = fixture("cavl")["expected"]
    assert any(s["pseudo_label"] != s["pseudo_label_restricted_to_candidates"] for s in steps)


def test_weights_stay_uniform_until_the_warm_up_is_over() -> None:
    run = Replay("cavl", [[1, 1, 0]], {"warm_up": 2})
    for epoch, weights in ((0, [0.5, 0.5, 0.0]), (1, [0.5, 0.5, 0.0]), (2, [0.0, 1.0, 0.0])):
        run.step([0], [[2.0, 5.0, 9.0]], epoch=epoch)
        run.revise([0], [[2.0, 5.0, 9.0]], epoch=epoch)
        assert run.weights.tolist() == [weights]
