"""What every registered method must do, whoever wrote it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pzsl_bench.contract import METHODS, ClosedForm, configure
from pzsl_bench.judging.judge import answer, class_accuracy, seen_answers
from pzsl_bench.judging.tag_judge import judge_tags
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies, toy_tags
from pzsl_bench.training.fit import fit

ALL = METHODS.names()
NAMES = [name for name in ALL if "classes" in METHODS.get(name).tasks]
TAGGING = [name for name in ALL if "tags" in METHODS.get(name).tasks]
PROBLEM = toy_problem(noise=1.5)
TAGS = toy_tags(noise=0.9)


def scores(name: str, studies: Studies) -> torch.Tensor:
    return fit([configure(name, {})] * len(studies), studies).score(PROBLEM.test, PROBLEM.class_texts)


def test_every_method_has_a_task() -> None:
    assert {task for name in ALL for task in METHODS.get(name).tasks} == {"classes", "tags"}
    assert all(METHODS.get(name).tasks for name in ALL)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_study_gives_the_same_scores(name: str) -> None:
    studies = toy_studies(PROBLEM, [("flip", 0.3, 0)])
    assert torch.equal(scores(name, studies), scores(name, studies))


@pytest.mark.parametrize("name", TAGGING)
def test_what_is_told_of_tags_is_learnt_well_above_chance(name: str) -> None:
    exam, points = TAGS.exam(), [("rps", 0.3, 0), ("candidates", 1.0, 0), ("single_positive", 0.0, 0)]
    for point in points:
        studies = toy_studies(TAGS, [point])
        [metrics] = judge_tags(fit([configure(name, {})], studies), exam, studies.features)
        assert exam.tags is not None
        chance = (exam.tags > 0).mean(0)
        # A random order of the images has about the share of a tag as its average precision.
        for metric, share in (("mAP_seen", chance[: exam.seen]), ("mAP_zsl", chance[exam.seen :])):
            found = metrics[metric]
            assert found is not None and found > 1.5 * share.mean(), (point, metric)


@pytest.mark.parametrize("name", TAGGING)
def test_hard_marks_give_finite_scores(name: str) -> None:
    """Images of which all is said or nothing, that have all tags or none, and a tag that no image is said to have."""
    easy = toy_studies(TAGS, [("rps", 0.5, 0)])
    assert easy.marks is not None
    marks = easy.marks.clone()
    marks[0, :5], marks[0, 5:10], marks[0, 10:15] = 0, 1, -1
    marks[0, 15:, 3] = -1
    fitted = fit([configure(name, {})], easy.with_candidates(marks))
    assert fitted.alive.all()
    assert fitted.score(TAGS.test, TAGS.texts).isfinite().all()


@pytest.mark.parametrize("name", TAGGING)
@pytest.mark.parametrize("mark", [1, 0, -1])
def test_two_tags_and_three_images_all_marked_alike_are_enough(name: str, mark: int) -> None:
    small = toy_tags(seen=2, unseen=1, width=4, images=3)
    studies = toy_studies(small, [("rps", 0.0, 0)])
    assert studies.marks is not None
    alike = studies.with_candidates(torch.full_like(studies.marks, mark))
    assert fit([configure(name, {})], alike).score(small.test, small.texts).isfinite().all()


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
    assert fitted.score(PROBLEM.test, PROBLEM.class_texts).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_two_classes_and_three_images_are_enough(name: str) -> None:
    small = toy_problem(seen=2, unseen=1, width=4, per_class=2)
    studies = toy_studies(small, [("flip", 0.5, 0)])
    few = replace(studies, features=studies.features[:3], candidates=studies.candidates[:, :3])
    assert fit([configure(name, {})], few).score(small.test, small.class_texts).isfinite().all()
