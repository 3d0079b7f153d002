"""DIRK's targets agree with public code, and what its teacher and its contrast do is what the formulas say."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import DOUBLE, ProjectedLookUp, Replay, agree, double, fixture
from torch import Tensor

from pzsl_bench.blocks.contrast import AVERAGE_PREFIX
from pzsl_bench.contract import normalise
from pzsl_bench.methods.dirk import rectified

NUMBERS = fixture("dirk_rectified_target")
GIVEN = NUMBERS["inputs"]
STUDENT = torch.linspace(-1, 1, 8 * GIVEN["K"], dtype=DOUBLE).view(8, GIVEN["K"])
"""Logits of four plain images, then of their views."""


def teach(run: Replay, step: int, teacher: Tensor) -> tuple[Tensor, Tensor]:
    run.memory[f"{AVERAGE_PREFIX}table"] = teacher
    return run.step(GIVEN["batches"][step], STUDENT[:4].tolist(), [STUDENT[4:].tolist()])


@pytest.mark.parametrize("step", range(len(GIVEN["batches"])))
@pytest.mark.parametrize("sees", ["plain", "same"])
def test_targets_equal_the_public_code(step: int, sees: str) -> None:
    run = Replay("dirk", GIVEN["candidates"], {"teacher_momentum": 1.0, "teacher_sees": sees})
    logits, silent = double(GIVEN["teacher_logits"][step]), torch.zeros(4, GIVEN["K"], dtype=DOUBLE)
    loss, gradient = teach(run, step, torch.cat([logits, silent] if sees == "plain" else [silent, logits]))
    rows, expected = GIVEN["batches"][step], NUMBERS["expected"][step]
    agree(run.weights[rows], expected["rectified_target"], NUMBERS["tolerance"])
    trust = (run.weights[rows] * run.candidates[rows]).sum(1)
    agree(trust, expected["mixing_weight"], NUMBERS["tolerance"])
    target = double(expected["rectified_target"])
    torch.testing.assert_close(loss, -(target * STUDENT[4:].log_softmax(-1)).sum(-1).mean())
    torch.testing.assert_close(gradient[4:], (STUDENT[4:].softmax(-1) - target) / 4)
    assert not gradient[:4].any()


def test_the_teacher_follows_the_student() -> None:
    run = Replay("dirk", GIVEN["candidates"], {"teacher_momentum": 0.75})
    teach(run, 0, torch.ones_like(STUDENT))
    torch.testing.assert_close(run.memory[f"{AVERAGE_PREFIX}table"], 0.75 + 0.25 * STUDENT)


LOGITS = st.lists(st.floats(-300, 300, width=32), min_size=12, max_size=12)
MASKS = st.lists(st.integers(1, 15), min_size=3, max_size=3)


@given(LOGITS, MASKS)
@settings(max_examples=60, deadline=None)
def test_no_label_is_trusted_more_than_a_candidate(values: list[float], masks: list[int]) -> None:
    candidates = torch.tensor([[mask >> k & 1 for k in range(4)] for mask in masks]).bool()
    target = rectified(torch.tensor(values).view(3, 4), candidates)
    torch.testing.assert_close(target.sum(-1), torch.ones(3))
    least = torch.where(candidates, target, 2.0).amin(-1)
    assert (torch.where(candidates, 0.0, target).amax(-1) <= least + 1e-6).all()


def contrast_written_out(run: Replay, table: Tensor, target: Tensor, first_epoch: bool) -> float:
    """The release's loss with loops over the images, after a copy of its teacher from `table`."""
    keys, anchors = table[:, GIVEN["K"] :].split(4)
    queue, queued = list(run.memory["keys"]), list(run.memory["targets"])
    total = 0.0
    for i, anchor in enumerate(anchors):
        others = [(f"own {j}", a, target[j]) for j, a in enumerate(anchors) if j != i and not first_epoch]
        others += [(f"key {j}", k, target[j]) for j, k in enumerate(keys) if j == i or not first_epoch]
        others += [("queue", k, t) for k, t in zip(queue, queued, strict=True)]
        scores = [float(anchor @ vector) / 0.07 for _, vector, _ in others]
        whole = math.log(sum(map(math.exp, scores)))
        likeness = []
        for name, _, other in others:
            alike = other.any() and other.argmax() == target[i].argmax()
            positive = name == f"key {i}" if first_epoch else alike
            cosine = float(torch.cosine_similarity(other, target[i], dim=0)) if positive else 0.0
            likeness.append(math.exp(cosine / 0.4) if positive else 0.0)
        total -= sum(w * (s - whole) for w, s in zip(likeness, scores, strict=True)) / sum(likeness)
    return total / len(anchors)


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_contrast_equals_its_formula_written_out(epoch: int) -> None:
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(8, GIVEN["K"] + 6, generator=generator, dtype=DOUBLE)
    table[:, GIVEN["K"] :] = normalise(table[:, GIVEN["K"] :])
    run = Replay(
        "dirk",
        GIVEN["candidates"],
        {"variant": "dirk-ref", "queue": 5, "projection": 6, "teacher_momentum": 1.0},
        look_up=partial(ProjectedLookUp, classes=GIVEN["K"]),
    )
    run.memory[f"{AVERAGE_PREFIX}table"] = table
    for step in range(2):
        rows = GIVEN["batches"][step]
        target = rectified(table[4:, : GIVEN["K"]], run.candidates[rows])
        contrast = contrast_written_out(run, table, target, first_epoch=epoch == 0)
        loss, _ = run.step(rows, table[:4].tolist(), [table[4:].tolist()], epoch=epoch)
        taught = -(target * table[4:, : GIVEN["K"]].log_softmax(-1)).sum(-1).mean()
        assert loss.item() == pytest.approx(taught.item() + contrast, rel=1e-9)
    torch.testing.assert_close(run.memory["targets"][1:], target)


def test_the_contrast_is_finite_when_no_queued_image_is_alike() -> None:
    run = Replay(
        "dirk",
        [[1, 0, 0], [1, 1, 1]],
        {"variant": "dirk-ref", "queue": 3, "projection": 2, "label_temperature": 0.005, "contrast_temperature": 0.005},
        look_up=partial(ProjectedLookUp, classes=3),
        dtype=torch.float32,
    )
    table = torch.tensor([[150.0, -150, 0, 1, 0], [-150, 150, 150, 0, 1], [0, 0, 300, 1, 0], [150, 0, 0, 0, -1]])
    run.memory[f"{AVERAGE_PREFIX}table"] = table
    loss, gradient = run.step([0, 1], table[:2].tolist(), [table[2:].tolist()], epoch=5)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    run.memory[f"{AVERAGE_PREFIX}table"] = table[[1, 3]]
    loss, gradient = run.step([1], table[1:2].tolist(), [table[3:].tolist()], epoch=0)
    assert loss.isfinite()
    assert gradient.isfinite().all()
