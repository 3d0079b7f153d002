"""Candidate sets of rehearsals: the same sets among fewer classes, and never empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.problem.rehearsal_sets import sets_among
from pzsl_bench.problem.toy import toy_problem, toy_studies

PROBLEM = toy_problem()


def rehearsed(ambiguity: str, rate: float, noise: float, fold: int = 0, seeds: int = 3) -> tuple[torch.Tensor, ...]:
    """Sets among all classes and among those of a rehearsal, and the true classes there."""
    studies = toy_studies(PROBLEM, [(ambiguity, rate, seed) for seed in range(seeds)], noise=noise)
    small, rows, classes = PROBLEM.rehearsal(fold)
    sets = sets_among(studies.candidates, rows, classes, small.train_truth, studies.draws)
    return studies.candidates[:, rows][:, :, classes], sets, torch.from_numpy(small.train_truth)


@given(st.sampled_from(["flip", "semantic", "pair"]), st.floats(0, 1), st.integers(0, 3))
def test_sets_that_hold_the_truth_are_only_cut(ambiguity: str, rate: float, fold: int) -> None:
    cut, sets, _ = rehearsed(ambiguity, rate, 0.0, fold)
    assert torch.equal(cut, sets)


@given(st.sampled_from(["flip_noisy", "semantic_noisy"]), st.floats(0, 0.4), st.floats(0, 0.9), st.integers(0, 3))
def test_a_set_that_would_be_empty_gets_one_wrong_label(ambiguity: str, rate: float, noise: float, fold: int) -> None:
    cut, sets, truth = rehearsed(ambiguity, rate, noise, fold)
    empty = ~cut.any(-1)
    assert torch.equal(cut[~empty], sets[~empty])
    assert (sets[empty].sum(-1) == 1).all()
    holds_truth = sets.gather(-1, truth.expand(len(sets), -1)[..., None]).squeeze(-1)
    assert not (holds_truth & empty).any()


def test_without_further_candidates_some_noisy_sets_would_be_empty() -> None:
    cut, _, _ = rehearsed("flip_noisy", 0.0, 0.5)
    share = (~cut.any(-1)).float().mean()
    # Half of the labels are missing, and a fourth of their substitutes are acting classes: two of the seven others.
    assert share == pytest.approx(0.5 * 2 / 7, abs=0.06)


def test_what_a_set_gets_depends_on_its_own_run_only() -> None:
    _, three, _ = rehearsed("flip_noisy", 0.0, 0.5, seeds=3)
    _, two, _ = rehearsed("flip_noisy", 0.0, 0.5, seeds=2)
    assert torch.equal(three[:2], two)
    assert not torch.equal(three[0], three[1])


def test_the_sets_of_the_training_are_left_as_they_are() -> None:
    studies = toy_studies(PROBLEM, [("flip_noisy", 0.0, 0)], noise=0.5)
    before = studies.candidates.clone()
    small, rows, classes = PROBLEM.rehearsal()
    sets_among(studies.candidates, rows, classes, small.train_truth, studies.draws)
    assert torch.equal(before, studies.candidates)
    everything = np.arange(PROBLEM.seen)
    all_rows = np.arange(len(PROBLEM.train))
    sets_among(studies.candidates, all_rows, everything, PROBLEM.train_truth, studies.draws)
    assert torch.equal(before, studies.candidates)
