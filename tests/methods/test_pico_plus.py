"""PiCO+ agrees with its authors' release, through the step that the trainer calls and at the end of an epoch."""

from __future__ import annotations

from functools import partial

import torch
from replay import ProjectedLookUp, Replay, agree, double, fixture

NUMBERS = fixture("pico_plus")
GIVEN, TOLERANCE = NUMBERS["inputs"], NUMBERS["tolerance"]
CLASSES, BATCH, WIDTH = GIVEN["K"], GIVEN["B"], GIVEN["D"]


def recorded_run() -> Replay:
    queued = len(GIVEN["initial_queue"])
    memory = {
        "prototypes": double(GIVEN["initial_prototypes"]),
        "queue": double(GIVEN["initial_queue"]),
        "queue_labels": torch.full((queued,), CLASSES),
        "queue_reliable": torch.zeros(queued, dtype=torch.bool),
        "average.table": torch.zeros(2 * BATCH, CLASSES + WIDTH, dtype=torch.float64),
    }
    settings = {
        "queue": queued,
        "projection": WIDTH,
        "prototype_momentum": GIVEN["proto_m"],
        "contrast": GIVEN["loss_weight"],
        "contrast_temperature": GIVEN["temperature"],
        "epochs": GIVEN["epochs"],
        "phi_start": GIVEN["conf_ema_range"][0],
        "phi_end": GIVEN["conf_ema_range"][1],
        "start": GIVEN["prot_start"],
        "neighbours_start": GIVEN["knn_start"],
        "neighbours": GIVEN["chosen_neighbors"],
        "pure": GIVEN["pure_ratio"],
        "guess_temperature": GIVEN["temperature_guess"],
        "unreliable": GIVEN["ur_weight"],
        "certain": GIVEN["cls_weight"],
        "key_momentum": 1.0,
    }
    return Replay("pico_plus", GIVEN["candidates"], settings, memory, look_up=partial(ProjectedLookUp, classes=CLASSES))


def test_every_recorded_number_equals_the_authors_release() -> None:
    run = recorded_run()
    agree(run.weights, GIVEN["initial_confidence"], TOLERANCE)
    for epoch, expected in enumerate(NUMBERS["expected"]):
        rows = GIVEN["batches"][epoch]
        assert run.tables["reliable"][rows].int().tolist() == expected["reliable"]
        queries = [z + q for z, q in zip(GIVEN["logits"][epoch], GIVEN["query_features"][epoch], strict=True)]
        keys = [[0.0] * CLASSES + k for k in GIVEN["key_features"][epoch]]
        run.memory["average.table"] = double(queries + keys)
        partners = torch.tensor(GIVEN["partners"][epoch])
        dice = {"share": double([GIVEN["share"][epoch]] * 7), "partners": partners.argsort() / BATCH}
        loss, gradient = run.step(rows, queries, [[[7.0] * (CLASSES + WIDTH)] * BATCH], dice=dice, epoch=epoch)
        if epoch >= GIVEN["prot_start"]:
            agree(run.notes["mixture"], expected["mixup_loss"], TOLERANCE)
            agree(run.notes["reliable"], expected["classification_loss"], TOLERANCE)
            agree(run.notes["guessed"], expected["guessed_loss"], TOLERANCE)
        agree(run.notes["contrast"], expected["contrastive_loss"], TOLERANCE)
        agree(loss, expected["total_loss"], TOLERANCE)
        agree(gradient[:BATCH], expected["gradient"], TOLERANCE)
        assert not gradient[BATCH:].any()
        agree(run.weights, expected["confidence"], TOLERANCE)
        agree(run.memory["prototypes"], expected["prototypes"], TOLERANCE)
        agree(run.tables["distance"][rows], expected["distance"], TOLERANCE)
        assert run.memory["queue_labels"][-BATCH:].tolist() == expected["pseudo_label"]
        run.end_epoch(epoch)


def test_as_many_images_are_reliable_as_the_user_says() -> None:
    run = recorded_run()
    run.end_epoch(0)
    assert run.tables["reliable"].sum() == int(GIVEN["pure_ratio"] * GIVEN["N"])
