"""Feeds: what becomes of candidate sets before a method for ordinary labels sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import FEEDS, METHODS, Batch, Fed, Gradient, Method, Output, configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.synonyms.scores import Scoring, score_spaces
from pzsl_bench.synonyms.space import Compactness, build_spaces
from pzsl_bench.training.fit import fit
from pzsl_bench.training.fitted import Fitted
from pzsl_bench.training.soft_labels import PRIOR_VERSION, REFINER, feed, feed_facts


@pytest.fixture(scope="module")
def studies() -> Studies:
    return toy_studies(toy_problem(), [("flip", 0.5, 0), ("flip", 0.2, 1)])


def fed(kind: str, studies: Studies) -> Tensor:
    return feed(kind, studies, fit)


@pytest.mark.parametrize("kind", FEEDS)
def test_every_feed_stays_inside_the_candidates_and_sums_to_one(kind: str, studies: Studies) -> None:
    weights = fed(kind, studies)
    assert weights.shape == studies.candidates.shape
    assert not weights[~studies.candidates].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))


@pytest.mark.parametrize("kind", FEEDS)
def test_images_with_one_candidate_are_sure_of_it(kind: str, studies: Studies) -> None:
    clean = toy_studies(toy_problem(), [("flip", 0.0, 0)])
    torch.testing.assert_close(fed(kind, clean), clean.candidates.float())


def test_the_prior_is_the_zero_shot_softmax_among_the_candidates(studies: Studies) -> None:
    open_ended = (studies.scale * studies.features @ studies.texts.T).softmax(-1)
    inside = torch.where(studies.candidates, open_ended, 0)
    torch.testing.assert_close(fed("clip_prior", studies), inside / inside.sum(-1, keepdim=True))


def test_the_prior_of_names_is_the_softmax_of_the_point_to_space_score_among_the_candidates(studies: Studies) -> None:
    assert studies.synonyms is not None
    spaces = build_spaces(studies.synonyms, Compactness())
    open_ended = (studies.scale * score_spaces(studies.features, spaces, Scoring())).softmax(-1)
    inside = torch.where(studies.candidates, open_ended, 0)
    torch.testing.assert_close(fed("s3_prior", studies), inside / inside.sum(-1, keepdim=True))


def test_the_prior_of_names_is_that_of_texts_where_there_is_but_one(studies: Studies) -> None:
    alone = replace(studies, synonyms=studies.texts[:, None])
    torch.testing.assert_close(fed("s3_prior", alone), fed("clip_prior", studies))
    with pytest.raises(UserError, match="s3_prior scores images by all names of a class; here each has but its text"):
        fed("s3_prior", replace(studies, synonyms=None))


@pytest.mark.parametrize("kind", ["clip_prior", "s3_prior"])
def test_the_prior_knows_images_of_a_runs_own(kind: str, studies: Studies) -> None:
    per_run = replace(studies, features=torch.stack([studies.features, studies.features.flip(0)]))
    weights = fed(kind, per_run)
    torch.testing.assert_close(weights[0], fed(kind, studies)[0])
    assert not torch.allclose(weights[1], fed(kind, studies)[1])


def test_a_prior_that_is_very_sure_of_other_classes_still_answers(studies: Studies) -> None:
    weights = fed("clip_prior", replace(studies, scale=1e4))
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))


def test_a_prior_needs_texts_of_the_images_width(studies: Studies) -> None:
    with pytest.raises(UserError, match="images have 16 numbers and texts 5; uniform, random and refined do without"):
        fed("clip_prior", replace(studies, texts=studies.texts[:, :5]))


@dataclass(frozen=True)
class Ranking(Fed, Gradient):
    def loss(self, output: Output, batch: Batch) -> Tensor:
        return output.logits.sum()


def test_a_method_that_is_fed_by_the_prior_says_what_it_needs() -> None:
    assert Ranking().needs == set()
    assert Ranking(candidates_as="clip_prior").needs == {"alignment"}
    assert configure("eszsl", {"candidates_as": "clip_prior"}).needs == {"texts", "alignment"}


def test_an_identity_knows_what_its_labels_came_from() -> None:
    settings = asdict(configure(REFINER, {}))
    assert feed_facts("refined") == {"refiner": [REFINER, METHODS.get(REFINER).info.version, settings]}
    assert feed_facts("clip_prior") == feed_facts("s3_prior") == {"prior": PRIOR_VERSION}
    assert feed_facts("uniform") == feed_facts("random") == {}


def test_an_unknown_feed_is_told_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="did you mean 'clip_prior'"):
        configure("eszsl", {"candidates_as": "clip-prior"})


def test_labels_are_refined_once_for_all_methods_that_want_them(studies: Studies) -> None:
    fits: list[int] = []

    def counted(methods: Sequence[Method], studies: Studies) -> Fitted:
        fits.append(len(studies))
        return fit(methods, studies)

    first = feed("refined", studies, counted)
    again = feed("refined", studies, counted)
    assert torch.equal(first, again) and fits == [2]
    # Runs that differ in their settings share a draw.
    wider = feed("refined", studies.of_runs(torch.tensor([1, 0, 1])), counted)
    torch.testing.assert_close(wider, first[[1, 0, 1]])
    for other in (
        replace(studies, features=studies.features + 1e-3),
        replace(studies, candidates=studies.candidates | (torch.arange(studies.candidates.shape[-1]) == 0)),
        replace(studies, draws=("one", "other")),
        replace(studies, scale=studies.scale / 2),
    ):
        before = len(fits)
        assert not torch.equal(feed("refined", other, counted), first)
        assert len(fits) == before + 1


def test_what_is_handed_out_may_be_changed_without_harm(studies: Studies) -> None:
    first = fed("refined", studies)
    expected = first.clone()
    first.zero_()
    assert torch.equal(fed("refined", studies), expected)
