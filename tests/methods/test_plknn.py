"""PL-kNN agrees with public code, through the functions that the harness calls."""

from __future__ import annotations

import torch
from replay import agree, double, fixture

from pzsl_bench.contract import ClosedForm, State, Study, configure
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

NUMBERS = fixture("pl_knn")
GIVEN, EXPECTED, TOLERANCE = NUMBERS["inputs"], NUMBERS["expected"], NUMBERS["tolerance"]
NO_TEXTS = double([[]] * GIVEN["K"])


def solved(k: int) -> tuple[ClosedForm, State]:
    method = configure("plknn", {"k": k})
    assert isinstance(method, ClosedForm)
    candidates = double(GIVEN["train_candidates"])
    study = Study(double(GIVEN["train_features"]), candidates.bool(), candidates, NO_TEXTS, ("",) * GIVEN["K"], 1.0)
    return method, method.solve(study)


def test_votes_for_new_images_equal_public_code() -> None:
    method, state = solved(GIVEN["k"])
    agree(method.score(state, double(GIVEN["test_features"]), NO_TEXTS), EXPECTED["test_scores"], TOLERANCE)


def test_a_training_image_only_adds_one_vote_for_each_of_its_own_candidates() -> None:
    method, state = solved(GIVEN["k"] + 1)
    votes = method.score(state, double(GIVEN["train_features"]), NO_TEXTS)
    others = (votes - state["candidates"]) * state["candidates"]
    agree(others, EXPECTED["train_scores"], TOLERANCE)


def test_images_that_coincide_vote_alike() -> None:
    method, state = solved(3)
    same = {"images": state["images"][:1].expand(5, -1), "candidates": state["candidates"][:5]}
    votes = method.score(same, state["images"][:1], NO_TEXTS)
    torch.testing.assert_close(votes.sum(), state["candidates"][:5].sum(1)[:3].sum())


def test_fewer_images_than_neighbours_all_vote() -> None:
    method, state = solved(50)
    votes = method.score(state, double(GIVEN["test_features"]), NO_TEXTS)
    assert votes.isfinite().all()
    assert (votes > 0).all()


def test_texts_are_not_needed_and_not_looked_at() -> None:
    assert configure("plknn", {}).needs == frozenset()
    problem = toy_problem()
    fitted = fit([configure("plknn", {})], toy_studies(problem, [("flip", 0.3, 0)]))
    known = fitted.score(problem.test, problem.texts[: problem.seen])
    assert torch.equal(known, fitted.score(problem.test, torch.zeros_like(problem.texts)))
    assert known.shape[-1] == problem.seen
