"""Evidence from the other images of a class: exact sums, and an image has no part in its own."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.contract import configure, normalise
from pzsl_bench.methods.clip_pzsl.prototypes import changed_sums, first_sums, visual_evidence, whitened, whitening
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

PROBLEM = toy_problem(noise=1.5)


def tables(seed: int, images: int = 12, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = normalise(torch.randn(images, 8, generator=generator) + 0.5)
    return features, torch.rand(images, classes, generator=generator).softmax(-1)


def whitened_tables(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    features, confidences = tables(seed)
    return whitened(whitening(features), features), confidences


@given(st.integers(0, 50))
def test_evidence_is_how_much_nearer_an_image_is_to_the_mean_of_the_others_than_to_that_of_all(seed: int) -> None:
    images, confidences = whitened_tables(seed)
    evidence = visual_evidence(first_sums(images, confidences), images, confidences, 2.0)
    for i in range(len(images)):
        others = torch.arange(len(images)) != i
        for j in range(confidences.shape[1]):
            total = (confidences[others, j, None] * images[others]).sum(0)
            mean = total / (confidences[others, j].sum() + 2)
            nearer = (images[i].square().sum() - (images[i] - mean).square().sum()) / 2
            torch.testing.assert_close(evidence[i, j], nearer, atol=1e-5, rtol=1e-4)


@given(st.integers(0, 50))
def test_sums_follow_confidences_exactly(seed: int) -> None:
    images, before = whitened_tables(seed)
    after = before.clone()
    after[:5] = after[:5].flip(1)
    moved = changed_sums(first_sums(images, before), images[:5], before[:5], after[:5], torch.ones(5, 3))
    assert 0 < moved.pop("level") < 1
    for name, value in moved.items():
        torch.testing.assert_close(value, first_sums(images, after)[name], atol=1e-5, rtol=1e-4)


def test_a_class_of_one_image_gives_that_image_no_evidence() -> None:
    features, _ = tables(0, images=3)
    images = whitened(whitening(features), features)
    evidence = visual_evidence(first_sums(images, torch.eye(3)), images, torch.eye(3), 10.0)
    torch.testing.assert_close(evidence.diagonal(), torch.zeros(3), atol=1e-6, rtol=0)


def test_a_class_without_images_gives_no_evidence() -> None:
    images, confidences = whitened_tables(0)
    confidences[:, 1] = 0
    assert not visual_evidence(first_sums(images, confidences), images, confidences, 2.0)[:, 1].any()


def test_directions_in_which_all_images_differ_are_shortened() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4000, 4, generator=generator) * torch.tensor([9.0, 1.0, 1.0, 1.0]) + 5
    scale = whitening(features)
    spread = ((features - scale["mean"]) @ scale["whiten"]).std(0)
    # Variances of 81, 1, 1, 1 have a mean of 21, which is added to each.
    torch.testing.assert_close(spread, torch.tensor([81 / 102, 1 / 22, 1 / 22, 1 / 22]).sqrt(), atol=0.02, rtol=0)


def test_fewer_images_than_dimensions_are_whitened_too() -> None:
    features, _ = tables(0, images=3)
    assert whitened(whitening(features), features).isfinite().all()


def test_after_training_the_sums_are_those_of_the_last_confidences() -> None:
    studies = toy_studies(PROBLEM, [("flip", 0.5, 0), ("flip", 0.3, 1)])
    fitted = fit([configure("clip_pzsl", {"epochs": 3})] * 2, studies)
    assert fitted.weights is not None
    images = whitened(whitening(studies.features), studies.features)
    for run in range(2):
        expected = first_sums(images, fitted.weights[run])
        for name in ("sums", "count"):
            torch.testing.assert_close(fitted.memory[name][run], expected[name], atol=1e-3, rtol=1e-3)


def test_evidence_is_for_seen_classes_and_leaves_unseen_scores_alone() -> None:
    studies = toy_studies(PROBLEM, [("flip", 0.5, 0)])
    fitted = fit([configure("clip_pzsl", {"epochs": 3})], studies)
    scores = fitted.score(PROBLEM.test, PROBLEM.texts)[0]
    seen = fitted.score(PROBLEM.test, PROBLEM.texts[: PROBLEM.seen])[0]
    torch.testing.assert_close(scores[:, : PROBLEM.seen], seen)
