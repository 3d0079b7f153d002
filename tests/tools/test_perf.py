"""The benchmark of the trainer measures what it says."""

from __future__ import annotations

import time

import numpy as np
import perf
import pytest
import torch
from perf import ALONE, Case, Job, floor, make_studies, milliseconds, one_by_one, stacked

CPU = torch.device("cpu")
TINY = Case("tiny", 96, 8, 6, "cosine", 4, ((8, 4), (4, 8)), ((8, 6),))


def test_studies_have_the_size_of_the_case_and_every_image_a_candidate() -> None:
    studies = make_studies(TINY, 3, CPU)
    assert studies.candidates.shape == (3, 96, 6)
    assert studies.features.shape == (96, 8)
    assert studies.candidates.any(-1).all()


def test_stack_single_runs_and_floor_count_the_same_kind_of_step() -> None:
    together, alone, bare = stacked(TINY, 3, CPU), one_by_one(TINY, CPU), floor(TINY, 3, CPU)
    assert together.steps == alone.steps == perf.EPOCHS * bare.steps == perf.EPOCHS * 2
    assert (together.runs, alone.runs, bare.runs) == (3, ALONE, 3)


def test_times_are_per_run_and_step_and_the_first_round_does_not_count() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        time.sleep(0.2 if len(calls) == 1 else 0.01)

    times = milliseconds([Job(work, steps=10, runs=5)], CPU, rounds=4)
    assert times.shape == (4, 1)
    assert len(calls) == 5
    assert (times >= 10 / 50).all()
    assert np.median(times) < 150 / 50


def test_a_step_of_clip_pzsl_is_compared_with_one_of_proden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf, "CASES", (TINY,))
    lines: list[str] = []
    perf.report_mining(CPU, 1, lines.append)
    assert len(lines) == 1
    assert "PRODEN" in lines[0]
    assert lines[0].endswith("x\n")


def test_the_report_names_every_case_and_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf, "CASES", (TINY,))
    lines: list[str] = []
    perf.report(CPU, 1, lines.append)
    assert sum(line.startswith("tiny") for line in lines) == len(perf.WIDTHS)
