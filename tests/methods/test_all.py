"""What every registered method must do, whoever wrote it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pzsl_bench.contract import METHODS, ClosedForm, configure
from pzsl_bench.judge import answer, class_accuracy, seen_answers
from pzsl_bench.problem import Studies
from pzsl_bench.stack import fit
from pzsl_bench.toy import toy_problem, toy_studies

NAMES = METHODS.names()
PROBLEM = toy_problem(noise=1.5)


def scores(name: str, studies: Studies) -> torch.Tensor:
    return fit([configure(name, {})] * len(studies), studies).score(PROBLEM.test, PROBLEM.texts)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_study_gives_the_same_scores(name: str) -> None:
    studies = toy_studies(PROBLEM, [("flip", 0.3, 0)])
    assert torch.equal(scores(name, studies), scores(name, studies))


@pytest.mark.parametrize("name", NAMES)
def test_clean_labels_are_learnt_well_above_chance(name: str) -> None:
    studies = toy_studies(PROBLEM, [("flip", 0.0, seed) for seed in range(3)])
    fitted = fit([configure(name, {})] * 3, studies)
    exam = PROBLEM.exam()
    known = exam.truth < exam.seen
    closed = seen_answers(fitted, exam.features[torch.from_numpy(known)], exam.texts[: exam.seen])
    assert min(class_accuracy(exam.truth[known], run, range(exam.seen)) for run in closed) > 4 / exam.seen
    answers = answer(fitted, exam)
    if answers is None:
        # Only a method that looks at no text may be unable to name what it never saw.
        assert isinstance(fitted.method, ClosedForm)
        assert not fitted.method.needs
        return
    unseen = [class_accuracy(exam.truth[~known], a.unseen[~known], range(exam.seen, len(exam.texts))) for a in answers]
    assert np.mean(unseen) > 1.6 / (len(exam.texts) - exam.seen)


@pytest.mark.parametrize("name", NAMES)
def test_hard_studies_give_finite_scores(name: str) -> None:
    """Rows of one candidate, rows where everything is a candidate, and a class that no image ever has."""
    easy = toy_studies(PROBLEM, [("flip", 0.5, 0)])
    rows = torch.from_numpy(PROBLEM.train_truth != 3)
    candidates = easy.candidates[:, rows].clone()
    candidates[0, :, 3] = False
    candidates[0, :5] = torch.nn.functional.one_hot(torch.from_numpy(PROBLEM.train_truth)[rows][:5], 8).bool()
    candidates[0, 5:10] = True
    assert easy.views is not None
    hard = replace(easy, features=easy.features[rows], views=easy.views[:, rows], candidates=candidates)
    fitted = fit([configure(name, {})], hard)
    assert fitted.alive.all()
    assert fitted.score(PROBLEM.test, PROBLEM.texts).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_two_classes_and_three_images_are_enough(name: str) -> None:
    small = toy_problem(seen=2, unseen=1, width=4, per_class=2)
    studies = toy_studies(small, [("flip", 0.5, 0)])
    few = replace(studies, features=studies.features[:3], candidates=studies.candidates[:, :3])
    assert fit([configure(name, {})], few).score(small.test, small.texts).isfinite().all()


@pytest.mark.parametrize("name", [n for n in NAMES if not METHODS.get(n).info.reveals_truth])
def test_facts_are_given(name: str) -> None:
    info = METHODS.get(name).info
    assert info.name == name
    assert info.title
    assert info.version >= 1
    assert info.citation is not None or info.family == "bound"
