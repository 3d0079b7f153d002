"""ABLE agrees with its authors' release, indexing error included, through the step that the trainer calls."""

from __future__ import annotations

from functools import partial

import pytest
from replay import ProjectedLookUp, Replay, agree, fixture

NUMBERS = fixture("able")
GIVEN, TOLERANCE = NUMBERS["inputs"], NUMBERS["tolerance"]
CLASSES, BATCH = GIVEN["K"], GIVEN["B"]


@pytest.mark.parametrize("weights_of", ["position", "image"])
def test_losses_gradients_and_weights_equal_the_authors_release(weights_of: str) -> None:
    settings = {
        "contrast_temperature": GIVEN["temperature"],
        "batch": BATCH,
        "projection": len(GIVEN["features_weak"][0][0]),
        "weights_of": weights_of,
    }
    run = Replay("able", GIVEN["candidates"], settings, look_up=partial(ProjectedLookUp, classes=CLASSES))
    agree(run.weights, GIVEN["initial_confidence"], TOLERANCE)
    for step, expected in enumerate(NUMBERS["expected"]):
        plain = [z + f for z, f in zip(GIVEN["logits_weak"][step], GIVEN["features_weak"][step], strict=True)]
        other = [[0.0] * CLASSES + f for f in GIVEN["features_strong"][step]]
        loss, gradient = run.step(GIVEN["batches"][step], plain, [other])
        agree(run.notes["classification"], expected["classification_loss"], TOLERANCE)
        agree(gradient[:BATCH, :CLASSES], expected["grad_logits_weak"], TOLERANCE)
        agree(run.weights, expected["confidence"], TOLERANCE)
        right = expected["contrastive_loss_if_confidence_rows_were_indexed_correctly"]
        contrast = right if weights_of == "image" else expected["contrastive_loss"]
        agree(run.notes["contrast"], contrast, TOLERANCE)
        agree(loss, expected["classification_loss"] + contrast, TOLERANCE)
        if weights_of == "position":
            agree(gradient[:BATCH, CLASSES:], expected["grad_features_weak"], TOLERANCE)
            agree(gradient[BATCH:, CLASSES:], expected["grad_features_strong"], TOLERANCE)
            agree(run.memory["first"], expected["confidence"][:BATCH], TOLERANCE)
