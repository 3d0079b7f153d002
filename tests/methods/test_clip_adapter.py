"""CLIP-Adapter agrees with its release, through the step that the trainer calls."""

from __future__ import annotations

import pytest
import torch
from replay import agree, double, fixture
from retrain import Retrain, study_of
from torch.nn.functional import one_hot

FIXTURE = fixture("clip_adapter")
GIVEN, EXPECTED = FIXTURE["inputs"], FIXTURE["expected"]
TOLERANCE = {"atol": FIXTURE["tolerance"], "rtol": 0.0}


def adapter() -> Retrain:
    labels = one_hot(torch.tensor(GIVEN["y"])).double()
    study = study_of(double(GIVEN["image_features_raw"]), double(GIVEN["text_features_raw"]), labels, GIVEN["scale"])
    start = {"down": double(GIVEN["W1"]).T, "up": double(GIVEN["W2"]).T}
    return Retrain("clip_adapter", study, {"ratio": GIVEN["ratio"], "temperature": "fixed"}, start)


def test_logits_loss_and_gradients_equal_the_release() -> None:
    run = adapter()
    agree(run.logits(run.study.features), EXPECTED["logits"], TOLERANCE)
    loss, gradients = run.step(range(5))
    assert loss == pytest.approx(EXPECTED["loss"], abs=FIXTURE["tolerance"])
    agree(gradients["down"].T, EXPECTED["grad_W1"], TOLERANCE)
    agree(gradients["up"].T, EXPECTED["grad_W2"], TOLERANCE)


def test_the_length_of_images_and_texts_does_not_matter() -> None:
    run = adapter()
    long = run.logits(7 * run.study.features)
    torch.testing.assert_close(long, run.logits(run.study.features))


def test_a_class_is_scored_alike_whether_it_was_seen_or_not() -> None:
    run = adapter()
    together = run.logits(run.study.features)
    texts = run.study.texts
    run.study.__dict__["texts"] = texts[[3, 1]]
    torch.testing.assert_close(run.logits(run.study.features), together[:, [3, 1]])
