"""ESZSL agrees with public code, through the functions that the harness calls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from replay import fixture

from pzsl_bench.contract import ClosedForm, Study, configure
from pzsl_bench.judging.judge import class_accuracy

FIXTURE = fixture("eszsl")


def columns(name: str) -> torch.Tensor:
    return torch.tensor(FIXTURE["inputs"][name], dtype=torch.float64).T


@pytest.mark.parametrize("case", range(len(FIXTURE["expected"])))
def test_weights_scores_and_accuracy_equal_the_public_code(case: int) -> None:
    inputs, expected = FIXTURE["inputs"], FIXTURE["expected"][case]
    setting = inputs["cases"][case]
    targets = inputs["Y_onehot" if setting["targets"] == "onehot" else "Y_soft"]
    method = configure(
        "eszsl",
        {
            "reg_feature": 10.0 ** setting["alpha_exponent"],
            "reg_semantic": 10.0 ** setting["gamma_exponent"],
            "center_texts": False,
            "center_images": False,
            "units": "absolute",
            "prior": "none",
        },
    )
    assert isinstance(method, ClosedForm)
    soft = torch.tensor(targets, dtype=torch.float64)
    study = Study(columns("X"), soft > 0, soft, columns("S"), ("",) * 4, 1.0)
    state = method.solve(study)
    scores = method.score(state, columns("X_test"), columns("S_test"))
    tolerance = {"atol": FIXTURE["tolerance"], "rtol": 1e-8}
    torch.testing.assert_close(state["weight"], torch.tensor(expected["W"], dtype=torch.float64), **tolerance)
    torch.testing.assert_close(scores, torch.tensor(expected["test_scores"], dtype=torch.float64), **tolerance)
    answers, truth = scores.argmax(1).numpy(), np.array(inputs["y_test"])
    assert answers.tolist() == expected["pred"]
    assert class_accuracy(truth, answers, range(3)) == pytest.approx(expected["per_class_mean_accuracy"], abs=1e-10)


def test_fewer_images_than_numbers_give_the_formula_too() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((5, 20), (3, 8)))
    soft = torch.rand(5, 3, generator=generator, dtype=torch.float64)
    method = configure(
        "eszsl",
        {"center_texts": False, "center_images": False, "reg_feature": 0.3, "units": "absolute", "prior": "none"},
    )
    assert isinstance(method, ClosedForm)
    state = method.solve(Study(images, soft > 0, soft, texts, ("",) * 3, 1.0))
    left = images.T @ images + 0.3 * torch.eye(20, dtype=torch.float64)
    right = texts.T @ texts + torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(state["weight"], left.inverse() @ images.T @ soft @ texts @ right.inverse())
