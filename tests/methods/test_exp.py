"""EXP agrees with the PLENCH benchmark's code, through the step that the trainer calls."""

from __future__ import annotations

from replay import Replay, agree, fixture


def test_loss_and_gradient_equal_public_code() -> None:
    numbers = fixture("average_based_mae_gce_exp")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    run = Replay("exp", inputs["candidates"])
    for step, expected in enumerate(numbers["expected"]):
        loss, gradient = run.step(inputs["batches"][step], inputs["logits"][step])
        agree(loss, expected["exp_loss"], tolerance)
        agree(gradient, expected["exp_grad_logits"], tolerance)


def test_rows_where_everything_is_a_candidate_do_not_count() -> None:
    candidates, everything = [1, 1, 0], [1, 1, 1]
    logits = [[1.0, 0.0, 2.0], [0.5, 0.1, 0.2]]
    alone, gradient_alone = Replay("exp", [candidates]).step([0], logits[:1])
    both, gradient = Replay("exp", [candidates, everything]).step([0, 1], logits)
    assert both == alone
    assert gradient[0].tolist() == gradient_alone[0].tolist()
    assert gradient[1].tolist() == [0, 0, 0]
    assert Replay("exp", [everything]).step([0], logits[1:])[0] == 0
