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


def drawn(images: int = 12, classes: int = 5, width: int = 6) -> Study:
    """Images of unit texts, and labels that agree with them more or less."""
    generator = torch.Generator().manual_seed(4)
    texts = torch.nn.functional.normalize(torch.randn(classes, width, generator=generator, dtype=torch.float64), dim=-1)
    soft = (2 * torch.randn(images, classes, generator=generator, dtype=torch.float64)).softmax(-1)
    noise = 0.3 * torch.randn(images, width, generator=generator, dtype=torch.float64)
    return Study(soft @ texts + noise, soft > 0, soft, texts, ("",) * classes, 1.0)


PLAIN = {"center_texts": False, "center_images": False, "units": "absolute", "reg_feature": 0.3, "reg_semantic": 0.2}


def test_no_other_map_fits_better_what_the_encoder_leaves() -> None:
    data = drawn()
    method = configure("eszsl", {**PLAIN, "prior": "identity"})
    assert isinstance(method, ClosedForm)
    state = method.solve(data)
    left = data.targets - state["strength"] * data.features @ data.texts.T

    def objective(weight: torch.Tensor) -> torch.Tensor:
        misfit = (data.features @ weight @ data.texts.T - left).square().sum()
        sides = 0.3 * (weight @ data.texts.T).square().sum() + 0.2 * (data.features @ weight).square().sum()
        return misfit + sides + 0.3 * 0.2 * weight.square().sum()

    slope = torch.func.grad(objective)(state["weight"])
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)


def test_the_encoder_has_the_strength_that_fits_the_labels_best() -> None:
    data = drawn()
    method = configure("eszsl", {**PLAIN, "prior": "identity"})
    assert isinstance(method, ClosedForm)
    strength = method.solve(data)["strength"]
    scores = data.features @ data.texts.T
    # What is added to all classes of an image ranks none above another.
    scores, labels = (table - table.mean(-1, keepdim=True) for table in (scores, data.targets))
    misfit = [(labels - factor * strength * scores).square().sum() for factor in (0.95, 1.0, 1.05)]
    assert misfit[1] < min(misfit[0], misfit[2])


def test_fitted_penalties_carry_over_to_more_images() -> None:
    """Four times the same images move the map less than a penalty does that stays as it is."""
    data = drawn(images=40)
    rows = [data.features, data.candidates, data.targets]
    more = Study(*(torch.cat([table] * 4) for table in rows), data.texts, data.class_names, 1.0)
    fitted, absolute = (
        [configure("eszsl", {"prior": "none", "units": units}).solve(study)["weight"] for study in (data, more)]  # type: ignore[attr-defined]
        for units in ("fitted", "absolute")
    )
    assert (fitted[0] - fitted[1]).norm() < 0.5 * (absolute[0] - absolute[1]).norm()


def test_many_candidates_are_fitted_with_more_restraint() -> None:
    data = drawn(images=60, classes=12, width=16)
    generator = torch.Generator().manual_seed(0)
    others = torch.rand(60, 12, generator=generator) < 0.7
    many = (torch.nn.functional.one_hot(data.targets.argmax(-1), 12).bool() | others).double()
    clear = torch.nn.functional.one_hot(data.targets.argmax(-1), 12).double()
    sizes = []
    for labels in (clear, many / many.sum(-1, keepdim=True)):
        study = Study(data.features, labels > 0, labels, data.texts, data.class_names, 1.0)
        tight, loose = (
            configure("eszsl", {"prior": "none", "units": units}).solve(study)["weight"].norm()  # type: ignore[attr-defined]
            for units in ("fitted", "absolute")
        )
        sizes.append(tight / loose)
    assert sizes[1] < 0.5 * sizes[0]
