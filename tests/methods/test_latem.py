"""LatEm agrees with the authors' release, sample by sample, after the same draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from per_sample import CERTAIN, PerSample
from replay import agree, double, fixture
from torch.nn import functional as F

from pzsl_bench.judging.judge import class_accuracy

FILE = PerSample("latem", fixture("latem"))
LABELS = torch.tensor(FILE.given["y_1based"]) - 1
CLASSES = range(4)


@pytest.mark.parametrize(("case", "expected"), FILE.cases)
def test_maps_scores_and_answers_equal_the_release(case: dict[str, Any], expected: dict[str, Any]) -> None:
    inputs, start, texts = FILE.given, double(FILE.given["W0"]), double(FILE.given["S"]).T
    run = FILE.initialise(double(inputs["X"]), LABELS, texts, start, lr=case["eta"], matrices=len(start))
    draws = iter(case["draws_1based"])
    for _ in range(case["epochs"]):
        for number in inputs["perm_1based"]:
            right = int(LABELS[number - 1])
            # The release draws anew until the class is a wrong one.
            wrong = next(draw - 1 for draw in draws if draw - 1 != right)
            place = [k for k in CLASSES if k != right].index(wrong)
            run.step([number - 1], dice={"positive": CERTAIN, "wrong": double([(place + 0.5) / 3])})
    assert next(draws, None) is None
    agree(run.state["weight"], expected["W"], FILE.bounds)
    scores = run.logits(double(inputs["X_test"]), texts)
    agree(scores, expected["test_scores"], FILE.bounds)
    answers, truth = scores.argmax(1), torch.tensor(inputs["y_test_1based"]) - 1
    assert answers.tolist() == expected["test_pred_0based"]
    assert (F.one_hot(truth).T @ F.one_hot(answers, 4)).tolist() == expected["test_confusion"]
    accuracy = class_accuracy(truth.numpy(), answers.numpy(), CLASSES)
    assert accuracy == pytest.approx(expected["test_mean_class_accuracy"], abs=FILE.bounds["atol"])
