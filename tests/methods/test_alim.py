"""ALIM agrees with its authors' release, through the step that the trainer calls and at the end of an epoch."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from replay import ProjectedLookUp, Replay, agree, double, fixture

from pzsl_bench.blocks.label_importance import adjusted, importance_at, lead

NUMBERS = fixture("alim_pico")
GIVEN, TOLERANCE = NUMBERS["inputs"], NUMBERS["tolerance"]
CLASSES, BATCH, WIDTH = GIVEN["K"], GIVEN["B"], GIVEN["D"]


def uniforms_of(share: float) -> torch.Tensor:
    """Seven uniform numbers whose middle one, a draw of Beta(4, 4), is this share."""
    return double([share] * 7)


def recorded_run(targets: str) -> Replay:
    queued = len(GIVEN["initial_queue"])
    memory = {
        "prototypes": double(GIVEN["initial_prototypes"]),
        "queue": double(GIVEN["initial_queue"]),
        "queue_labels": torch.full((queued,), CLASSES),
        "average.table": torch.zeros(2 * BATCH, CLASSES + WIDTH, dtype=torch.float64),
        "importance": torch.zeros((), dtype=torch.float64),
    }
    settings = {
        "queue": queued,
        "projection": WIDTH,
        "prototype_momentum": GIVEN["proto_m"],
        "contrast": GIVEN["loss_weight"],
        "contrast_temperature": GIVEN["temperature"],
        "cluster_temperature": GIVEN["vMF"],
        "mixup_weight": GIVEN["loss_weight_mixup"],
        "epochs": GIVEN["epochs"],
        "phi_start": GIVEN["conf_ema_range"][0],
        "phi_end": GIVEN["conf_ema_range"][1],
        "noise": GIVEN["noise_rate"],
        "importance_start": GIVEN["importance_start_epoch"],
        "targets": targets,
        "key_momentum": 1.0,
    }
    look_up = partial(ProjectedLookUp, classes=CLASSES)
    return Replay("alim", GIVEN["candidates"], settings, memory, look_up=look_up)


@pytest.mark.parametrize("targets", NUMBERS["expected"])
def test_every_recorded_number_equals_the_authors_release(targets: str) -> None:
    run = recorded_run(targets)
    agree(run.weights, GIVEN["initial_confidence"], TOLERANCE)
    for epoch, expected in enumerate(NUMBERS["expected"][targets]):
        rows = GIVEN["batches"][epoch]
        queries = [z + q for z, q in zip(GIVEN["logits"][epoch], GIVEN["query_features"][epoch], strict=True)]
        keys = [[0.0] * CLASSES + k for k in GIVEN["key_features"][epoch]]
        run.memory["average.table"] = double(queries + keys)
        agree(run.memory["importance"], expected["importance"], TOLERANCE)
        partners = torch.tensor(GIVEN["partners"][epoch])
        dice = {"share": uniforms_of(GIVEN["share"][epoch]), "partners": partners.argsort() / BATCH}
        loss, gradient = run.step(rows, queries, [[[7.0] * (CLASSES + WIDTH)] * BATCH], dice=dice, epoch=epoch)
        agree(run.notes["classification"], expected["classification_loss"], TOLERANCE)
        agree(run.notes["contrast"], expected["contrastive_loss"], TOLERANCE)
        agree(run.notes["mixture"], expected["mixup_loss"], TOLERANCE)
        agree(loss, expected["total_loss"], TOLERANCE)
        agree(gradient[:BATCH], expected["gradient"], TOLERANCE)
        assert not gradient[BATCH:].any()
        agree(run.weights, expected["confidence"], TOLERANCE)
        agree(run.memory["prototypes"], expected["prototypes"], TOLERANCE)
        assert run.memory["queue_labels"][-BATCH:].tolist() == expected["pseudo_label"]
        agree(run.tables["lead"][rows], expected["margin"], TOLERANCE)
        run.end_epoch(epoch)
        agree(run.memory["importance"], expected["importance_after"], TOLERANCE)


def test_the_assumed_share_of_images_prefers_another_label() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(1000, 7, generator=generator).softmax(-1)
    candidates = torch.rand(1000, 7, generator=generator) < 0.5
    candidates[:, 0] |= ~candidates.any(1)
    for noise in (0.05, 0.2, 0.3):
        importance = importance_at(noise, lead(scores, candidates))
        assert 0 < importance < 1
        chosen = adjusted(scores, candidates, importance).argmax(-1, keepdim=True)
        outside = (~candidates.gather(1, chosen)).double().mean()
        torch.testing.assert_close(outside, double(noise), atol=0.002, rtol=0)


def test_without_assumed_noise_other_labels_never_count() -> None:
    leads = torch.rand(10) * 2
    assert importance_at(0.0, leads) == 0
    assert importance_at(0.9, leads + 5) == 1
