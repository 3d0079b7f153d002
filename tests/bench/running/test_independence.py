"""A cell of the embedded benchmark is the same in a stack of 25, alone, and whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pzsl_bench.contract import Method, configure
from pzsl_bench.data.ambiguity import draw_candidates
from pzsl_bench.encoding.cache import cache_root
from pzsl_bench.judging.judge import answer
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.studies import Studies
from pzsl_bench.running.opened import load_problem
from pzsl_bench.training.fit import fit
from pzsl_bench.training.fitted import Fitted

POINTS = [(name, rate, seed) for name in ("flip", "semantic") for rate in (0.1, 0.3, 0.5) for seed in range(4)]
POINTS = [*POINTS, ("pair", 0.5, 0)]
CHECKED = (0, 11, 24)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load_problem("shapes", "embedded", None, cache_root(None), "cpu")


@pytest.fixture(scope="module")
def studies(problem: Problem) -> Studies:
    masks = [draw_candidates(name, problem.labelled, rate, problem.name, seed) for name, rate, seed in POINTS]
    keys = ["|".join(map(str, point)) for point in POINTS]
    return problem.studies(torch.from_numpy(np.stack(masks)), keys, keys)


def train(method: Method, studies: Studies) -> Fitted:
    return fit([method] * len(studies), studies)


@pytest.mark.slow
def test_scores_after_the_first_epoch_do_not_depend_on_the_stack(problem: Problem, studies: Studies) -> None:
    method = configure("proden", {"epochs": 1})
    together = train(method, studies).score(problem.test, problem.texts)
    for run in CHECKED:
        single = train(method, studies.of_runs(torch.tensor([run]))).score(problem.test, problem.texts)[0]
        assert (single - together[run]).abs().max() < 1e-4


@pytest.mark.slow
def test_final_answers_differ_by_rounding_only(problem: Problem, studies: Studies) -> None:
    method, exam = configure("proden", {}), problem.exam()
    together = answer(train(method, studies), exam)
    assert together is not None
    differ = []
    for run in CHECKED:
        single = answer(train(method, studies.of_runs(torch.tensor([run]))), exam)
        assert single is not None
        differ.append((single[0].among_all() != together[run].among_all()).mean())
    assert np.mean(differ) <= 1 / 500
