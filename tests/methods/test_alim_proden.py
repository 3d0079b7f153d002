"""ALIM on PRODEN agrees with its authors' release, through the step that the trainer calls and the end of an epoch."""

from __future__ import annotations

import pytest
import torch
from replay import Replay, agree, double, fixture

NUMBERS = fixture("alim_proden")
TOLERANCE = NUMBERS["tolerance"]


@pytest.mark.parametrize("name", NUMBERS["expected"])
def test_losses_gradients_weights_and_importance_equal_the_authors_release(name: str) -> None:
    given = NUMBERS["inputs"][name]
    settings = {
        "targets": given["normalisation"],
        "noise": given["noise_rate"],
        "inertia": given["conf_ema_m"],
        "mixup_weight": given["loss_weight_mixup"],
        # The release moves lambda at the end of the epoch of that number, and we after so many epochs.
        "importance_start": given["piror_start"] + 1,
    }
    run = Replay("alim_proden", given["candidates"], settings)
    agree(run.weights, given["initial_confidence"], TOLERANCE)
    for epoch, expected in enumerate(NUMBERS["expected"][name]):
        agree(run.memory["importance"], expected["lambda_before"], TOLERANCE)
        for number, rows in enumerate(given["batches"][epoch]):
            partners = torch.tensor(given["perm"][epoch][number])
            dice = {"share": double([given["lam"][epoch][number]] * 7), "partners": partners.argsort() / len(rows)}
            loss, gradient = run.step(rows, given["logits"][epoch][number], dice=dice, epoch=epoch)
            agree(loss, expected["losses"][number], TOLERANCE)
            agree(gradient, expected["grads"][number], TOLERANCE)
        agree(run.weights, expected["confidence"], TOLERANCE)
        run.end_epoch(epoch)
        agree(run.memory["importance"], expected["lambda_after"], TOLERANCE)


def dice(images: int) -> dict[str, torch.Tensor]:
    return {"share": double([0.5] * 7), "partners": torch.arange(images) / images}


@pytest.mark.parametrize("targets", ["scale", "onehot"])
def test_a_missing_label_gains_weight_once_other_labels_count(targets: str) -> None:
    run = Replay(
        "alim_proden", [[1, 0, 0], [1, 1, 0]], {"importance_start": 1, "noise": 0.5, "targets": targets, "inertia": 0.0}
    )
    logits = [[0.0, 9.0, 0.0], [5.0, 0.0, 0.0]]
    run.step([0, 1], logits, dice=dice(2))
    assert run.weights[0].tolist() == [1, 0, 0]
    run.end_epoch(0)
    assert run.memory["importance"] == 1
    run.step([0, 1], logits, dice=dice(2))
    assert run.weights.argmax(-1).tolist() == [1, 0]


def test_no_assumed_noise_leaves_the_weights_to_the_candidates() -> None:
    run = Replay("alim_proden", [[1, 0, 0], [1, 1, 0]], {"importance_start": 0, "noise": 0.0, "inertia": 0.0})
    for epoch in range(3):
        run.step([0, 1], [[0.0, 9.0, 0.0], [1.0, 0.0, 9.0]], dice=dice(2), epoch=epoch)
        run.end_epoch(epoch)
    assert not run.weights[~run.candidates].any()
    torch.testing.assert_close(run.weights[1, :2], double([1.0, 0.0]).softmax(-1))
