"""CoOp learns tokens of the embedded encoder's prompts; names that were not seen come with the exam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Gradient, configure
from pzsl_bench.data.ambiguity import draw_candidates
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.encoding.open_clip_tower import ClipTower
from pzsl_bench.encoding.prompts import class_texts
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem
from pzsl_bench.running.opened import with_tower
from pzsl_bench.training.fit import fit, initialise
from pzsl_bench.training.memory import replica_bytes
from pzsl_bench.training.soft_labels import feed

LOADED = find_encoder("embedded").load()
TOWER = ClipTower(LOADED, "embedded")
NAMES = (
    "circle",
    "star",
    "oval",
    "hexagon",
    "square",
    "triangle",
    "heart",
    "cross",
    "ring",
    "arrow",
    "crescent",
    "dome",
)
SEEN = 8


def prompted() -> Problem:
    """All images are of something striped and blue, which "a photo of a" knows nothing of."""
    toy = toy_problem(seen=SEEN, unseen=len(NAMES) - SEEN, width=64, per_class=12)
    draw = torch.Generator().manual_seed(0)
    texts, looks = (
        torch.from_numpy(class_texts(LOADED.encode_texts, NAMES, [template]))
        for template in ("a photo of a {}.", "striped blue {}.")
    )

    def images(truth: NDArray[np.int64]) -> Tensor:
        noise = torch.randn(len(truth), 64, generator=draw) / 8
        return torch.nn.functional.normalize(looks[truth] + 0.5 * noise, dim=-1)

    plain = replace(toy, texts=texts, class_names=NAMES, tower=None, views=None)
    return with_tower(replace(plain, train=images(toy.train_truth), test=images(toy.test_truth)), TOWER)


PROBLEM = prompted()


def studies_of(*rates: float) -> Studies:
    masks = [draw_candidates("flip", toy_problem(per_class=12).labelled, rate, "toy", 0) for rate in rates]
    keys = [f"run {number}" for number in range(len(rates))]
    return PROBLEM.studies(torch.stack([torch.from_numpy(mask) for mask in masks]), keys, keys)


def coop(**settings: object) -> Gradient:
    method = configure("coop", settings)
    assert isinstance(method, Gradient)
    return method


def right(scores: Tensor, rows: Tensor) -> float:
    """Share of these test images that are named rightly among all classes."""
    return (scores.argmax(-1) == torch.from_numpy(PROBLEM.test_truth))[rows].double().mean().item()


def test_training_starts_at_the_zero_shot_classifier() -> None:
    method = coop(lr=1e-9, epochs=1, temperature="fixed")
    scores = fit([method], studies_of(0.0)).score(PROBLEM.test, PROBLEM.class_texts)[0]
    zero_shot = PROBLEM.scale * PROBLEM.test @ PROBLEM.texts.T
    torch.testing.assert_close(scores, zero_shot, atol=1e-3, rtol=0.0)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_learned_tokens_name_seen_and_unseen_images_better_than_the_phrase(rate: float) -> None:
    scores = fit([coop(epochs=60, lr=1e-2)], studies_of(rate)).score(PROBLEM.test, PROBLEM.class_texts)[0]
    zero_shot = PROBLEM.test @ PROBLEM.texts.T
    seen = torch.from_numpy(PROBLEM.test_truth < SEEN)
    assert right(scores, seen) > right(zero_shot, seen) + 0.1
    assert right(scores, ~seen) > right(zero_shot, ~seen)


def test_no_unseen_name_enters_a_study() -> None:
    study = studies_of(0.5).of(0)
    assert len(study.texts) == len(study.class_names) == SEEN
    other = with_tower(replace(PROBLEM, class_names=(*NAMES[:SEEN], *"abcd")), TOWER)
    assert study.tokens is not None and PROBLEM.tokens is not None and other.tokens is not None
    assert torch.equal(study.tokens, other.tokens[:SEEN])
    assert not torch.equal(PROBLEM.tokens, other.tokens)
    tensors = [value for value in vars(study.tower).values() if isinstance(value, Tensor)]
    assert all(len(value) != len(NAMES) for value in tensors)
    module = coop().module(study)
    assert len(module.names.words) == SEEN


def test_a_run_does_not_depend_on_its_stack() -> None:
    studies = studies_of(0.0, 0.3, 0.6)
    method = coop(epochs=3, batch=32, start="random", context=3)
    together = fit([method] * 3, studies).score(PROBLEM.test, PROBLEM.class_texts)
    for run in range(3):
        alone = fit([method], studies.of_runs(torch.tensor([run]))).score(PROBLEM.test, PROBLEM.class_texts)[0]
        torch.testing.assert_close(alone, together[run], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_only_the_tokens_and_the_scale_are_learned() -> None:
    studies = studies_of(0.3)
    _, params, _ = initialise(coop(context=6), studies, studies.uniform)
    assert {name: tuple(value.shape) for name, value in params.items()} == {"context": (1, 6, 128), "log_scale": (1,)}
    assert torch.equal(params["context"][0, 2:], TOWER.phrase)
    _, params, _ = initialise(coop(context=2), studies, studies.uniform)
    assert torch.equal(params["context"][0], TOWER.phrase[-2:])


def test_other_methods_feed_it_the_labels_that_they_get_themselves() -> None:
    studies = studies_of(0.5)
    plain = replace(studies, tower=None, tokens=None)
    for kind in ("refined", "clip_prior"):
        assert torch.equal(feed(kind, studies, fit), feed(kind, plain, fit))


def test_memory_grows_with_the_number_of_classes() -> None:
    studies = studies_of(0.5)
    assert studies.tokens is not None
    half = replace(studies, texts=studies.texts[:4], tokens=studies.tokens[:4], candidates=studies.candidates[..., :4])
    few, many = (replica_bytes(coop(), classes) for classes in (half, studies))
    study = studies.of(0)
    assert many - few > 4 * coop().extra_floats(study) / 3


def test_class_texts_alone_are_refused_in_words() -> None:
    assert "text tower" in coop().needs
    with pytest.raises(UserError, match="needs the text tower"):
        fit([coop()], replace(studies_of(0.3), tower=None))
