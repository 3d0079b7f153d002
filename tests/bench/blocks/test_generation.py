"""Examples of seen classes follow their soft labels, and classifiers of imagined ones are fitted once for an exam."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from pzsl_bench.blocks.generation import Generative, evenly_chosen
from pzsl_bench.contract import configure
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit
from pzsl_bench.training.fitted import Fitted

PROBLEM = toy_problem(seen=3, unseen=2, width=6, per_class=6)
NAMES = ("f_clswgan", "cada_vae")
SHORT = {"epochs": 2, "batch": 6}


def trained(name: str, points: int = 1, **settings: object) -> Fitted:
    studies = toy_studies(PROBLEM, [("flip", 0.3, seed) for seed in range(points)])
    return fit([configure(name, {**SHORT, **settings})] * points, studies)


def test_images_are_chosen_as_often_as_their_labels_say() -> None:
    soft = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.0, 1.0], [0.0, 2.0]])
    rows, has_images = evenly_chosen(soft, 40)
    assert has_images.all()
    assert torch.bincount(rows[0], minlength=5).tolist() == [20, 10, 10, 0, 0]
    assert torch.bincount(rows[1], minlength=5).tolist() == [0, 5, 5, 10, 20]


def test_a_class_that_no_image_may_be_has_no_examples() -> None:
    rows, has_images = evenly_chosen(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 3)
    assert has_images.tolist() == [True, False]
    assert rows.max() < 2


@pytest.mark.parametrize("name", NAMES)
def test_the_final_classifier_is_made_once_for_each_exam(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, asked = trained(name), []
    prepare = type(fitted.method).prepare
    monkeypatch.setattr(
        type(fitted.method),
        "prepare",
        lambda self, net, memory: asked.append(len(net.texts)) or prepare(self, net, memory),
    )
    for texts in (PROBLEM.texts, PROBLEM.texts.clone(), PROBLEM.texts[:3], PROBLEM.texts):
        assert fitted.score(PROBLEM.test, texts).shape[-1] == len(texts)
    assert asked == [5, 3]


@pytest.mark.parametrize("name", NAMES)
def test_other_names_get_another_classifier(name: str) -> None:
    fitted = trained(name)
    swapped = PROBLEM.texts[[0, 1, 2, 4, 3]]
    scores = fitted.score(PROBLEM.test, PROBLEM.texts)
    torch.testing.assert_close(fitted.score(PROBLEM.test, swapped), scores[..., [0, 1, 2, 4, 3]], atol=1e-2, rtol=1e-2)
    assert not torch.equal(fitted.score(PROBLEM.test, swapped), scores)


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_prepares_each_run_as_if_it_were_alone(name: str) -> None:
    points = 6
    together = trained(name, points).score(PROBLEM.test, PROBLEM.texts)
    studies = toy_studies(PROBLEM, [("flip", 0.3, points - 1)])
    alone = fit([configure(name, SHORT)], studies).score(PROBLEM.test, PROBLEM.texts)
    torch.testing.assert_close(alone[0], together[-1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_what_changed_since_is_prepared_anew(name: str) -> None:
    fitted = trained(name)
    scores = fitted.score(PROBLEM.test, PROBLEM.texts)
    state = {key: torch.zeros_like(value) for key, value in fitted.state.items()}
    assert not torch.equal(replace(fitted, state=state).score(PROBLEM.test, PROBLEM.texts), scores)


@pytest.mark.parametrize("condition", ["drawn", "expected"])
@pytest.mark.parametrize("images", ["as_given", "unit", "standardised"])
@pytest.mark.parametrize("name", NAMES)
def test_scaling_is_undone_by_unscaled(name: str, images: str, condition: str) -> None:
    fitted = trained(name, images=images, condition=condition, rescale=True, known="imagined")
    assert fitted.alive.all()
    memory = {key: value[0] for key, value in fitted.memory.items()}
    assert isinstance(fitted.method, Generative)
    scaled = fitted.method.scaled(PROBLEM.test, memory)
    torch.testing.assert_close(fitted.method.unscaled(scaled, memory), PROBLEM.test)
    assert fitted.score(PROBLEM.test, PROBLEM.texts).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("texts", [torch.ones(5, 6), torch.ones(5, 1), torch.arange(5.0).unsqueeze(1)])
def test_descriptions_may_be_alike_or_of_one_number(name: str, texts: torch.Tensor) -> None:
    problem = replace(PROBLEM, texts=texts)
    fitted = fit(
        [configure(name, SHORT)],
        problem.studies(F.one_hot(torch.from_numpy(problem.train_truth)).bool()[None], ["a"], ["a"]),
    )
    assert fitted.alive.all()
    assert fitted.score(problem.test, problem.texts).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_one_seen_class_and_one_image_are_enough(name: str) -> None:
    problem = toy_problem(seen=1, unseen=1, width=4, per_class=1)
    fitted = fit([configure(name, SHORT)], problem.studies(torch.ones(1, 1, 1).bool(), ["a"], ["a"]))
    assert fitted.alive.all()
    assert fitted.score(problem.test, problem.texts).isfinite().all()
