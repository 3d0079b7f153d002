"""ConSE agrees with public code, through the functions that the harness calls; its classifier is at its optimum."""

from __future__ import annotations

import pytest
import torch
from replay import agree, double, fixture
from torch import Tensor
from torch.func import grad
from torch.nn import functional as F

from pzsl_bench.contract import ClosedForm, Study, configure
from pzsl_bench.methods.conse import mixed

FIXTURE = fixture("conse")
GIVEN, EXPECTED = FIXTURE["inputs"], FIXTURE["expected"]
TOLERANCE = {"atol": FIXTURE["tolerance"], "rtol": 0.0}
SEEN, UNSEEN = double(GIVEN["S_seen"]), double(GIVEN["S_unseen"])


def conse(**settings: object) -> ClosedForm:
    method = configure("conse", {"center_texts": False, **settings})
    assert isinstance(method, ClosedForm)
    return method


def unseen_scores(logits: Tensor, top: int) -> Tensor:
    """The harness's scores of a classifier that passes its images on as logits."""
    one = torch.eye(len(SEEN), dtype=torch.float64)
    state = {"weight": one, "bias": one[0] * 0, "text_mean": SEEN[0] * 0}
    return conse(top=top).score(state, logits, torch.cat([SEEN, UNSEEN]))[:, len(SEEN) :]


@pytest.mark.parametrize("case", EXPECTED["cases"], ids=lambda case: f"T={case['T']}")
def test_mixes_cosines_and_answers_equal_the_public_code(case: dict[str, list[list[float]]]) -> None:
    agree(mixed(double(GIVEN["P"]), SEEN, case["T"]), case["embedding"], TOLERANCE)  # type: ignore[arg-type]
    scores = unseen_scores(double(GIVEN["P"]).log(), case["T"])  # type: ignore[arg-type]
    agree(scores, case["cosine_unseen"], TOLERANCE)
    assert scores.argmax(1).tolist() == case["pred"]


def test_without_a_limit_all_seen_classes_are_mixed() -> None:
    assert unseen_scores(double(GIVEN["logits"]), 1000).argmax(1).tolist() == EXPECTED["full_softmax_pred"]


def test_a_class_without_semantics_keeps_its_place_but_is_not_mixed() -> None:
    known = SEEN.clone()
    known[1] = 0
    agree(mixed(double(GIVEN["P"]), known, 3), EXPECTED["missing_label_case"], TOLERANCE)


def test_the_classifier_minimises_the_soft_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    soft = torch.rand(40, 5, generator=generator, dtype=torch.float64).pow(4)
    soft = soft / soft.sum(1, keepdim=True)
    state = conse(reg=0.5, steps=200).solve(Study(images, soft > 0, soft, SEEN, ("",) * 5, 1.0))

    def objective(weight: Tensor, bias: Tensor) -> Tensor:
        fit = -(soft * F.log_softmax(images @ weight + bias, -1)).sum()
        return fit + 0.25 * (weight.square().sum() + bias.square().sum())

    for slope in grad(objective, (0, 1))(state["weight"], state["bias"]):
        torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-8, rtol=0)
