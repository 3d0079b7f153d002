"""The judge of tags: whatever is held in memory at once, every run gets its own metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pzsl_bench.contract import configure
from pzsl_bench.judging import judge, tag_judge
from pzsl_bench.judging.tag_judge import judge_tags
from pzsl_bench.judging.tag_metrics import average_precisions, tag_metrics
from pzsl_bench.problem.folds import Problems
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.toy import toy_studies, toy_tags
from pzsl_bench.training.fit import fit
from pzsl_bench.training.fitted import Fitted

PROBLEM = toy_tags()
POINTS = [("rps", 0.5, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit([configure("tag_bce", {"epochs": 3})] * 3, toy_studies(PROBLEM, POINTS))


def test_metrics_are_those_of_the_scores(fitted: Fitted) -> None:
    metrics = judge_tags(fitted, PROBLEM.exam(), PROBLEM.train)
    scores = fitted.score(PROBLEM.test, PROBLEM.texts).numpy()
    assert PROBLEM.test_tags is not None and PROBLEM.train_tags is not None
    for run in range(3):
        expected = tag_metrics(scores[run], PROBLEM.test_tags, PROBLEM.seen, PROBLEM.top)
        assert metrics[run] == {**expected, "mAP_train": metrics[run]["mAP_train"]}
        on_train = fitted.score(PROBLEM.train, PROBLEM.texts[: PROBLEM.seen])[run].numpy()
        [each] = average_precisions(on_train, PROBLEM.train_tags, [np.ones((len(on_train), 1), dtype=bool)])
        assert metrics[run]["mAP_train"] == pytest.approx(each.mean())
    assert metrics[0]["mAP_seen"] != metrics[1]["mAP_seen"]


def test_pieces_of_images_and_of_runs_change_nothing(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = judge_tags(fitted, PROBLEM.exam(), PROBLEM.train)
    monkeypatch.setattr(tag_judge, "MAX_SCORES", 1)
    monkeypatch.setattr(judge, "CHUNK", 100)
    pieces = judge_tags(fitted, PROBLEM.exam(), PROBLEM.train)
    for one, other in zip(whole, pieces, strict=True):
        assert one.keys() == other.keys()
        # Products of other sizes are summed in another order, which may swap two scores that nearly tie.
        assert all(one[name] == pytest.approx(other[name], abs=0.02) for name in one)


def test_some_runs_of_a_stack_score_as_they_did_in_it(fitted: Fitted) -> None:
    scores = fitted.score(PROBLEM.test, PROBLEM.texts)
    torch.testing.assert_close(fitted.subset(slice(1, 3)).score(PROBLEM.test, PROBLEM.texts), scores[1:])


def test_folds_are_judged_on_their_own_images() -> None:
    other = swapped(PROBLEM)
    problems = Problems((PROBLEM, other))
    marks = torch.from_numpy(problems.truths())
    assert marks.dtype == torch.int8
    studies = problems.studies(marks, ["a", "b"], ["a", "b"])
    zero_shot = configure("clip_zero_shot", {})
    metrics = judge_tags(fit([zero_shot] * 2, studies), problems.exam(), studies.features)
    for run, problem in enumerate((PROBLEM, other)):
        alone = fit([zero_shot], toy_studies(problem, POINTS[:1]))
        assert metrics[run] == pytest.approx(judge_tags(alone, problem.exam(), problem.train)[0])
    exam = problems.exam().of(1)
    assert exam.tags is not None and other.test_tags is not None
    assert (exam.tags == other.test_tags).all()


def swapped(problem: Problem) -> Problem:
    """The same images in another order."""
    turn = np.arange(len(problem.test))[::-1].copy()
    assert problem.test_tags is not None
    return replace(problem, test=problem.test[torch.from_numpy(turn)] + 0.01, test_tags=problem.test_tags[turn])


def test_a_head_that_knows_seen_tags_only_is_judged_on_them(fitted: Fitted) -> None:
    closed = fit([configure("tag_bce", {"epochs": 1})], toy_studies(PROBLEM, POINTS[:1]))
    exam = replace(PROBLEM.exam(), texts=PROBLEM.texts[: PROBLEM.seen])
    [metrics] = judge_tags(closed, exam, PROBLEM.train)
    assert {name.removesuffix("_sdl").split("_")[-1] for name in metrics} == {"seen", "train"}
