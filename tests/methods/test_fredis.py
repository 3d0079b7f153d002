"""FREDIS agrees with its authors' release, through the step and the end of an epoch that the trainer calls."""

from __future__ import annotations

from typing import Any

import torch
from replay import Replay, agree, double, fixture

from pzsl_bench.methods.fredis import Fredis

NUMBERS = fixture("fredis")
GIVEN, TOLERANCE = NUMBERS["inputs"], NUMBERS["tolerance"]


def replay(candidates: Any, **settings: float) -> Replay:
    run = Replay("fredis", candidates, {"warm_up": 0, **settings})
    assert isinstance(run.method, Fredis)
    return run


def predict(run: Replay, probabilities: list[list[float]]) -> None:
    """Let the run see these predictions in all views, and end the epoch."""
    logits = double(probabilities).log().tolist()
    run.step(range(len(logits)), logits, [logits, logits])
    run.end_epoch(0)


def test_losses_weights_sets_and_thresholds_equal_the_authors_release() -> None:
    settings = {
        "softness": GIVEN["T"],
        "consistency": GIVEN["lam"],
        "outside": GIVEN["alpha"],
        "ratio": GIVEN["times"],
        "limit": GIVEN["change_size"] / GIVEN["N"],
        "interval": GIVEN["update_interval"],
        **{name: GIVEN[name] for name in ("warm_up", "theta", "inc", "delta", "dec")},
    }
    run = replay(GIVEN["candidates"], **settings)
    assert isinstance(run.method, Fredis)
    agree(run.weights, GIVEN["initial_confidence"], TOLERANCE)
    sets = [run.candidates.tolist()]
    for epoch, expected in enumerate(NUMBERS["expected"]):
        plain, *views = GIVEN["logits"][epoch]
        loss, gradient = run.step(range(GIVEN["N"]), plain, views, epoch=epoch)
        agree(loss, expected["loss"], TOLERANCE)
        agree(gradient.view(3, GIVEN["N"], -1), expected["grad_logits"], TOLERANCE)
        agree(run.weights, expected["confidence_after_step"], TOLERANCE)
        agree(run.tables["log p"].exp(), expected["posterior"], TOLERANCE)
        run.end_epoch(epoch)
        agree(run.weights, expected["confidence"], TOLERANCE)
        agree(run.method.theta + run.memory["risen"], expected["theta"], TOLERANCE)
        agree(run.method.delta - run.memory["fallen"], expected["delta"], TOLERANCE)
        sets.append(run.tables["set"].tolist())
        assert sets[-1] == [[bool(k) for k in row] for row in expected["label_matrix"]]
    # Labels have joined and left, so the comparison says something.
    assert sets[0] == sets[1] != sets[-1]


def test_a_missing_label_joins_and_the_least_likely_ones_leave_for_it() -> None:
    run = replay([[1, 1, 1, 0], [1, 1, 0, 0]], ratio=1.0, limit=1.0)
    predict(run, [[0.1, 0.02, 0.08, 0.8], [0.6, 0.3, 0.05, 0.05]])
    assert run.tables["set"].tolist() == [[True, False, True, True], [True, True, False, False]]
    assert (run.weights > 0).tolist() == run.tables["set"].tolist()


def test_a_label_that_left_may_return() -> None:
    run = replay([[1, 1, 0]], ratio=1.0, limit=1.0)
    predict(run, [[0.1, 0.2, 0.7]])
    assert run.tables["set"].tolist() == [[False, True, True]]
    predict(run, [[0.7, 0.2, 0.1]])
    assert run.tables["set"].tolist() == [[True, True, False]]


def test_no_more_labels_join_than_the_limit_and_the_surest_ones_do() -> None:
    run = replay([[1, 0, 0]] * 3, limit=1 / 3)
    predict(run, [[0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    assert run.tables["set"].tolist() == [[True, False, False], [False, True, False], [True, False, False]]


def test_an_image_never_loses_its_last_label() -> None:
    run = replay([[1, 0, 0], [1, 0, 0]], limit=0.5, ratio=9.0)
    predict(run, [[0.01, 0.98, 0.01], [0.02, 0.96, 0.02]])
    assert run.tables["set"].any(-1).all()
    torch.testing.assert_close(run.weights.sum(-1), torch.ones(2, dtype=torch.float64))


def test_an_image_that_no_step_has_seen_keeps_its_candidates() -> None:
    run = replay([[1, 1, 0], [1, 0, 1]], limit=1.0)
    logits = [[5.0, 0.0, 0.0]]
    run.step([0], logits, [logits, logits])
    run.end_epoch(0)
    assert run.tables["set"][1].tolist() == [True, False, True]
