"""The benchmark of the trainer measures what it says."""

from __future__ import annotations

import pytest
import torch

from pzsl_bench import perf
from pzsl_bench.perf import Case, floor, make_studies, milliseconds, training

CPU = torch.device("cpu")
TINY = Case("tiny", 96, 8, 6, "cosine", 4, ((8, 4), (4, 8)), ((8, 6),))


def test_studies_have_the_size_of_the_case_and_every_image_a_candidate() -> None:
    studies = make_studies(TINY, 3, CPU)
    assert studies.candidates.shape == (3, 96, 6)
    assert studies.features.shape == (96, 8)
    assert studies.candidates.any(-1).all()


def test_stack_and_floor_count_the_same_kind_of_step() -> None:
    _, trained = training(TINY, 3, CPU)
    _, bare = floor(TINY, 3, CPU)
    assert trained == perf.EPOCHS * bare == perf.EPOCHS * 2


def test_times_are_per_run_and_step() -> None:
    calls = []
    (fast,) = milliseconds([(lambda: calls.append(1), 10, 5)], CPU, rounds=4)
    assert len(calls) == 4
    assert 0 < fast < 1


def test_the_report_names_every_case_and_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf, "CASES", (TINY,))
    lines: list[str] = []
    perf.report(CPU, 1, lines.append)
    assert sum(line.startswith("tiny") for line in lines) == len(perf.WIDTHS)
