"""DVSA: where it starts, what its attention and contrast are, and that every choice it leaves open is a setting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.randomness import key
from pzsl_bench.contract import Batch, Net, configure, normalise
from pzsl_bench.judging.judge import answer, class_accuracy, judge
from pzsl_bench.methods.dvsa import Dvsa
from pzsl_bench.methods.dvsa.contrast import contrast
from pzsl_bench.methods.dvsa.model import Model
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit, initialise
from pzsl_bench.training.vmapped import Vmapped

PROBLEM = toy_problem(noise=1.5)


def make(**settings: Any) -> Dvsa:
    method = configure("dvsa", settings)
    assert isinstance(method, Dvsa)
    return method


def with_attributes(attributes: int = 10) -> Problem:
    """A toy problem with semantics that are not vectors of the images' space, and enough classes to learn them."""
    plain = toy_problem(seen=24, noise=1.0)
    rng = np.random.default_rng(key("toy attributes"))
    mixed = torch.from_numpy(rng.normal(size=(plain.texts.shape[-1], attributes))).float()
    return replace(plain, texts=plain.texts @ mixed + 1, aligned=False)


def studies(problem: Problem = PROBLEM, rate: float = 0.3, seeds: int = 1) -> Studies:
    return toy_studies(problem, [("flip", rate, seed) for seed in range(seeds)])


def first_scores(method: Dvsa, problem: Problem) -> torch.Tensor:
    """Scores of the test images before training, for all classes."""
    stack = studies(problem)
    module, params, memory = initialise(method, stack, stack.uniform)
    net = Net(module, {k: v[0].detach() for k, v in params.items()}, problem.texts)
    return method.score(net, {k: v[0] for k, v in memory.items()}, problem.test)


def one_step(method: Dvsa, problem: Problem, epoch: int = 1) -> tuple[dict[str, Any], Batch, Any]:
    """Parameters of one run with their gradients, the batch, and the update of a step."""
    stack = studies(problem, 0.5)
    module, params, memory = initialise(method, stack, stack.uniform)
    generator = torch.Generator().manual_seed(0)
    # What starts at zero is moved a little, so that nothing downstream of it is switched off.
    params = {
        name: (p.detach() + 0.1 * torch.randn(p.shape, generator=generator)).requires_grad_()
        for name, p in params.items()
    }
    memory = {
        name: torch.rand(m.shape, generator=generator) if name in ("evidence", "count") else m
        for name, m in memory.items()
    }
    batch = Batch(
        features=stack.features.expand(1, -1, -1),
        texts=stack.texts,
        weights=stack.uniform,
        candidates=stack.candidates,
        memory=memory,
        progress=torch.tensor(0.0),
        epoch=torch.tensor(epoch),
    )
    loss, update = Vmapped(method, {}, module, stack.texts).step(params, batch)
    loss.sum().backward()
    return params, batch, (loss, update)


@pytest.mark.parametrize("settings", [{}, {"start": "identity"}, {"attend": "none"}, {"reweigh": False}], ids=str)
def test_with_texts_of_the_images_space_it_starts_at_zero_shot_clip(settings: dict[str, Any]) -> None:
    zero_shot = PROBLEM.scale * PROBLEM.test @ PROBLEM.texts.T
    torch.testing.assert_close(first_scores(make(**settings), PROBLEM), zero_shot, rtol=1e-4, atol=1e-4)


def test_with_attributes_it_starts_at_the_ridge_regression_of_the_candidates_mean_attributes() -> None:
    problem, penalty = with_attributes(), 3.0
    stack = studies(problem)
    images = problem.train - problem.train.mean(0)
    seen = problem.texts[: problem.seen]
    semantics = normalise(problem.texts - seen.mean(0))
    moments = images.T @ images + penalty * torch.eye(images.shape[-1])
    maps = torch.linalg.solve(moments, images.T @ stack.uniform[0] @ semantics[: problem.seen])
    expected = 10 * (problem.test - problem.train.mean(0)) @ maps @ semantics.T
    got = first_scores(make(start_ridge=penalty, attribute_scale=10.0), problem)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("problem", [PROBLEM, with_attributes()], ids=["texts", "attributes"])
def test_classes_never_seen_are_named_well_above_chance(problem: Problem) -> None:
    fitted = fit([make()] * 3, studies(problem, 0.1, 3))
    exam = problem.exam()
    answers = answer(fitted, exam)
    assert answers is not None
    unseen, rows = range(exam.seen, len(exam.texts)), exam.truth >= exam.seen
    found = [class_accuracy(exam.truth[rows], run.unseen[rows], unseen) for run in answers]
    assert np.mean(found) > 1.6 / len(unseen)


def test_scores_of_a_class_depend_on_its_own_semantics_only() -> None:
    problem = with_attributes()
    fitted = fit([make()], studies(problem))
    alone = fitted.score(problem.test, problem.texts[-2:])
    torch.testing.assert_close(fitted.score(problem.test, problem.texts)[..., -2:], alone)


def test_scores_of_an_image_do_not_depend_on_the_other_images() -> None:
    fitted = fit([make()], studies())
    alone = fitted.score(PROBLEM.test[:1], PROBLEM.texts)
    torch.testing.assert_close(fitted.score(PROBLEM.test, PROBLEM.texts)[:, :1], alone)


@pytest.mark.parametrize("problem", [PROBLEM, with_attributes()], ids=["texts", "attributes"])
def test_every_parameter_is_reached_by_the_gradient(problem: Problem) -> None:
    params, _, _ = one_step(make(), problem)
    assert set(params) == {"prototypes", "to_prototypes", "to_images", "gate", "log_scale"}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in params.values())
    # Every attribute has a prototype of its own, and every one of them is trained.
    assert len(params["prototypes"][0]) == problem.texts.shape[-1]
    assert (params["prototypes"].grad[0].abs().sum(-1) > 0).all()


def test_attention_is_the_softmax_over_attributes_and_calibrates_in_both_directions() -> None:
    generator = torch.Generator().manual_seed(1)
    x, prototypes, pooled = (torch.randn(n, 5, generator=generator) for n in (3, 4, 4))
    model = Model(prototypes, 1.0, "both", reweigh=True, learn_scale=False)
    assert model.to_prototypes is not None
    assert model.to_images is not None
    assert model.gate is not None
    with torch.no_grad():
        model.to_prototypes.copy_(torch.eye(5))
        model.to_images.copy_(2 * torch.eye(5))
        model.gate.fill_(0.5)
        seen = model.see(x, 2.0, 0.1, pooled)
    attention = (2 * x @ normalise(prototypes).T).softmax(-1)
    calibrated = prototypes + 0.1 * pooled
    scores = (x + 0.1 * 2 * attention @ calibrated) @ calibrated.T
    torch.testing.assert_close(seen.attention, attention)
    torch.testing.assert_close(seen.scores, scores)
    torch.testing.assert_close(seen.weighted, scores * (1 + 0.5 * (4 * attention - 1)))


def test_attributes_remember_the_images_that_attended_to_them_and_forget_a_share() -> None:
    method = make(evidence_rate=0.25)
    _, batch, (_, update) = one_step(method, PROBLEM)
    grown = update.memory["count"] - 0.75 * batch.memory["count"]
    # The attention of an image sums to one, so a batch adds as many counts as it has images.
    torch.testing.assert_close(grown.sum(-1), torch.tensor([float(len(PROBLEM.train))]))


def test_the_label_weights_stay_on_the_candidates_and_move_by_their_momentum() -> None:
    _, batch, (_, update) = one_step(make(confidence_momentum=0.75), PROBLEM)
    assert (update.weights[~batch.candidates] == 0).all()
    torch.testing.assert_close(update.weights.sum(-1), torch.ones(update.weights.shape[:-1]))
    _, _, (_, replaced) = one_step(make(confidence_momentum=0.0), PROBLEM)
    torch.testing.assert_close(update.weights, 0.75 * batch.weights + 0.25 * replaced.weights)
    _, batch, (_, resting) = one_step(make(warmup=2), PROBLEM, epoch=1)
    assert torch.equal(resting.weights, batch.weights)


def test_disambiguation_finds_more_true_labels_than_uniform_weights() -> None:
    found, problem = {}, with_attributes()
    for name, settings in {"dynamic": {}, "uniform": {"confidence_momentum": 1.0, "relevance": "none"}}.items():
        stack = studies(problem, 0.3, 3)
        fitted = fit([make(**settings)] * 3, stack)
        metrics = judge(fitted, problem.exam(), problem.train, stack.candidates, [None] * 3)
        found[name] = np.mean([m["D"] for m in metrics if m["D"] is not None])
    assert found["dynamic"] > found["uniform"] + 0.02


def test_the_contrast_is_least_where_attributes_are_shown_as_the_classes_have_them() -> None:
    generator = torch.Generator().manual_seed(2)
    weights = torch.eye(6).repeat(4, 1)
    expected = weights @ torch.randn(6, 5, generator=generator)
    wrong = expected[:, torch.tensor([1, 2, 3, 4, 0])]
    for kind in ("attributes", "images"):
        for bound in ("infonce", "jsd"):
            right = contrast(kind, bound, expected, expected, weights, 10.0)
            assert right < contrast(kind, bound, wrong, expected, weights, 10.0), (kind, bound)


def test_the_attribute_contrast_of_unrelated_columns_is_the_cross_entropy_of_finding_ones_own() -> None:
    # Columns of a Hadamard matrix are orthogonal and have mean zero: cosines are 1 on the diagonal and 0 elsewhere.
    h2 = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    expected = torch.kron(torch.kron(h2, h2), h2)[:, 1:]
    sharp = 30.0
    own = sharp - torch.log(torch.exp(torch.tensor(sharp)) + 6)
    got = contrast("attributes", "infonce", 3 * expected + 7, expected, torch.eye(8), sharp)
    torch.testing.assert_close(got, -own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"start": "random"},
        {"start": "ridge"},
        {"centre": "centred"},
        {"attend": "to_prototypes"},
        {"attend": "to_images"},
        {"attend": "none"},
        {"attention_sharpness": 30.0},
        {"attention_gain": 0.5},
        {"evidence_rate": 0.5},
        {"reweigh": False},
        {"measure": "cosine"},
        {"sharpness": 0.5},
        {"temperature": "fixed"},
        {"confidence": "start"},
        {"contrast": "images"},
        {"contrast": "none"},
        {"contrast_bound": "jsd"},
        {"contrast_weight": 1.0},
        {"contrast_sharpness": 1.0},
        {"anchor": 0.0},
        {"relevance": "none"},
        {"relevance": "cosine"},
        {"confidence_momentum": 0.0},
        {"consistency": 0.0},
        {"warmup": 3},
    ],
    ids=str,
)
def test_every_open_choice_changes_the_result(settings: dict[str, Any]) -> None:
    stack = studies()
    plain, changed = (fit([make(epochs=4, batch=32, **s)], stack) for s in ({}, settings))
    gap = plain.score(PROBLEM.test, PROBLEM.texts) - changed.score(PROBLEM.test, PROBLEM.texts)
    assert gap.isfinite().all()
    assert gap.abs().max() > 1e-4


@pytest.mark.parametrize("settings", [{"attribute_scale": 3.0}, {"start_ridge": 1.0}, {"centre": "as_given"}], ids=str)
def test_the_choices_for_attributes_change_the_result_with_attributes(settings: dict[str, Any]) -> None:
    problem = with_attributes()
    plain, changed = (fit([make(epochs=2, **s)], studies(problem)) for s in ({}, settings))
    gap = plain.score(problem.test, problem.texts) - changed.score(problem.test, problem.texts)
    assert gap.abs().max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"start": "zeros"}, "dvsa.start"),
        ({"attend": "all"}, "dvsa.attend"),
        ({"contrast": "none", "contrast_bound": "jsd"}, "no effect"),
        ({"consistency": 1.5}, "below"),
        ({"hidden": 32}, "as wide as the images"),
        ({"prototypes": "ensemble"}, "of its own"),
        ({"init_confidence": "clip"}, "of that kind"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_in_words(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make(**settings)


def test_a_start_at_the_identity_needs_texts_in_the_images_space() -> None:
    assert "alignment" in make(start="identity").needs
    assert "alignment" not in make().needs
    problem = with_attributes()
    with pytest.raises(UserError, match="own space"):
        fit([make(start="identity")], studies(problem))
