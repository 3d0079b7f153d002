"""D after every epoch is what the judge would say of these images, and nothing but a curve."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pzsl_bench.contract import configure
from pzsl_bench.judging import disambiguation
from pzsl_bench.judging.disambiguation import DisambiguationCurve, all_watches
from pzsl_bench.judging.judge import seen_answers
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.selecting.rules import find_rule
from pzsl_bench.selecting.selection import Task, select
from pzsl_bench.training.fit import fit
from pzsl_bench.training.fitted import Fitted

PROBLEM = toy_problem(noise=1.5)
STUDIES = toy_studies(PROBLEM, [("flip", 0.5, seed) for seed in range(2)])
METHODS = [configure("proden", {"epochs": 4})] * 2


def observer() -> DisambiguationCurve:
    return DisambiguationCurve("toy", STUDIES, STUDIES.candidates, PROBLEM.train_truth)


def test_the_last_point_is_the_judges_d_where_all_images_are_looked_at() -> None:
    watch = observer()
    fitted = watch.with_curve(fit(METHODS, STUDIES, watch=watch))
    assert fitted.curves["D"].shape == (2, 4)
    best = seen_answers(fitted, STUDIES.features, STUDIES.texts, STUDIES.candidates)
    assert fitted.curves["D"][:, -1].tolist() == pytest.approx((best == PROBLEM.train_truth).mean(-1).tolist())


def test_a_large_study_is_looked_at_in_part_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disambiguation, "SAMPLE", 30)
    one, other = observer(), observer()
    assert one.features.shape == (30, 16)
    assert torch.equal(one.features, other.features)


def test_runs_with_splits_of_their_own_have_their_own_truth() -> None:
    truth = np.stack([PROBLEM.train_truth, (PROBLEM.train_truth + 1) % 8])
    watch = DisambiguationCurve("toy", STUDIES, torch.ones_like(STUDIES.candidates), truth)
    shares = watch.with_curve(fit(METHODS, STUDIES, watch=watch)).curves["D"][:, -1]
    assert shares[0] > 0.5 > shares[1]


@pytest.mark.parametrize("rule", ["last", "mean2", "covering"])
def test_every_rule_records_it_and_chooses_as_it_would_without(rule: str) -> None:
    def chosen(task: Task) -> Fitted:
        return select(find_rule(rule), [[method] for method in METHODS], task).states[-1]

    def watched(cells: torch.Tensor) -> DisambiguationCurve:
        return DisambiguationCurve("toy", STUDIES.of_runs(cells), STUDIES.candidates[cells], PROBLEM.train_truth)

    plain = Task("toy", STUDIES, STUDIES.candidates, None, lambda fold: [])
    seen = Task("toy", STUDIES, STUDIES.candidates, None, lambda fold: [], watched)
    with_curve, without = chosen(seen), chosen(plain)
    assert with_curve.curves["D"].shape == (2, 4)
    assert "D" not in without.curves
    assert all(torch.equal(with_curve.state[name], without.state[name]) for name in without.state)


def test_several_watches_are_called_in_order_and_none_is_none() -> None:
    calls: list[str] = []
    both = all_watches(lambda epoch, fitted: calls.append("a"), None, lambda epoch, fitted: calls.append("b"))
    assert both is not None
    both(1, fit(METHODS, STUDIES))
    assert calls == ["a", "b"]
    assert all_watches(None) is None
