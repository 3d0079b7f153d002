"""The benchmark of the trainer measures what it says."""

from __future__ import annotations

import numpy as np
import perf
import pytest
import torch
from perf import RUNS_ALONE, Case, Job, floor, make_studies, milliseconds, one_by_one, stacked

CPU = torch.device("cpu")
TINY = Case("tiny", 96, 8, 6, "cosine", 4, ((8, 4), (4, 8), (8, 6)))


def test_studies_have_the_size_of_the_case_and_every_image_a_candidate() -> None:
    studies = make_studies(TINY, 3, CPU)
    assert studies.candidates.shape == (3, 96, 6)
    assert studies.features.shape == (96, 8)
    assert studies.candidates.any(-1).all()


def test_stack_single_runs_and_floor_count_the_same_kind_of_step() -> None:
    together, alone, bare = stacked(TINY, 3, CPU), one_by_one(TINY, CPU), floor(TINY, 3, CPU)
    assert together.steps == alone.steps == perf.EPOCHS * bare.steps == perf.EPOCHS * 2
    assert (together.runs, alone.runs, bare.runs) == (3, RUNS_ALONE, 3)


class Clock:
    """Seconds that pass only when work says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def job(self, *seconds: float, steps: int = 1, runs: int = 1) -> Job:
        """Work that takes so long at each call, the last time at all further ones."""
        calls = iter([*seconds[:-1], *[seconds[-1]] * 100])

        def work() -> None:
            self.now += next(calls)

        return Job(work, steps, runs)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(perf, "time", found)
    return found


def test_times_are_per_run_and_step_and_the_first_round_does_not_count(clock: Clock) -> None:
    jobs = [clock.job(9.0, 0.5, 1.5, steps=10, runs=5), clock.job(7.0, 0.2, steps=2, runs=1)]
    np.testing.assert_allclose(milliseconds(jobs, CPU, rounds=2), [[10.0, 100.0], [30.0, 100.0]])


def test_jobs_of_a_round_follow_each_other(clock: Clock) -> None:
    order: list[str] = []
    jobs = [Job(lambda name=name: order.append(name), 1, 1) for name in "ab"]  # type: ignore[misc]
    milliseconds(jobs, CPU, rounds=2)
    assert "".join(order) == "ababab"


def test_a_line_shows_medians_of_times_and_medians_of_the_rounds_own_ratios(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perf, "CASES", (TINY,))
    monkeypatch.setattr(perf, "STACK_WIDTHS", (3,))
    # Three rounds after the first, on a machine that is slow in the last one.
    monkeypatch.setattr(perf, "stacked", lambda *_: clock.job(5.0, 0.002, 0.004, 0.040))
    monkeypatch.setattr(perf, "one_by_one", lambda *_: clock.job(5.0, 0.020, 0.032, 0.400))
    monkeypatch.setattr(perf, "floor", lambda *_: clock.job(5.0, 0.001, 0.001, 0.010))
    lines: list[str] = []
    perf.report(CPU, 3, lines.append)
    [line] = [line for line in lines if line.startswith("tiny")]
    # Stack 2, 4, 40 ms; alone 20, 32, 400; floor 1, 1, 10: gains 10, 8, 10 and shares 50, 25, 25 %.
    assert line.split()[1:] == ["3", "4.000", "32.000", "1.000", "10.0x", "25%"]


def test_a_step_of_clip_pzsl_is_compared_with_one_of_proden(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def stacked(case: Case, runs: int, device: torch.device, name: str, batch: int) -> Job:
        asked.append(name)
        return clock.job(1.0, {"proden": 0.010, "clip_pzsl": 0.045}[name])

    monkeypatch.setattr(perf, "stacked", stacked)
    lines: list[str] = []
    perf.report_mining(CPU, 1, lines.append)
    assert asked == ["proden", "clip_pzsl"] * len(perf.MINING)
    assert len(lines) == len(perf.MINING)
    assert lines[0].endswith("45.000 ms per run and step, PRODEN 10.000: 4.5x\n")


def test_the_report_trains_every_case_in_every_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf, "CASES", (TINY,))
    lines: list[str] = []
    perf.report(CPU, 1, lines.append)
    rows = [line.split() for line in lines if line.startswith("tiny")]
    assert [row[1] for row in rows] == list(map(str, perf.STACK_WIDTHS))
    assert all(float(cell.rstrip("x%")) > 0 for row in rows for cell in row[2:])
