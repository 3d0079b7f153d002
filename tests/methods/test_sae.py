"""SAE agrees with public code, through the functions that the harness calls."""

from __future__ import annotations

import pytest
import torch
from replay import agree, double, fixture
from torch.nn import functional as F

from pzsl_bench.contract import ClosedForm, Study, configure
from pzsl_bench.judging.judge import class_accuracy

FIXTURE = fixture("sae")
GIVEN = FIXTURE["inputs"]
TOLERANCE = {"atol": FIXTURE["tolerance"], "rtol": 0.0}


def columns(name: str) -> torch.Tensor:
    return double(GIVEN[name]).T


def sae(**settings: object) -> ClosedForm:
    method = configure("sae", {"center_texts": False, "center_images": False, **settings})
    assert isinstance(method, ClosedForm)
    return method


@pytest.mark.parametrize(("direction", "mark"), [("features", "f2s"), ("semantics", "s2f")])
@pytest.mark.parametrize("case", range(len(FIXTURE["expected"])))
def test_map_cosines_and_answers_equal_the_public_code(case: int, direction: str, mark: str) -> None:
    setting, expected = GIVEN["cases"][case], FIXTURE["expected"][case]
    onehot = F.one_hot(torch.tensor(GIVEN["y"])).double()
    soft = onehot if setting["targets"] == "onehot" else double(GIVEN["Y_soft"])
    method = sae(lam=setting["lam"], unit_images=setting["l2_normalise_train_columns"], direction=direction)
    state = method.solve(Study(columns("X"), soft > 0, soft, columns("S_class"), ("",) * 4, 1.0))
    scores = method.score(state, columns("X_test"), columns("S_test"))
    agree(state["weight"], expected["W"], TOLERANCE)
    agree(scores, expected[f"cos_{mark}"], TOLERANCE)
    answers = scores.argmax(1).numpy()
    assert answers.tolist() == expected[f"pred_{mark}"]
    accuracy = class_accuracy(double(GIVEN["y_test"]).long().numpy(), answers, range(3))
    assert accuracy == pytest.approx(expected[f"acc_{mark}"], abs=1e-10)


@pytest.mark.parametrize("images", [4, 30])
def test_the_sylvester_equation_holds_where_it_is_singular(images: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, 7, generator=generator, dtype=torch.float64)
    soft = torch.rand(images, 3, generator=generator, dtype=torch.float64).softmax(-1)
    # Three classes in five dimensions, and collinear: neither side has an inverse.
    texts = torch.outer(double([1.0, 2.0, 4.0]), torch.ones(5, dtype=torch.float64))
    state = sae(lam=0.4, unit_images=False).solve(Study(features, soft > 0, soft, texts, ("",) * 3, 1.0))
    embedded, weight = soft @ texts, state["weight"]
    left = embedded.T @ embedded @ weight + 0.4 * weight @ features.T @ features
    torch.testing.assert_close(left, 1.4 * embedded.T @ features)
