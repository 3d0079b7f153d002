"""PaPi agrees with its authors' release, through the step that the trainer calls."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from replay import ProjectedLookUp, Replay, agree, double, fixture

from pzsl_bench.blocks.mixup import mix
from pzsl_bench.contract import configure
from pzsl_bench.methods.papi import Papi

NUMBERS = fixture("papi_loss")
GIVEN, TOLERANCE = NUMBERS["inputs"], NUMBERS["tolerance"]
CLASSES, BATCH = GIVEN["K"], GIVEN["B"]
TIMES = [0, 1, 5]
"""Epochs at which our momentum of the label weights is that of the recorded steps: the recording sets it after a step
from the epoch of that step, 0 and 4, as if the next step were in the epoch after."""


def test_losses_gradients_and_weights_equal_the_authors_release() -> None:
    settings = {
        "epochs": GIVEN["epochs_total"],
        "pace": GIVEN["epochs_total"],
        "prototype_temperature": GIVEN["tau_proto"],
        "projection": CLASSES,
        # The recorded weights of the alignment, 0, 0.4 and 1, at the epochs of TIMES.
        "ramp": 2.5,
    }
    run = Replay("papi", GIVEN["candidates"], settings, look_up=partial(ProjectedLookUp, classes=CLASSES))
    assert isinstance(run.method, Papi)
    agree(run.weights, GIVEN["initial_confidence"], TOLERANCE)
    for step, expected in enumerate(NUMBERS["expected"]):
        # Prototypes that are unit vectors of the axes: their logits are the projection itself.
        run.memory["prototypes"] = torch.eye(CLASSES, dtype=torch.float64)
        share, partners = double(GIVEN["lam"][step]), torch.tensor(GIVEN["perm"][step])
        # The images are one-hot, so what is looked up for a mixture is this mixture of the table's rows; the table is
        # made such that the recorded numbers come out.
        mixture = mix(torch.eye(BATCH, dtype=torch.float64), partners, share)
        tables = torch.linalg.solve(mixture, double(GIVEN["mixed_prototype_logits"][step]))
        plain = torch.cat([double(GIVEN["logits"][step]), tables[0]], 1).tolist()
        other = torch.cat([torch.zeros(BATCH, CLASSES), tables[1]], 1).tolist()
        dice = {"share": share.repeat(15), "partners": partners.argsort() / BATCH}
        loss, gradient = run.step(GIVEN["batches"][step], plain, [other], dice=dice, epoch=TIMES[step])
        agree(run.notes["classification"], expected["classification_loss"], TOLERANCE)
        agree(run.notes["alignment"], expected["alignment_loss"], TOLERANCE)
        agree(loss, expected["total_loss"], TOLERANCE)
        agree((loss - run.notes["classification"]) / run.notes["alignment"], expected["alpha"], TOLERANCE)
        agree(run.method.phi(double(TIMES[step])), expected["phi"], TOLERANCE)
        agree(gradient[:BATCH, :CLASSES], expected["grad_logits"], TOLERANCE)
        mixed = torch.linalg.solve(mixture.T, gradient[:, CLASSES:].view(2, BATCH, CLASSES))
        agree(mixed, expected["grad_mixed_prototype_logits"], TOLERANCE)
        agree(run.weights, expected["confidence"], TOLERANCE)


@pytest.mark.parametrize("epochs", [20, 100])
def test_few_epochs_turn_labels_as_far_as_many(epochs: int) -> None:
    shares_left = []
    for number in (epochs, 500):
        method = configure("papi", {"epochs": number})
        assert isinstance(method, Papi)
        # From the second epoch on: the first has a momentum of its own.
        shares_left.append(method.phi(torch.arange(1.0, number)).log().sum() / (1 - 1 / number))
    torch.testing.assert_close(shares_left[0], shares_left[1], rtol=0.1, atol=0.0)
