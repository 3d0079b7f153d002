"""What every zero-shot method in closed form must bear: data that is too little, too plain or too much alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pzsl_bench.contract import FEEDS, configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

FORMS: list[tuple[str, dict[str, object]]] = [
    ("eszsl", {}),
    ("ridge", {}),
    ("ridge", {"direction": "semantics"}),
    ("sae", {}),
    ("sae", {"direction": "features"}),
    ("conse", {}),
    ("sync", {}),
    ("sync", {"negatives": "outside"}),
]
EVERY = pytest.mark.parametrize(("name", "settings"), FORMS)
FLOATS = {"eszsl": "reg_semantic", "ridge": "reg", "sae": "lam", "conse": "reg", "sync": "lam"}
PROBLEM = toy_problem(noise=1.0)
STUDIES = toy_studies(PROBLEM, [("flip", 0.3, 0), ("flip", 0.6, 1)])


def finite(name: str, settings: dict[str, object], studies: Studies, texts: Tensor) -> Tensor:
    """Scores of the test images, which must be numbers."""
    fitted = fit([configure(name, settings)] * len(studies), studies)
    scores = fitted.score(PROBLEM.test[:, : studies.features.shape[-1]], texts)
    assert fitted.alive.all()
    assert scores.isfinite().all()
    assert scores.shape == (len(studies), len(PROBLEM.test), len(texts))
    return scores


@EVERY
def test_semantics_of_another_width_than_images(name: str, settings: dict[str, object]) -> None:
    for width in (1, 5, 40):
        texts = torch.randn(12, width, generator=torch.Generator().manual_seed(0))
        finite(name, settings, replace(STUDIES, texts=texts[:8]), texts)


@EVERY
def test_semantics_on_one_line_or_all_the_same(name: str, settings: dict[str, object]) -> None:
    line = torch.outer(torch.arange(1.0, 13.0), torch.randn(16, generator=torch.Generator().manual_seed(0)))
    for texts in (line, line[:1].expand(12, -1) * torch.ones(12, 1)):
        finite(name, settings, replace(STUDIES, texts=texts[:8]), texts)


@EVERY
def test_a_single_seen_class(name: str, settings: dict[str, object]) -> None:
    alone = replace(STUDIES, texts=STUDIES.texts[:1], candidates=torch.ones_like(STUDIES.candidates[:, :, :1]))
    finite(name, settings, alone, PROBLEM.texts)


@EVERY
@pytest.mark.parametrize("images", [1, 2, 9])
def test_fewer_images_than_numbers_in_one(name: str, settings: dict[str, object], images: int) -> None:
    few = replace(STUDIES, features=STUDIES.features[::17][:images], candidates=STUDIES.candidates[:, ::17][:, :images])
    finite(name, settings, few, PROBLEM.texts)


@EVERY
def test_a_class_that_no_image_has_leaves_the_others_to_be_told_apart(name: str, settings: dict[str, object]) -> None:
    rows = torch.from_numpy(PROBLEM.train_truth) != 3
    candidates = STUDIES.candidates[:, rows].clone()
    candidates[..., 3] = False
    scores = finite(
        name, settings, replace(STUDIES, features=STUDIES.features[rows], candidates=candidates), PROBLEM.texts
    )
    others = [k for k in range(8) if k != 3]
    truth = torch.from_numpy(PROBLEM.test_truth)
    known = torch.isin(truth, torch.tensor(others))
    picked = torch.tensor(others)[scores[0][known][:, others].argmax(-1)]
    assert (picked == truth[known]).float().mean() > 0.5


@EVERY
def test_images_and_class_texts_that_are_all_zero(name: str, settings: dict[str, object]) -> None:
    zero = replace(STUDIES, features=torch.zeros_like(STUDIES.features), texts=torch.zeros_like(STUDIES.texts))
    finite(name, settings, zero, PROBLEM.texts)


@EVERY
def test_a_run_does_not_depend_on_its_stack(name: str, settings: dict[str, object]) -> None:
    together = finite(name, settings, STUDIES, PROBLEM.texts)
    for run in range(2):
        alone = replace(
            STUDIES,
            candidates=STUDIES.candidates[run : run + 1],
            keys=STUDIES.keys[run : run + 1],
            draws=STUDIES.draws[run : run + 1],
        )
        torch.testing.assert_close(finite(name, settings, alone, PROBLEM.texts)[0], together[run], atol=1e-5, rtol=1e-4)


@EVERY
def test_runs_may_differ_in_their_regulariser_and_in_their_images(name: str, settings: dict[str, object]) -> None:
    own_images = replace(STUDIES, features=torch.stack([STUDIES.features, STUDIES.features.flip(0)]))
    low, high = (configure(name, {**settings, FLOATS[name]: value}) for value in (0.01, 1.0))
    together = fit([low, high], own_images).score(PROBLEM.test, PROBLEM.texts)
    for run, method in enumerate((low, high)):
        alone = replace(
            STUDIES,
            features=own_images.features[run],
            candidates=STUDIES.candidates[run : run + 1],
            keys=STUDIES.keys[run : run + 1],
            draws=STUDIES.draws[run : run + 1],
        )
        scores = fit([method], alone).score(PROBLEM.test, PROBLEM.texts)
        torch.testing.assert_close(scores[0], together[run], atol=1e-5, rtol=1e-4)


@EVERY
@pytest.mark.parametrize("kind", FEEDS)
def test_every_feed_is_taken(name: str, settings: dict[str, object], kind: str) -> None:
    finite(name, {**settings, "candidates_as": kind}, STUDIES, PROBLEM.texts)
