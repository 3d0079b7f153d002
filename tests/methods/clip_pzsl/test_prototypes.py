"""Evidence from the other images of a class: exact sums, and an image has no part in its own."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.contract import configure, normalise
from pzsl_bench.methods.clip_pzsl.prototypes import changed_sums, first_sums, visual_evidence
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

PROBLEM = toy_problem(noise=1.5)


def tables(seed: int, images: int = 12, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = normalise(torch.randn(images, 8, generator=generator) + 0.5)
    return features, torch.rand(images, classes, generator=generator).softmax(-1)


@given(st.integers(0, 50))
def test_evidence_is_the_cosine_to_the_sum_of_the_other_images(seed: int) -> None:
    features, confidences = tables(seed)
    evidence = visual_evidence(first_sums(features, confidences), features, confidences, 2.0)
    centred = normalise(features - features.mean(0))
    for i in range(len(features)):
        others = torch.arange(len(features)) != i
        for j in range(confidences.shape[1]):
            total = (confidences[others, j, None] * centred[others]).sum(0)
            number = confidences[others, j].sum()
            expected = normalise(total) @ centred[i] * number**2 / (number**2 + 4)
            torch.testing.assert_close(evidence[i, j], expected, atol=1e-4, rtol=1e-3)


@given(st.integers(0, 50))
def test_sums_follow_confidences_exactly(seed: int) -> None:
    features, before = tables(seed)
    after = before.clone()
    after[:5] = after[:5].flip(1)
    memory = first_sums(features, before)
    moved = {**memory, **changed_sums(memory, features[:5], before[:5], after[:5], torch.ones(5, 3))}
    assert 0 < moved.pop("level") < 1
    for name, value in first_sums(features, after).items():
        if name == "level":
            continue
        torch.testing.assert_close(moved[name], value, atol=1e-5, rtol=1e-4)


def test_a_class_of_one_image_gives_that_image_no_evidence() -> None:
    features, _ = tables(0, images=3)
    evidence = visual_evidence(first_sums(features, torch.eye(3)), features, torch.eye(3), 10.0)
    torch.testing.assert_close(evidence.diagonal(), torch.zeros(3), atol=1e-6, rtol=0)


def test_after_training_the_sums_are_those_of_the_last_confidences() -> None:
    studies = toy_studies(PROBLEM, [("flip", 0.5, 0), ("flip", 0.3, 1)])
    fitted = fit([configure("clip_pzsl", {"epochs": 3})] * 2, studies)
    assert fitted.weights is not None
    for run in range(2):
        for name, value in first_sums(studies.features, fitted.weights[run]).items():
            if name == "level":
                continue
            torch.testing.assert_close(fitted.memory[name][run], value, atol=1e-3, rtol=1e-3)


def test_evidence_is_for_seen_classes_and_leaves_unseen_scores_alone() -> None:
    studies = toy_studies(PROBLEM, [("flip", 0.5, 0)])
    fitted = fit([configure("clip_pzsl", {"epochs": 3})], studies)
    scores = fitted.score(PROBLEM.test, PROBLEM.texts)[0]
    seen = fitted.score(PROBLEM.test, PROBLEM.texts[: PROBLEM.seen])[0]
    torch.testing.assert_close(scores[:, : PROBLEM.seen], seen)
