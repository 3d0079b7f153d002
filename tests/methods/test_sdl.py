"""SDL agrees with its authors' release, and what it does beyond that has the limits it should have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import agree, double, fixture
from tag_studies import Marked, drawn_tags, images_of, step_of, tag_studies, tag_texts
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.contract import METHODS, configure, normalise
from pzsl_bench.methods.sdl import SDL, EmbeddingMatrix
from pzsl_bench.training.fit import fit

NUMBERS = fixture("sdl")
EXPECTED, TOLERANCE = NUMBERS["expected"], NUMBERS["tolerance"]
WIDTH, ROWS, LABELS = NUMBERS["inputs"]["width"], NUMBERS["inputs"]["rows"], NUMBERS["inputs"]["labels"]
IMAGES, CLASSES = len(LABELS), len(LABELS[0])


def class_vectors() -> Tensor:
    """(N, D)"""
    grid = torch.outer(torch.arange(1, CLASSES + 1).double(), torch.arange(1, WIDTH + 1).double())
    return normalise(torch.sin(0.1 * grid))


def outputs(rows: int = ROWS) -> Tensor:
    """(B, D k) as the release's network leaves them: dimension after dimension, rows within."""
    grid = torch.outer(torch.arange(1, IMAGES + 1).double(), torch.arange(WIDTH * ROWS).double())
    return (0.3 * torch.cos(0.05 * grid))[:, : WIDTH * rows]


def released(labels: Any, rows: int = ROWS, **settings: Any) -> tuple[Tensor, Tensor]:
    """Loss and gradient in those outputs: image i is a one-hot vector that picks row i of every map."""
    run = Marked("sdl", labels, {"preset": "parity", "k": rows, **settings})
    run.study = type(run.study)(**{**vars(run.study), "texts": class_vectors()})
    maps = outputs(rows).view(IMAGES, WIDTH, rows).permute(2, 0, 1)
    losses, _, params = step_of(run, EmbeddingMatrix(maps, None), {"weight": maps})
    (gradient,) = torch.autograd.grad(losses.sum(), [params["weight"]])
    return losses[0].detach(), gradient[0].permute(1, 2, 0).reshape(IMAGES, -1)


def test_scores_diversity_and_spread_equal_the_release() -> None:
    maps = outputs().view(IMAGES, WIDTH, ROWS).permute(2, 0, 1)
    scores, rows = EmbeddingMatrix(maps, None)(torch.eye(IMAGES).double(), class_vectors(), give="both")
    agree(scores, EXPECTED["scores"], TOLERANCE)
    agree(rows.var(0).sum(-1), EXPECTED["spread"], TOLERANCE)
    labels = double(LABELS)
    uniform = labels / labels.sum(-1, keepdim=True)
    diversity = configured({}).diversity(uniform, labels, class_vectors(), "all", True)
    agree(diversity, EXPECTED["diversity"], TOLERANCE)


@pytest.mark.parametrize("case", EXPECTED["runs"], ids=lambda case: f"lambda {case['lambda']}")
def test_loss_and_gradient_equal_the_release(case: dict[str, Any]) -> None:
    loss, gradient = released(LABELS, var_weight=case["lambda"])
    agree(loss, case["mean"], TOLERANCE)
    agree(gradient.norm(), case["grad_norm"], TOLERANCE)
    agree(gradient[:, :6], case["grad_first"], TOLERANCE)


def others(first: float) -> float:
    """The mean over images, where the first has this loss."""
    return (first + sum(EXPECTED["runs"][0]["per_image"][1:])) / IMAGES


def test_special_images_cost_what_they_cost_in_the_release() -> None:
    everything, unknown = [[1] * CLASSES, *LABELS[1:]], [[1, -1, 0, -1, 0], *LABELS[1:]]
    agree(released(everything, var_weight=0.0)[0], others(EXPECTED["all_positive_first_image"]), TOLERANCE)
    agree(released(unknown, var_weight=0.0)[0], others(EXPECTED["unknown_first_image"]), TOLERANCE)
    agree(released(LABELS, rows=1, var_weight=0.0)[0], EXPECTED["one_row"], TOLERANCE)


def test_an_image_without_a_present_tag_is_left_out() -> None:
    """Where the release's loss is not a number."""
    loss, gradient = released([LABELS[0], [0] * CLASSES, LABELS[2]])
    per_image = EXPECTED["runs"][1]["per_image"]
    agree(loss, (per_image[0] + per_image[2]) / 2, TOLERANCE)
    assert (gradient[1] == 0).all()


def test_one_row_has_no_spread() -> None:
    """Where the release's regulariser is not a number."""
    plain, regularised = released(LABELS, rows=1, var_weight=0.0)[0], released(LABELS, rows=1, var_weight=0.3)[0]
    torch.testing.assert_close(regularised, 2 * 0.7 * plain)


def configured(settings: dict[str, Any]) -> SDL:
    method = configure("sdl", settings)
    assert isinstance(method, SDL)
    return method


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6))
def test_diversity_of_confidences_lies_between_none_and_one(confidences: list[float]) -> None:
    shares = double([confidences]) / sum(confidences)
    # Of length one to the last digit: the formula expects it.
    texts = F.normalize(tag_texts(len(confidences)).double(), dim=-1)
    diversity = configured({}).diversity(shares, (shares > 0).double(), texts, "weighted", False)
    torch.testing.assert_close(diversity, 1 - (shares @ texts).square().sum(-1))
    certain = F.one_hot(torch.tensor([0]), len(confidences)).double()
    assert configured({}).diversity(certain, certain, texts, "weighted", False).abs() < 1e-12


def test_the_diversity_of_a_raw_candidate_set_is_never_used() -> None:
    shares = double([[0.5, 0.5, 0.0]])
    assert configured({}).diversity(shares, shares * 2, tag_texts(3).double(), "all", False) == 0


def single(how: str, logits: Any, candidates: Any, **settings: Any) -> tuple[Tensor, Tensor, Marked]:
    """A step on candidate sets, with scores as given."""
    run = Marked("sdl", double(candidates) * 2 - 1, {"candidate_loss": how, "diversity_weight": False, **settings})
    run.weights = run.weights / run.weights.sum(-1, keepdim=True)
    run.marks = run.marks[:, :0]
    table = torch.as_tensor(logits, dtype=torch.float64).T
    run.study = type(run.study)(**{**vars(run.study), "texts": table})
    weight = torch.eye(len(candidates)).double()[None]
    losses, update, params = step_of(run, EmbeddingMatrix(weight, None), {"weight": weight})
    run.keep(update)
    (gradient,) = torch.autograd.grad(losses.sum(), [params["weight"]])
    return losses[0].detach(), gradient[0], run


def test_on_candidate_sets_only_classes_outside_lie_below() -> None:
    scores = double([[2.0, 0.0, 1.0, -1.0]])
    below = {c: sum(F.softplus(scores[0, n] - scores[0, c]) for n in (2, 3)) for c in (0, 1)}
    best, _, _ = single("max", scores, [[1, 1, 0, 0]], var_weight=0.0)
    even, _, run = single("weighted", scores, [[1, 1, 0, 0]], var_weight=0.0, keep=0.0)
    torch.testing.assert_close(best, below[0])
    torch.testing.assert_close(even, (below[0] + below[1]) / 2)
    torch.testing.assert_close(run.weights[0], F.pad(scores[0, :2].softmax(0), (0, 2)))


def test_everything_may_be_a_candidate() -> None:
    loss, gradient, _ = single("weighted", [[2.0, 0.0]], [[1, 1]])
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("unknown", "start"), [("negative", "residual"), ("ignore", "random"), ("weighted", "residual")]
)
def test_it_learns_tags_better_than_zero_shot_and_scores_unseen_ones(unknown: str, start: str) -> None:
    texts = tag_texts()
    truth = drawn_tags(160, len(texts))
    images = images_of(truth, texts)
    seen = len(texts) - 2
    studies = tag_studies(truth[:, :seen].int() * 2 - 1, images, texts[:seen])
    settings = {"unknown": unknown, "start": start, "epochs": 30, "batch": 32, "lr": 1e-2, "var_weight": 0.0}
    scores = fit([configure("sdl", settings)], studies).score(images, texts)[0]
    assert scores.shape == truth.shape
    assert violations(scores[:, :seen], truth[:, :seen]) < violations(images @ texts[:seen].T, truth[:, :seen])


def violations(scores: Tensor, truth: Tensor) -> float:
    """Share of pairs of a present and an absent tag that are in the wrong order."""
    wrong = (scores.unsqueeze(1) >= scores.unsqueeze(2)) & truth.unsqueeze(2) & ~truth.unsqueeze(1)
    return float(wrong.sum() / (truth.unsqueeze(2) & ~truth.unsqueeze(1)).sum())


def test_it_is_for_classes_and_for_tags() -> None:
    assert METHODS.get("sdl").tasks == {"classes", "tags"}
