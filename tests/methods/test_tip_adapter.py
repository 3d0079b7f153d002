"""Tip-Adapter and Tip-Adapter-F agree with their release, through the functions that the harness calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from replay import agree, double, fixture
from retrain import Retrain, study_of
from torch import Tensor
from torch.nn.functional import one_hot

from pzsl_bench.blocks import image_cache
from pzsl_bench.contract import ClosedForm, State, configure
from pzsl_bench.methods import tip_adapter
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

FIXTURE = fixture("tip_adapter")
GIVEN, EXPECTED = FIXTURE["inputs"], FIXTURE["expected"]
TOLERANCE = {"atol": FIXTURE["tolerance"], "rtol": 0.0}
TEXTS, IMAGES = double(GIVEN["W_text"]), double(GIVEN["X_train"])
HARD = one_hot(torch.tensor(GIVEN["y_train"])).double()
VALUES = {"onehot": HARD, "soft": double(GIVEN["V_soft"])}


def solved(values: str, **settings: Any) -> tuple[ClosedForm, State]:
    method = configure("tip_adapter", {"shots": 0, **settings})
    assert isinstance(method, ClosedForm)
    return method, method.solve(study_of(IMAGES, TEXTS, VALUES[values]))


def logits(values: str, images: Tensor, **settings: Any) -> Tensor:
    method, state = solved(values, **settings)
    return method.score(state, images, TEXTS)


@pytest.fixture(autouse=True)
def six_digits_are_a_unit_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded rows are to be used as given, though rounding moved their lengths by up to 1e-6."""
    for module in (image_cache, tip_adapter):
        monkeypatch.setattr(module, "normalise", lambda rows: rows)


@pytest.mark.parametrize(
    ("case", "expected"), zip(GIVEN["cases"], EXPECTED["cases"], strict=True), ids=["hard", "hard, sharp", "soft"]
)
def test_logits_equal_the_release(case: dict[str, Any], expected: dict[str, Any]) -> None:
    values = "onehot" if case["cache_values"] == "onehot" else "soft"
    weights = {"alpha": case["alpha"], "beta": case["beta"]}
    for images in ("test", "val"):
        agree(logits(values, double(GIVEN[f"X_{images}"]), **weights), expected[f"tip_logits_{images}"], TOLERANCE)
    alone = logits(values, double(GIVEN["X_test"]), alpha=0.0, beta=1.0)
    agree(alone, expected["zero_shot_logits_test"], TOLERANCE)


def test_the_first_of_the_best_in_the_released_grid_is_the_same() -> None:
    (beta_end, alpha_end), (betas, alphas) = GIVEN["search"]["scale"], GIVEN["search"]["step"]
    truth, best, found = torch.tensor(GIVEN["y_val"]), -1.0, (0.0, 0.0)
    for beta in (0.1 + i * (beta_end - 0.1) / betas for i in range(betas)):
        for alpha in (0.1 + i * (alpha_end - 0.1) / alphas for i in range(alphas)):
            answers = logits("onehot", double(GIVEN["X_val"]), alpha=alpha, beta=beta).argmax(1)
            if (accuracy := (answers == truth).double().mean().item()) > best:
                best, found = accuracy, (beta, alpha)
    assert found == pytest.approx((EXPECTED["search"]["best_beta"], EXPECTED["search"]["best_alpha"]))


def test_trained_keys_and_losses_equal_the_release() -> None:
    inputs, expected = GIVEN["tip_f"], EXPECTED["tip_f"]
    settings = {
        "alpha": inputs["alpha"],
        "beta": inputs["beta"],
        "lr": inputs["lr"],
        "shots": 0,
        "temperature": "fixed",
        "schedule": "cosine",
    }
    study = study_of(double(inputs["raw_train_features"]), TEXTS, HARD)
    run = Retrain("tip_adapter_f", study, settings, {"keys": IMAGES.T.contiguous()})
    steps = inputs["epochs"] * len(inputs["batches"])
    for number in range(steps):
        loss, _ = run.step(inputs["batches"][number % len(inputs["batches"])], number / steps)
        assert loss == pytest.approx(expected["losses"][number], abs=FIXTURE["tolerance"])
        agree(run.state["keys"].T, expected["A_after_step"][number], TOLERANCE)


def test_untrained_keys_are_tip_adapter() -> None:
    study = study_of(IMAGES, TEXTS, HARD)
    weights = {"alpha": 2.0, "beta": 3.0}
    run = Retrain("tip_adapter_f", study, {**weights, "temperature": "fixed"}, {"keys": IMAGES.T.contiguous()})
    images = double(GIVEN["X_test"])
    torch.testing.assert_close(run.logits(images), logits("onehot", images, shots=16, **weights), atol=1e-3, rtol=0)


def test_votes_do_not_depend_on_how_many_meet_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images = double(GIVEN["X_test"])
    whole = logits("soft", images)
    monkeypatch.setattr(image_cache, "IMAGES_AT_ONCE", 3)
    torch.testing.assert_close(logits("soft", images), whole)


def test_twice_as_many_images_of_every_class_weigh_alike() -> None:
    study = study_of(torch.cat([IMAGES, IMAGES]), TEXTS, torch.cat([HARD, HARD]))
    method = configure("tip_adapter", {})
    assert isinstance(method, ClosedForm)
    images = double(GIVEN["X_test"])
    torch.testing.assert_close(method.score(method.solve(study), images, TEXTS), logits("onehot", images, shots=16))


def test_unseen_classes_get_no_vote() -> None:
    method, state = solved("onehot")
    images = double(GIVEN["X_test"])
    scores = method.score(state, images, torch.cat([TEXTS, TEXTS]))
    torch.testing.assert_close(scores[:, 4:], 100 * images @ TEXTS.T)


def test_runs_share_their_keys() -> None:
    problem = toy_problem()
    fitted = fit([configure("tip_adapter", {})] * 3, toy_studies(problem, [("flip", 0.3, seed) for seed in range(3)]))
    assert fitted.state["keys"].stride(0) == 0
    assert fitted.state["values"].stride(0) != 0
