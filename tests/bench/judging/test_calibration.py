"""The bias of calibrated stacking: means over all subsets of the exam's ratio, and a choice that does no harm."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.contract import ClassTexts, Method, configure
from pzsl_bench.judging.calibration import (
    Rehearsed,
    _error_of_gain,
    avoided,
    chances_right,
    chosen_bias,
    chosen_biases,
    rehearsed,
    subset_sizes,
)
from pzsl_bench.judging.judge import Answers, harmonic, zero_shot_metrics
from pzsl_bench.problem.exam import Exam

Ints = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass
class Scored:
    """A trained stack whose scores are known: (R, M, C), for the images of an exam that hold their own numbers."""

    scores: Tensor
    alive: Tensor = field(default_factory=lambda: torch.ones(1, dtype=torch.bool))
    method: Method = field(default_factory=lambda: configure("eszsl", {}))

    @property
    def runs(self) -> int:
        return len(self.scores)

    def score(self, features: Tensor, texts: ClassTexts) -> Tensor:
        return self.scores[:, features[:, 0].long()]


def exam_of(truth: Ints, seen: int, classes: int) -> Exam:
    numbers = torch.arange(len(truth), dtype=torch.float32)[:, None]
    return Exam(numbers, truth, ClassTexts(torch.zeros(classes, 1)), seen, truth[:0])


def by_hand(scores: Reals, truth: Ints, seen: int, subset: tuple[int, int], bias: float) -> Reals:
    """The share of subsets with an image's class in which it is right, one subset after another."""
    right, count = np.zeros(len(truth)), np.zeros(len(truth))
    for some in combinations(range(seen), subset[0]):
        for others in combinations(range(seen, scores.shape[1]), subset[1]):
            among = [*some, *others]
            for image, k in enumerate(truth):
                if k in among:
                    lead = scores[image, list(some)].max() - scores[image, list(others)].max()
                    side = others if lead <= bias else some
                    count[image] += 1
                    right[image] += side[int(scores[image, list(side)].argmax())] == k
    return right / count


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 3))
def test_the_mean_over_all_subsets_is_that_of_all_subsets_one_by_one(seed: int, some: int, others: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.normal(size=(12, 7)), rng.integers(0, 7, 12)
    biases = rng.normal(size=5)
    chances = chances_right(scores, truth, 4, (some, others), biases)
    for number, bias in enumerate(biases):
        expected = by_hand(scores, truth, 4, (some, others), float(bias))
        np.testing.assert_allclose(chances[:, number], expected, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_over_all_classes_the_curve_is_that_of_the_judge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.normal(size=(30, 7)), np.r_[np.arange(7), rng.integers(0, 7, 23)]
    exam = exam_of(truth, 4, 7)
    (curve,) = rehearsed(Scored(torch.from_numpy(scores)[None]), exam, 4 / 3)  # type: ignore[arg-type]
    assert curve is not None and curve.seen.shape == (4, 401) and curve.unseen.shape == (3, 401)
    s, u = scores[:, :4], scores[:, 4:]
    answers = Answers(s.argmax(1), s.max(1), u.argmax(1) + 4, u.max(1))
    for place in range(0, 401, 25):
        at = zero_shot_metrics(exam, answers, float(curve.biases[place]))
        assert curve.seen[:, place].mean() == pytest.approx(at["S_cal"], abs=1e-6)
        assert curve.unseen[:, place].mean() == pytest.approx(at["U_cal"], abs=1e-6)


@given(st.integers(0, 60), st.integers(0, 60))
def test_draws_that_avoid_nothing_are_all_and_those_that_avoid_too_much_are_none(classes: int, drawn: int) -> None:
    shares = avoided(classes, min(classes, drawn))
    assert shares[0] == pytest.approx(1)
    assert (np.diff(shares) <= 1e-12).all()
    assert shares[-1] == (1 if min(classes, drawn) == 0 else 0)


@given(st.integers(1, 900), st.integers(1, 300), st.floats(0.05, 20))
def test_subsets_stand_in_the_ratio_and_use_one_side_whole(seen: int, unseen: int, ratio: float) -> None:
    some, others = subset_sizes(seen, unseen, ratio)
    assert 1 <= some <= seen and 1 <= others <= unseen
    assert some == seen or others == unseen
    assert min(abs(some - ratio * others), abs(others - some / ratio)) <= 0.5 or 1 in (some, others)


def stepping(at_seen: Reals, at_unseen: Reals, spread: float = 1.0) -> Rehearsed:
    """Classes of which each falls, or rises, from 0 to 1 at a bias of its own."""
    biases = np.linspace(-6, 6, 401)
    return Rehearsed(
        biases, spread, (biases < at_seen[:, None]).astype(float), (biases >= at_unseen[:, None]).astype(float)
    )


def test_the_bias_lies_between_the_sides_where_they_are_far_from_the_middle() -> None:
    bias = chosen_bias([stepping(np.linspace(4.5, 5.5, 40), np.linspace(1.5, 2.5, 40))])
    assert bias is not None and 1.9 < bias < 4.0


def test_a_bias_is_shrunk_the_more_the_less_is_known_of_its_gain() -> None:
    assert chosen_bias([]) is None
    assert abs(chosen_bias([stepping(np.linspace(1, 2, 40), np.linspace(-2, -1, 40))]) or 0.0) < 0.2
    sides = [np.linspace(-1, 3, 41), np.linspace(-0.5, 2.5, 41)]
    biases = [chosen_bias([stepping(*(side[::step] for side in sides))]) for step in (1, 4, 10, 20)]
    assert all(bias is not None and bias > 0 for bias in biases)
    assert biases == sorted(biases, reverse=True)
    assert chosen_bias([stepping(sides[0], sides[1][[20]])]) == 0, "one class tells no spread"
    assert chosen_bias([stepping(sides[0], sides[1], spread=0.0)]) == 0


def test_the_error_of_a_gain_is_that_of_drawing_the_classes_again() -> None:
    rng = np.random.default_rng(0)
    seen, unseen = (rng.uniform(size=(2, n)) for n in (150, 90))
    error = _error_of_gain([(seen[0], seen[1]), (unseen[0], unseen[1])])
    gains = []
    for _ in range(4000):
        some, others = (side[:, rng.integers(0, side.shape[1], side.shape[1])].mean(1) for side in (seen, unseen))
        gains.append(harmonic(some[0], others[0]) - harmonic(some[1], others[1]))
    assert error == pytest.approx(np.std(gains), rel=0.05)


@given(st.integers(0, 2**32 - 1), st.floats(-20, 20), st.floats(0.1, 10))
def test_a_bias_goes_with_the_scale_of_the_scores_and_is_never_past_what_they_ask_for(
    seed: int, shift: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    truth = np.r_[np.arange(12), rng.integers(0, 12, 60)]
    scores = rng.normal(size=(72, 12)) + 2 * np.eye(12)[truth] - shift * (np.arange(12) >= 8)
    exam = exam_of(truth, 8, 12)

    def chosen(scores: Reals) -> float:
        (bias,) = chosen_biases([(Scored(torch.from_numpy(scores)[None]), exam)], 2.0)  # type: ignore[list-item]
        assert bias is not None and np.isfinite(bias)
        return bias

    bias = chosen(scores)
    assert chosen(scale * scores) == pytest.approx(scale * bias, abs=1e-6 * scale)
    lead = scores[:, :8].max(1) - scores[:, 8:].max(1)
    assert min(0.0, lead.min() - 6 * lead.std()) <= bias <= max(0.0, lead.max() + 6 * lead.std())


def test_several_rehearsals_are_pooled_and_one_that_could_not_be_held_is_left_out() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(12), 6)
    scores = torch.from_numpy(rng.normal(size=(2, 72, 12)) + 3 * np.eye(12)[truth] - 2 * (np.arange(12) >= 8))
    one, other = (Scored(s[None]) for s in scores)
    exam, closed = exam_of(truth, 8, 12), exam_of(truth[:48], 8, 12)
    (a,), (b,) = (chosen_biases([(fitted, exam)], 2.0) for fitted in (one, other))  # type: ignore[list-item]
    (both,) = chosen_biases([(one, exam), (other, exam)], 2.0)  # type: ignore[list-item]
    assert a is not None and b is not None and both is not None
    assert min(a, b) - 0.3 < both < max(a, b) + 0.3
    (again,) = chosen_biases([(one, exam), (other, closed)], 2.0)  # type: ignore[list-item]
    assert again == a
    dead = Scored(scores[:1], alive=torch.zeros(1, dtype=torch.bool))
    assert chosen_biases([(dead, exam)], 2.0) == [None]  # type: ignore[list-item]


@pytest.mark.parametrize("part", [slice(0, 48), slice(48, 72), slice(0, 0)])
def test_without_images_of_one_side_there_is_no_bias(part: slice) -> None:
    truth = np.repeat(np.arange(12), 6)[part]
    fitted = Scored(torch.zeros(1, len(truth), 12))
    assert rehearsed(fitted, exam_of(truth, 8, 12), 2.0) == [None]  # type: ignore[arg-type]


def test_a_run_has_the_same_bias_in_any_stack() -> None:
    rng = np.random.default_rng(1)
    truth = np.repeat(np.arange(10), 4)
    scores = torch.from_numpy(rng.normal(size=(3, 40, 10)) + 2 * np.eye(10)[truth] - (np.arange(10) >= 6))
    exam, alive = exam_of(truth, 6, 10), torch.ones(3, dtype=torch.bool)
    together = chosen_biases([(Scored(scores, alive), exam)], 1.0)  # type: ignore[list-item]
    alone = [chosen_biases([(Scored(s[None]), exam)], 1.0)[0] for s in scores]  # type: ignore[list-item]
    assert together == alone


def test_on_drawn_problems_calibration_helps_where_it_must_and_costs_little_where_it_need_not() -> None:
    """Small rehearsals of 10 to 3 classes, and exams of 13 to 7 whose scores have the same law."""
    rng = np.random.default_rng(2)

    def drawn(classes: tuple[int, int], images: int, bias: float) -> tuple[Reals, Ints]:
        total = sum(classes)
        truth = np.repeat(np.arange(total), images)
        each = rng.normal(size=total) * 0.5
        scores = rng.normal(size=(len(truth), total)) + (2.5 + each[truth])[:, None] * np.eye(total)[truth]
        return scores - bias * (np.arange(total) >= classes[0]), truth

    def gain(bias: float) -> float:
        scores, truth = drawn((10, 3), 5, bias)
        (chosen,) = chosen_biases([(Scored(torch.from_numpy(scores)[None]), exam_of(truth, 10, 13))], 13 / 7)  # type: ignore[list-item]
        scores, truth = drawn((13, 7), 30, bias)
        s, u = scores[:, :13], scores[:, 13:]
        metrics = zero_shot_metrics(
            exam_of(truth, 13, 20), Answers(s.argmax(1), s.max(1), u.argmax(1) + 13, u.max(1)), chosen
        )
        assert metrics["H"] is not None and metrics["H_cal"] is not None
        return metrics["H_cal"] - metrics["H"]

    assert np.mean([gain(3.0) for _ in range(30)]) > 0.1
    harmless = np.array([gain(0.0) for _ in range(60)])
    assert harmless.mean() > -0.01
    assert (harmless < -0.03).mean() <= 0.1


def test_the_harmonic_mean_of_a_missing_side_is_missing() -> None:
    assert np.isnan(harmonic(float("nan"), 1.0)) and np.isnan(harmonic(0.0, float("nan")))
    assert harmonic(0.0, 0.0) == 0.0
