"""The judge agrees with public evaluators and reads nothing but the exam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from replay import fixture

from pzsl_bench.contract import configure
from pzsl_bench.judging.calibration import chosen_biases
from pzsl_bench.judging.judge import (
    Answers,
    chunks,
    class_accuracy,
    harmonic,
    judge,
    stacking,
    unseen_accuracies,
    zero_shot_metrics,
)
from pzsl_bench.problem.exam import Exam
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

METRICS = fixture("gzsl_metrics")
STACKING = fixture("ausuc_calibrated_stacking")


def split(scores: np.ndarray, seen: int) -> Answers:
    s, u = scores[:, :seen], scores[:, seen:]
    return Answers(s.argmax(1), s.max(1), u.argmax(1) + seen, u.max(1))


def exam(truth: np.ndarray, classes: int, seen: int) -> Exam:
    nothing = torch.zeros(len(truth), 1)
    return Exam(nothing, truth, torch.zeros(classes, 1), seen, truth[:0])


def test_seen_unseen_and_harmonic_equal_the_public_evaluator() -> None:
    inputs, expected = METRICS["inputs"]["bilinear"], METRICS["expected"]["bilinear"]
    weight, semantics = np.array(inputs["W"]), np.array(inputs["S_all"])
    images = np.hstack([inputs["X_seen"], inputs["X_unseen"]])
    truth = np.array(inputs["y_seen"] + inputs["y_unseen"]) - 1
    answers = split(images.T @ weight @ semantics, 4)
    assert (answers.among_all() + 1).tolist() == expected["pred_seen"] + expected["pred_unseen"]
    got = zero_shot_metrics(exam(truth, 7, 4), answers, None)
    for name in ("S", "U", "H"):
        assert got[name] == pytest.approx(expected[name], abs=METRICS["tolerance"])


@pytest.mark.parametrize("case", range(3))
def test_class_accuracy_is_a_mean_over_classes(case: int) -> None:
    inputs, expected = METRICS["inputs"]["label_cases"][case], METRICS["expected"]["label_cases"][case]
    got = class_accuracy(np.array(inputs["y_true"]), np.array(inputs["y_pred"]), np.array(inputs["classes"]))
    assert got == pytest.approx(expected["per_class_mean"], abs=1e-10)


def test_harmonic_mean_equals_the_formula_and_is_zero_at_zero() -> None:
    for pair, expected in zip(METRICS["inputs"]["harmonic"], METRICS["expected"]["harmonic"], strict=True):
        assert harmonic(pair["S"], pair["U"]) == pytest.approx(expected, abs=1e-10)
    assert harmonic(0, 0) == 0


@pytest.mark.parametrize("case", range(2))
def test_calibrated_stacking_equals_the_authors_curve(case: int) -> None:
    inputs, expected = STACKING["inputs"]["cases"][case], STACKING["expected"][case]
    truth = np.array(STACKING["inputs"]["y_1based"]) - 1
    answers = split(np.hstack([inputs["score_seen"], inputs["score_unseen"]]), 3)
    curve = stacking(truth, answers, 3, 5)
    np.testing.assert_allclose(np.c_[curve.seen, curve.unseen], expected["curve_S_U"], atol=STACKING["tolerance"])
    assert curve.area == pytest.approx(expected["ausuc"], abs=1e-10)
    assert curve.harmonics().max() == pytest.approx(expected["best_harmonic"], abs=1e-10)
    assert curve.best_bias() == pytest.approx(expected["best_bias_reported"], abs=1e-10)
    at_zero = zero_shot_metrics(exam(truth, 5, 3), answers, 0.0)
    assert [at_zero["S_cal"], at_zero["U_cal"]] == pytest.approx(expected["acc_no_bias_S_U"], abs=1e-10)


@given(st.integers(0, 2**32 - 1))
def test_the_curve_agrees_with_judging_at_its_own_biases(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-3, 4, (30, 7)).astype(float)
    truth = np.r_[np.arange(7), rng.integers(0, 7, 23)]
    answers = split(scores, 4)
    curve = stacking(truth, answers, 4, 7)
    for j, bias in enumerate(curve.bias):
        at = zero_shot_metrics(exam(truth, 7, 4), answers, float(bias))
        assert at["S_cal"] == pytest.approx(curve.seen[j + 1])
        assert at["U_cal"] == pytest.approx(curve.unseen[j + 1])


@pytest.mark.parametrize(
    ("part", "absent"),
    [
        (slice(0, 12), {"T1", "U", "H", "AUSUC", "U_cal", "H_cal"}),
        (slice(12, 20), {"S", "H", "AUSUC", "S_cal", "H_cal", "seen_acc", "accuracy"}),
    ],
)
def test_what_an_exam_of_one_side_cannot_tell_is_absent_and_no_zero(part: slice, absent: set[str]) -> None:
    problem = toy_problem(noise=2.0)
    truth = np.repeat(np.r_[np.arange(8), np.arange(8, 12)], [2, 2, 2, 2, 1, 1, 1, 1, 2, 2, 2, 2])[part]
    rows = np.array([np.flatnonzero(problem.test_truth == k)[i % 2] for i, k in enumerate(truth)])
    closed = replace(problem, test=problem.test[torch.from_numpy(rows)], test_truth=problem.test_truth[rows])
    studies = toy_studies(problem, [("flip", 0.3, 0), ("flip", 0.5, 1)])
    fitted = fit([configure("eszsl", {})] * 2, studies)
    for metrics in judge(fitted, closed.exam(), problem.train, studies.candidates, [0.5, 0.5]):
        assert {name for name, value in metrics.items() if value is None} == absent
    uncalibrated = judge(fitted, closed.exam(), problem.train, studies.candidates, [None, None])[0]
    assert [uncalibrated[name] for name in ("U_cal", "S_cal", "H_cal", "gamma")] == [None] * 4


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_curve_of_one_side_has_no_area_and_no_harmonic_mean(seed: int, seen_side: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 9) if seen_side else rng.integers(4, 7, 9)
    curve = stacking(truth, split(rng.normal(size=(9, 7)), 4), 4, 7)
    present, absent = (curve.seen, curve.unseen) if seen_side else (curve.unseen, curve.seen)
    assert np.isfinite(present).all() and np.isnan(absent).all()
    assert np.isnan(curve.area) and np.isnan(curve.harmonics()).all()


def test_permuting_the_hidden_labels_leaves_every_prediction_as_it_is() -> None:
    problem = toy_problem(noise=2.0)
    studies = toy_studies(problem, [("flip", 0.3, 0), ("semantic", 0.5, 1)])
    for name in ("proden", "eszsl", "naive", "clip_zero_shot"):
        before = fit([configure(name, {})] * 2, studies).score(problem.test, problem.texts)
        rng = np.random.default_rng(0)
        for hidden in (problem.train_truth, problem.test_truth):
            rng.shuffle(hidden)
        after = fit([configure(name, {})] * 2, studies).score(problem.test, problem.texts)
        assert torch.equal(before, after)


def test_a_head_without_unseen_classes_gets_seen_metrics_only() -> None:
    problem = toy_problem()
    studies = toy_studies(problem, [("flip", 0.3, 0)])
    fitted = fit([configure("proden", {"head": "linear"})], studies)
    small, _, _ = problem.rehearsal()
    metrics = judge(fitted, problem.exam(), problem.train, studies.candidates, [None])[0]
    assert set(metrics) == {"seen_acc", "accuracy", "D"}
    assert small.seen == 6


def test_calibration_raises_the_harmonic_mean_of_a_biased_method() -> None:
    problem = toy_problem(noise=2.5, per_class=40)
    studies = toy_studies(problem, [("flip", 0.1, seed) for seed in range(4)])
    small, rows, classes = problem.rehearsal()
    rehearsed = small.studies(
        studies.candidates[:, torch.from_numpy(rows)][:, :, torch.from_numpy(classes)],
        studies.keys,
        studies.draws,
    )
    methods = [configure("eszsl", {"prior": "none"})] * 4
    biases = chosen_biases([(fit(methods, rehearsed), small.exam())], problem.seen / problem.unseen)
    metrics = judge(fit(methods, studies), problem.exam(), problem.train, studies.candidates, biases)
    raw, calibrated = (np.mean([m[k] for m in metrics]) for k in ("H", "H_cal"))
    assert calibrated > raw + 0.05


def test_the_accuracy_on_unseen_classes_alone_is_the_t1_of_the_whole_exam() -> None:
    problem = toy_problem(noise=3.0)
    studies = toy_studies(problem, [("flip", 0.3, 0), ("flip", 0.5, 1)])
    fitted, exam = fit([configure("eszsl", {})] * 2, studies), problem.exam()
    metrics = judge(fitted, exam, problem.train, studies.candidates, [None, None])
    assert unseen_accuracies(fitted, exam) == [m["T1"] for m in metrics]
    assert unseen_accuracies(fitted, exam)[0] != 1.0
    half = replace(fitted, alive=torch.tensor([False, True]))
    assert unseen_accuracies(half, exam) == [None, metrics[1]["T1"]]
    known = exam.truth < exam.seen
    closed = replace(exam, features=exam.features[torch.from_numpy(known)], truth=exam.truth[known])
    assert unseen_accuracies(fitted, closed) == [None, None]
    linear = fit([configure("proden", {"head": "linear", "epochs": 1})] * 2, studies)
    assert unseen_accuracies(linear, exam) == [None, None]


def test_a_transductive_method_gets_the_whole_exam_at_once_and_others_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = toy_problem(noise=1.5)
    studies = toy_studies(problem, [("flip", 0.3, seed) for seed in range(2)])
    for unseen, pieces in (("full", 1), ("transfer", 12)):
        fitted = fit([configure("clip_pzsl", {"preset": "earlier", "epochs": 2, "unseen": unseen})] * 2, studies)
        whole = unseen_accuracies(fitted, problem.exam())
        with monkeypatch.context() as patch:
            patch.setattr("pzsl_bench.judging.judge.CHUNK", 20 * 2 * len(problem.texts))
            assert len(chunks(fitted, problem.test, problem.texts)) == pieces
            assert unseen_accuracies(fitted, problem.exam()) == whole


NOISY_POINTS = [("flip", 0.3, 0), ("flip_noisy", 0.3, 0), ("semantic_noisy", 0.5, 1)]


def test_recovered_is_the_share_of_missing_labels_that_are_named_among_all_seen_classes() -> None:
    problem = toy_problem(noise=2.0)
    studies = toy_studies(problem, NOISY_POINTS[1:], noise=0.4)
    fitted = fit([configure("eszsl", {})] * 2, studies)
    named = fitted.score(problem.train, problem.texts[: problem.seen]).argmax(-1).numpy()
    rows = np.arange(len(problem.train_truth))
    for run, metrics in enumerate(judge(fitted, problem.exam(), problem.train, studies.candidates, [None] * 2)):
        missing = ~studies.candidates[run].numpy()[rows, problem.train_truth]
        assert metrics["recovered"] == pytest.approx((named[run] == problem.train_truth)[missing].mean())
        assert 0 < metrics["recovered"] < 1


def test_where_no_label_is_missing_there_is_nothing_to_recover_whatever_the_stack() -> None:
    problem = toy_problem()
    noisy = toy_studies(problem, NOISY_POINTS[1:], noise=0.4)
    plain = toy_studies(problem, NOISY_POINTS[:1])
    candidates = torch.cat([plain.candidates, noisy.candidates])
    studies = replace(plain, candidates=candidates, keys=("a", "b", "c"), draws=("a", "b", "c"))
    fitted = fit([configure("clip_zero_shot", {})] * 3, studies)
    first, *others = judge(fitted, problem.exam(), problem.train, candidates, [None] * 3)
    assert "recovered" not in first
    assert all(metrics["recovered"] is not None for metrics in others)


@given(st.sampled_from(["flip_noisy", "semantic_noisy"]), st.floats(0, 1), st.floats(0, 0.9), st.integers(0, 99))
def test_disambiguation_is_at_most_the_share_of_sets_that_hold_the_truth(
    ambiguity: str, rate: float, noise: float, seed: int
) -> None:
    problem = toy_problem(per_class=4)
    studies = toy_studies(problem, [(ambiguity, rate, seed)], noise=noise)
    fitted = fit([configure("clip_zero_shot", {})], studies)
    (metrics,) = judge(fitted, problem.exam(), problem.train, studies.candidates, [None])
    holds = studies.candidates[0].numpy()[np.arange(len(problem.train)), problem.train_truth]
    assert metrics["D"] is not None
    assert metrics["D"] <= holds.mean()
    assert ("recovered" in metrics) == (not holds.all())


@pytest.mark.parametrize("feed", ["uniform", "random", "refined", "clip_prior"])
def test_hidden_labels_do_not_matter_to_methods_whose_sets_may_lack_them(feed: str) -> None:
    problem = toy_problem(noise=2.0)
    studies = toy_studies(problem, NOISY_POINTS[1:], noise=0.4)
    methods = [configure("eszsl", {"candidates_as": feed})] * 2
    before = fit(methods, studies).score(problem.test, problem.texts)
    np.random.default_rng(0).shuffle(problem.train_truth)
    assert torch.equal(before, fit(methods, studies).score(problem.test, problem.texts))
    assert before.isfinite().all()
