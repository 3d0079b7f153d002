"""TS^3: spaces that follow a stream of images, in its order and without its labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.contract import ClosedForm, configure
from pzsl_bench.methods.ts3 import TS3
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

PROBLEM = toy_problem(noise=1.5)
assert PROBLEM.synonyms is not None
NAMES = PROBLEM.synonyms
SURE = {"certain": 1.0, "order": "exam"}


def scores(images: Tensor = PROBLEM.test, name: str = "ts3", **settings: Any) -> Tensor:
    studies = toy_studies(PROBLEM, [("flip", 0.3, 0)])
    return fit([configure(name, settings)], studies).score(images, PROBLEM.class_texts)[0]


@pytest.mark.parametrize("score", ["local_center", "max", "canonical", "hull"])
def test_without_a_step_it_is_s3(score: str) -> None:
    assert torch.equal(scores(alpha=0, group=len(PROBLEM.test), order="exam"), scores(name="s3"))
    torch.testing.assert_close(scores(alpha=0, score_by=score), scores(name="s3", score_by=score))


def test_an_image_knows_those_before_it_and_none_behind_it() -> None:
    changed = PROBLEM.test.clone()
    changed[100:] = changed[100:].flip(0)
    one, other = scores(group=10, **SURE), scores(changed, group=10, **SURE)
    assert torch.equal(one[:100], other[:100])
    assert not torch.equal(scores(PROBLEM.test.flip(0), group=10, **SURE).flip(0), one)


def test_a_group_is_scored_by_the_spaces_as_it_finds_them() -> None:
    torch.testing.assert_close(scores(group=10, **SURE)[:10], scores(name="s3")[:10])
    assert not torch.allclose(scores(group=10, **SURE)[10:20], scores(name="s3")[10:20])


def test_the_mean_of_a_class_follows_its_images_one_by_one() -> None:
    method = configure("ts3", {"beta": 0.8, "certain": 1.0})
    assert isinstance(method, TS3)
    g = torch.Generator().manual_seed(0)
    images, start = F.normalize(torch.randn(12, 5, generator=g), dim=-1), torch.randn(3, 5, generator=g)
    log_probs = (5 * torch.randn(12, 3, generator=g)).log_softmax(-1)
    means = start.clone()
    for image, best in zip(images, log_probs.argmax(-1), strict=True):
        means[best] = 0.8 * means[best] + 0.2 * image
    torch.testing.assert_close(method._followed(start, images, log_probs), means)


def test_images_that_are_not_sure_move_nothing() -> None:
    torch.testing.assert_close(scores(certain=0.0, order="exam"), scores(name="s3"))


def test_a_shuffled_stream_depends_on_nothing_but_its_length() -> None:
    assert torch.equal(scores(), scores())
    assert not torch.equal(scores(certain=1.0), scores(**SURE))


def test_it_is_marked_as_transductive_and_experimental() -> None:
    method = configure("ts3", {})
    assert isinstance(method, ClosedForm)
    assert method.transductive
    assert "experimental" in method.info.title


def test_hard_streams_give_numbers() -> None:
    hard = torch.cat([NAMES[:, 0], torch.zeros(3, 16), -NAMES[:, 0], 300 * NAMES[:2, 1]])
    for settings in ({}, {"beta": 0.0, "alpha": 100.0, "certain": 1.0}, {"group": 1}):
        assert scores(hard, **settings).isfinite().all()
    assert scores(hard[:1]).isfinite().all()
