"""Linear and MLP heads read features at the length that their layers are made for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pzsl_bench.contract import configure
from pzsl_bench.contract.heads import LinearHead, build_head, input_reach
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

PROBLEM = replace(toy_problem(noise=0.5), aligned=False)


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("length", [0.1, 30.0])
def test_the_length_of_features_changes_nothing(head: str, length: float) -> None:
    points = [("flip", 0.3, 0)]
    scaled = replace(PROBLEM, train=length * PROBLEM.train, test=length * PROBLEM.test)
    scores = [
        fit([configure("proden", {"head": head, "epochs": 3})], toy_studies(problem, points)).score(
            problem.test, problem.texts[: problem.seen]
        )
        for problem in (PROBLEM, scaled)
    ]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-3, rtol=1e-3)


def test_standardised_columns_are_left_as_they_are() -> None:
    study = toy_studies(PROBLEM, [("flip", 0.3, 0)]).of(0)
    columns = (study.features - study.features.mean(0)) / study.features.std(0, correction=0)
    standard = replace(study, features=columns)
    assert input_reach(standard) == 1.0
    head = build_head("linear", standard, 1)
    assert isinstance(head, LinearHead) and torch.equal(head.embed(columns), columns)


def test_unit_rows_are_drawn_out_to_the_root_of_their_width() -> None:
    study = toy_studies(PROBLEM, [("flip", 0.3, 0)]).of(0)
    assert input_reach(study) == pytest.approx(study.features.shape[1] ** 0.5, rel=1e-4)
