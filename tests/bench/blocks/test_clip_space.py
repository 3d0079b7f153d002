"""What every method in a joint encoder's space must bear, and what none of them may do to unseen classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import FEEDS, METHODS, Gradient, configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit
from pzsl_bench.training.fitted import Fitted

SOLVED: list[tuple[str, dict[str, object]]] = [
    ("tip_adapter", {}),
    ("tip_adapter", {"keys": "crops"}),
    ("tipx", {}),
    ("tipx", {"counted": "negated"}),
]
TRAINED: list[tuple[str, dict[str, object]]] = [
    ("clip_adapter", {}),
    ("clip_adapter", {"candidate_loss": "soft"}),
    ("taskres", {}),
    ("taskres", {"temperature": "fixed"}),
    ("coop", {}),
    ("coop", {"context": 6, "start": "random"}),
    ("tip_adapter_f", {}),
    ("linear_probe", {}),
    ("wise_ft", {}),
    ("wise_ft", {"merge": "fisher"}),
]
EVERY = pytest.mark.parametrize(("name", "settings"), SOLVED + [(n, {**s, "epochs": 2}) for n, s in TRAINED])
FLOATS = {
    "tip_adapter": ("beta", 1.0, 30.0),
    "tipx": ("gamma", 0.01, 1.0),
    "clip_adapter": ("ratio", 0.1, 0.6),
    "taskres": ("share", 0.1, 2.0),
    "coop": ("lr", 0.001, 0.01),
    "tip_adapter_f": ("alpha", 0.5, 5.0),
    "linear_probe": ("lr", 0.01, 0.1),
    "wise_ft": ("alpha", 0.2, 0.9),
}
PROBLEM = toy_problem(noise=1.0)
STUDIES = toy_studies(PROBLEM, [("flip", 0.3, 0), ("flip", 0.6, 1)])


def trained(name: str, settings: dict[str, object], studies: Studies) -> Fitted:
    fitted = fit([configure(name, settings)] * len(studies), studies)
    assert fitted.alive.all()
    return fitted


def finite(name: str, settings: dict[str, object], studies: Studies) -> Tensor:
    """Scores of the test images, which must be numbers."""
    scores = trained(name, settings, studies).score(PROBLEM.test, PROBLEM.class_texts)
    assert scores.isfinite().all()
    assert scores.shape == (len(studies), len(PROBLEM.test), len(PROBLEM.texts))
    return scores


def only(run: int, studies: Studies = STUDIES) -> Studies:
    return studies.of_runs(torch.tensor([run]))


@EVERY
def test_a_single_seen_class(name: str, settings: dict[str, object]) -> None:
    assert STUDIES.tokens is not None
    first = replace(STUDIES, texts=STUDIES.texts[:1], tokens=STUDIES.tokens[:1])
    finite(name, settings, replace(first, candidates=STUDIES.candidates[:, :, :1] | True))


@EVERY
@pytest.mark.parametrize("images", [1, 2])
def test_few_images(name: str, settings: dict[str, object], images: int) -> None:
    finite(name, settings, STUDIES.of_images(torch.arange(images)))


@EVERY
def test_a_class_that_no_image_has(name: str, settings: dict[str, object]) -> None:
    rows = torch.from_numpy(PROBLEM.train_truth != 3).nonzero().squeeze(1)
    part = STUDIES.of_images(rows)
    absent = part.candidates.clone()
    absent[..., 3] = False
    finite(name, settings, replace(part, candidates=absent))


@EVERY
def test_images_that_are_all_zero_and_texts_that_are_all_alike(name: str, settings: dict[str, object]) -> None:
    assert STUDIES.views is not None
    zero = replace(STUDIES, features=STUDIES.features * 0, views=STUDIES.views * 0)
    finite(name, settings, zero)
    finite(name, settings, replace(STUDIES, texts=STUDIES.texts[:1].repeat(8, 1)))


@EVERY
@pytest.mark.parametrize("kind", FEEDS)
def test_every_feed_is_taken(name: str, settings: dict[str, object], kind: str) -> None:
    finite(name, {**settings, "candidates_as": kind}, STUDIES)


@EVERY
def test_a_run_does_not_depend_on_its_stack(name: str, settings: dict[str, object]) -> None:
    together = finite(name, settings, STUDIES)
    for run in range(2):
        torch.testing.assert_close(finite(name, settings, only(run))[0], together[run], atol=1e-4, rtol=1e-4)


@EVERY
def test_runs_may_differ_in_a_setting_and_in_their_images(name: str, settings: dict[str, object]) -> None:
    setting, *values = FLOATS[name]
    own_images = replace(STUDIES, features=torch.stack([STUDIES.features, STUDIES.features.flip(0)]))
    methods = [configure(name, {**settings, setting: value}) for value in values]
    together = fit(methods, own_images).score(PROBLEM.test, PROBLEM.class_texts)
    for run, method in enumerate(methods):
        one = replace(only(run), features=own_images.features[run])
        alone = fit([method], one).score(PROBLEM.test, PROBLEM.class_texts)
        torch.testing.assert_close(alone[0], together[run], atol=1e-4, rtol=1e-4)


@EVERY
def test_unseen_classes_are_ranked_as_their_texts_say(name: str, settings: dict[str, object]) -> None:
    """Only what images and all texts go through changes what a class that was never seen is like."""
    scores = finite(name, settings, STUDIES)[..., PROBLEM.seen :]
    zero_shot = (PROBLEM.test @ PROBLEM.texts[PROBLEM.seen :].T).expand_as(scores)
    if name in ("clip_adapter", "coop"):
        assert not torch.equal(scores.argsort(-1), zero_shot.argsort(-1))
        return
    # A common factor, the learned scale, aside.
    factor = (scores * zero_shot).sum((1, 2), keepdim=True) / zero_shot.square().sum((1, 2), keepdim=True)
    assert (factor > 0).all()
    torch.testing.assert_close(scores, factor * zero_shot, atol=1e-3, rtol=1e-3)


@EVERY
def test_texts_of_another_width_are_refused_in_the_users_words(name: str, settings: dict[str, object]) -> None:
    assert {"texts", "alignment"} <= configure(name, settings).needs
    with pytest.raises(UserError, match=f"{name} needs class texts in the images' own space.*16 numbers and texts 5"):
        fit([configure(name, settings)] * 2, replace(STUDIES, texts=torch.ones(8, 5)))


@pytest.mark.parametrize(("name", "settings"), TRAINED)
def test_adapters_learn_seen_classes_from_clean_labels(name: str, settings: dict[str, object]) -> None:
    problem = toy_problem(noise=2.0)
    studies = toy_studies(problem, [("flip", 0.0, 0)])
    scores = trained(name, {"epochs": 90, **settings}, studies).score(problem.train, problem.class_texts)

    truth = torch.from_numpy(problem.train_truth)

    def right(scores: Tensor) -> float:
        return (scores[..., : problem.seen].argmax(-1) == truth).double().mean().item()

    assert right(scores[0]) > right(problem.train @ problem.texts.T)


def test_labels_follow_the_models_confidence_only_if_asked() -> None:
    for loss, moved in (("soft", False), ("proden", True)):
        weights = trained("taskres", {"candidate_loss": loss, "epochs": 2}, STUDIES).weights
        assert (weights is not None) == moved
        if weights is not None:
            assert not torch.equal(weights, STUDIES.uniform)
            assert (weights[~STUDIES.candidates] == 0).all()
            torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


def test_every_trained_method_of_the_family_is_tested_here() -> None:
    family = {n for n, cls in METHODS.all().items() if cls.info.family == "clip" and issubclass(cls, Gradient)}
    assert family == {name for name, _ in TRAINED}
