"""TaskRes agrees with its release and with torch's own Adam; unseen classes are left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from replay import agree, double, fixture
from retrain import Retrain, study_of
from torch.nn.functional import one_hot

from pzsl_bench.contract import Net

FIXTURE = fixture("taskres")
GIVEN, EXPECTED = FIXTURE["inputs"], FIXTURE["expected"]
TOLERANCE = {"atol": FIXTURE["tolerance"], "rtol": 0.0}
ADAM = GIVEN["adam"]


def residual(share: float) -> Retrain:
    labels = one_hot(torch.tensor(GIVEN["y"])).double()
    study = study_of(double(GIVEN["image_features_raw"]), double(GIVEN["base_text_raw"]), labels, GIVEN["scale"])
    settings = {
        "share": share,
        "temperature": "fixed",
        "optimiser": "adam",
        "schedule": "constant",
        "lr": ADAM["lr"],
        "weight_decay": ADAM["weight_decay"],
    }
    return Retrain("taskres", study, settings)


@pytest.mark.parametrize(("case", "expected"), zip(GIVEN["cases"], EXPECTED, strict=True), ids=["0.5", "1.0"])
def test_logits_gradients_and_steps_equal_the_release(case: dict[str, Any], expected: dict[str, Any]) -> None:
    run = residual(case["alpha"])
    agree(run.logits(run.study.features), expected["logits_at_zero"], TOLERANCE)
    for step in range(ADAM["steps"]):
        loss, gradients = run.step(range(5))
        assert loss == pytest.approx(expected["losses"][step], abs=FIXTURE["tolerance"])
        if step == 0:
            agree(gradients["residual"], expected["grad_at_zero"], TOLERANCE)
        agree(run.state["residual"], expected["residual_after_step"][step], TOLERANCE)
    agree(run.logits(run.study.features), expected["logits_after_3_steps"], TOLERANCE)


def test_unseen_classes_have_no_residual() -> None:
    run = residual(0.5)
    before = run.logits(run.study.features)
    for _ in range(5):
        run.step(range(5))
    texts = torch.cat([run.study.texts, run.study.texts])
    after = run.method.score(Net(run.module, run.state, texts), {}, run.study.features)
    torch.testing.assert_close(after[:, 4:], before)
    assert not torch.allclose(after[:, :4], before)
