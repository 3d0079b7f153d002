"""Dual prototypes: the loss is its formula, training moves both texts of a tag, and unseen tags get both as well."""

from __future__ import annotations

import pytest
import torch
from replay import double
from tag_studies import TAGS, Marked, drawn_tags, images_of, tag_studies, tag_texts
from torch import Tensor

from pzsl_bench.contract import Gradient, Net, configure, normalise
from pzsl_bench.judging.tag_metrics import average_precisions
from pzsl_bench.training.fit import fit, initialise
from pzsl_bench.training.fitted import Fitted

TEXTS = tag_texts()
TRUTH = drawn_tags(200, len(TEXTS))
IMAGES = images_of(TRUTH, TEXTS)
MARKS = TRUTH[:, :TAGS].int() * 2 - 1


@pytest.fixture(scope="module")
def trained() -> Fitted:
    studies = tag_studies(MARKS, IMAGES, TEXTS[:TAGS])
    return fit([configure("dual_prototypes", {"epochs": 40, "batch": 50})], studies)


def mean_precision(scores: Tensor, seen: bool) -> float:
    """mAP of the seen or of the unseen tags."""
    tags = slice(0, TAGS) if seen else slice(TAGS, None)
    truth = (TRUTH[:, tags].int() * 2 - 1).to(torch.int8).numpy()
    [precisions] = average_precisions(scores[:, tags].numpy(), truth, [truth != 0])
    return float(precisions.mean())


def test_before_training_every_image_ranks_its_tags_as_zero_shot_does() -> None:
    method = configure("dual_prototypes", {})
    assert isinstance(method, Gradient)
    studies = tag_studies(MARKS, IMAGES, TEXTS[:TAGS])
    module, params, memory = initialise(method, studies, studies.uniform)
    net = Net(module, {k: v[0] for k, v in params.items()}, TEXTS)
    scores = method.score(net, memory, IMAGES)
    assert torch.equal(scores.argsort(-1), (IMAGES @ TEXTS.T).argsort(-1))


@pytest.mark.parametrize("unknown", ["negative", "ignore"])
def test_the_loss_is_the_mean_of_asymmetric_binary_losses(unknown: str) -> None:
    logits, marks = double([[2.0, -1.0, 0.3, -4.0], [0.0, 1.5, -0.2, 3.0]]), [[1, -1, 0, -1], [0, 1, 1, -1]]
    chosen = {"gamma_positive": 1.0, "gamma_negative": 2.0, "shift": 0.1, "unknown": unknown}
    loss, _ = Marked("dual_prototypes", marks, chosen).step(logits)
    total = 0.0
    for row, answers in zip(logits.sigmoid().tolist(), marks, strict=True):
        for p, mark in zip(row, answers, strict=True):
            if mark == 1:
                total -= (1 - p) * torch.tensor(p).double().log().item()
            elif mark == -1 or unknown == "negative":
                shifted = max(0.0, p - 0.1)
                total -= shifted**2 * torch.tensor(1 - shifted).double().log().item()
    torch.testing.assert_close(loss, double(total / 8), atol=1e-6, rtol=1e-6)


def test_training_ranks_images_better_than_zero_shot_and_lowers_the_loss(trained: Fitted) -> None:
    scores = trained.score(IMAGES, TEXTS)[0]
    assert mean_precision(scores, seen=True) > mean_precision(IMAGES @ TEXTS.T, seen=True) + 0.01
    assert trained.curves["loss"][0, -1] < 0.2 * trained.curves["loss"][0, 0]


def test_a_score_is_the_difference_of_the_cosines_to_both_texts_of_a_tag_also_of_an_unseen_one(
    trained: Fitted,
) -> None:
    state = {name: values[0] for name, values in trained.state.items()}

    def residual(name: str, texts: Tensor) -> Tensor:
        hidden = torch.relu(texts @ state[f"{name}.down.weight"] + state[f"{name}.down.bias"])
        return hidden @ state[f"{name}.up.weight"] + state[f"{name}.up.bias"]

    mean = TEXTS[:TAGS].mean(0)
    there = normalise(TEXTS + residual("there", TEXTS))
    not_there = normalise(mean + residual("not_there", TEXTS))
    assert (there - TEXTS).norm(dim=1).min() > 0.01
    assert (not_there - normalise(mean)).norm(dim=1).min() > 0.01
    scores = trained.score(IMAGES, TEXTS)[0]
    difference = IMAGES @ (there - not_there).T
    ratio = (scores / difference).median()
    # One scale for all tags and images, and it is positive.
    torch.testing.assert_close(scores, ratio * difference, atol=1e-4, rtol=1e-3)
    assert ratio > 0
