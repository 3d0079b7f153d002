"""CC agrees with its authors' release, through the step that the trainer calls."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import Replay, agree, double, fixture


def test_loss_and_gradient_equal_the_release() -> None:
    numbers = fixture("cc")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    run = Replay("cc", inputs["candidates"])
    for step, expected in enumerate(numbers["expected"]):
        loss, gradient = run.step(inputs["batches"][step], inputs["logits"][step])
        agree(loss, expected["loss"], tolerance)
        agree(gradient, expected["grad_logits"], tolerance)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8).flatmap(lambda k: st.tuples(*[st.lists(st.floats(-300, 300), min_size=k, max_size=k)] * 2)))
def test_the_loss_is_the_log_mass_of_the_candidates(drawn: tuple[list[float], list[float]]) -> None:
    logits, luck = double(drawn[0]), double(drawn[1])
    candidates = luck >= luck.median()
    loss, _ = Replay("cc", candidates[None].tolist()).step([0], logits[None].tolist())
    torch.testing.assert_close(loss, logits.logsumexp(0) - logits[candidates].logsumexp(0), atol=1e-9, rtol=1e-9)
