"""PiCO agrees with its authors' release, through the step that the trainer calls."""

from __future__ import annotations

from functools import partial

import torch
from replay import ProjectedLookUp, Replay, agree, double, fixture

NUMBERS = fixture("pico_prototypes_confidence_supcon")
GIVEN, TOLERANCE = NUMBERS["inputs"], NUMBERS["tolerance"]
CLASSES, BATCH, WIDTH = GIVEN["K"], GIVEN["B"], GIVEN["D"]


def recorded_run(**settings: object) -> Replay:
    memory = {
        "prototypes": double(GIVEN["initial_prototypes"]),
        "queue": double(GIVEN["initial_queue"]),
        "queue_labels": torch.tensor(GIVEN["initial_queue_labels"]).long(),
        "average.table": torch.zeros(2 * BATCH, CLASSES + WIDTH, dtype=torch.float64),
    }
    known = {
        "queue": len(GIVEN["initial_queue"]),
        "projection": WIDTH,
        "prototype_momentum": GIVEN["proto_m"],
        "contrast": GIVEN["loss_weight"],
        "contrast_temperature": GIVEN["temperature"],
        "epochs": GIVEN["epochs"],
        "phi_start": GIVEN["conf_ema_range"][0],
        "phi_end": GIVEN["conf_ema_range"][1],
        "start": 0,
        # The averaged parameters, and with them the keys, stay as they are given.
        "key_momentum": 1.0,
    }
    look_up = partial(ProjectedLookUp, classes=CLASSES)
    return Replay("pico", GIVEN["candidates"], {**known, **settings}, memory, look_up=look_up)


def take(run: Replay, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and (B, K + D) gradient of a recorded step, which stands for one epoch."""
    queries = [z + q for z, q in zip(GIVEN["logits"][step], GIVEN["query_features"][step], strict=True)]
    keys = [[0.0] * CLASSES + k for k in GIVEN["key_features"][step]]
    run.memory["average.table"] = double(queries + keys)
    # What the current parameters make of the other view must not matter.
    junk = torch.full((BATCH, CLASSES + WIDTH), 7.0).tolist()
    loss, gradient = run.step(GIVEN["batches"][step], queries, [junk], epoch=step)
    assert not gradient[BATCH:].any()
    return loss, gradient[:BATCH]


def test_every_recorded_number_equals_the_authors_release() -> None:
    run = recorded_run()
    agree(run.weights, GIVEN["initial_confidence"], TOLERANCE)
    for step, expected in enumerate(NUMBERS["expected"]):
        rows, before, prototypes = GIVEN["batches"][step], run.weights.clone(), run.memory["prototypes"]
        loss, gradient = take(run, step)
        agree(run.notes["classification"], expected["classification_loss"], TOLERANCE)
        agree(run.notes["contrast"], expected["contrastive_loss"], TOLERANCE)
        agree(loss, expected["total_loss"], TOLERANCE)
        agree(gradient[:, :CLASSES], expected["grad_logits"], TOLERANCE)
        agree(gradient[:, CLASSES:], expected["grad_query_features"], TOLERANCE)
        agree(run.weights, expected["confidence"], TOLERANCE)
        agree(run.memory["prototypes"], expected["prototypes"], TOLERANCE)
        # The release overwrites a ring at a pointer, here the oldest key comes first.
        pointer = (step + 1) * BATCH % len(GIVEN["initial_queue"])
        agree(run.memory["queue"].roll(pointer, 0), expected["queue"], TOLERANCE)
        agree(run.memory["queue_labels"].roll(pointer).double(), expected["queue_labels"], TOLERANCE)
        assert run.memory["queue_labels"][-BATCH:].tolist() == expected["classifier_pseudo_label"]
        moved = (run.weights[rows] - expected["phi"] * before[rows]) / (1 - expected["phi"])
        agree(moved, torch.eye(CLASSES)[expected["prototype_label"]].tolist(), TOLERANCE)
        scores = (double(GIVEN["query_features"][step]) @ prototypes.T).softmax(-1)
        agree(scores, expected["prototype_score"], TOLERANCE)


def test_before_the_start_an_image_is_contrasted_with_its_own_key_and_the_queue() -> None:
    run = recorded_run(start=1)
    before = run.weights.clone()
    take(run, 0)
    queries, keys, queue = (double(GIVEN[name]) for name in ("query_features", "key_features", "initial_queue"))
    own_keys = (queries[0] * keys[0]).sum(-1, keepdim=True)
    scores = torch.cat([own_keys, queries[0] @ queue.T], 1) / GIVEN["temperature"]
    torch.testing.assert_close(run.notes["contrast"], -scores.log_softmax(-1)[:, 0].mean())
    assert torch.equal(run.weights, before)
    assert not torch.equal(run.memory["prototypes"], double(GIVEN["initial_prototypes"]))
