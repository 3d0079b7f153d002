from __future__ import annotations

import io
import traceback
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.cli.progress import BarProgress, PlainProgress, cause, duration, watch


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(status: str = "done", error: str | None = None, stack: int = 1) -> Any:
    cell = {"dataset": "toy", "ambiguity": "flip", "rate": 0.1, "noise": 0.0, "row": "proden", "seed": 3}
    return SimpleNamespace(status=status, error=error, stack=stack, **cell)


def failure(error: Exception) -> str:
    try:
        raise error
    except Exception:
        return traceback.format_exc()


def test_a_terminal_gets_a_bar_and_anything_else_plain_lines() -> None:
    assert isinstance(watch(Terminal()), BarProgress)
    assert type(watch(io.StringIO())) is PlainProgress


def test_the_cause_is_the_first_line_of_the_last_error() -> None:
    assert cause(failure(ValueError("wrong\nand more\nTraceback of nothing"))) == "ValueError: wrong"
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError:
        assert cause(traceback.format_exc()) == "RuntimeError: outer"
    assert cause("killed by the system\ndetails") == "killed by the system"
    assert cause(None) == cause("") == "no reason given"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_failures_are_told_at_once_with_their_cell(stream: type[io.StringIO]) -> None:
    out = stream()
    with watch(out) as listener:
        listener.started(3, 1)
        listener.stack("proden", 3)
        listener.record(record())
        listener.record(record("failed", failure(ValueError("no such class"))))
        listener.record(record("diverged"))
        listener.note("half as many")
    text = out.getvalue()
    assert "failed: toy/flip-0.1/proden/seed 3: ValueError: no such class" in text
    assert "diverged: toy/flip-0.1/proden/seed 3: the loss stopped being finite" in text
    assert "half as many" in text
    assert listener.failures == 2
    assert len(listener.records) == 3


def test_plain_lines_say_how_it_ended_and_do_not_flood_a_log() -> None:
    out = io.StringIO()
    with watch(out) as listener:
        listener.started(500, 5)
        for done in range(501):
            listener.encoding("encoding toy", done, 500)
        for _ in range(500):
            listener.record(record())
    lines = out.getvalue().splitlines()
    assert lines[0] == "500 cells to compute, in 5 stacks"
    assert "encoding toy: 500 of 500 images" in lines
    assert lines[-1].startswith("500 of 500 cells, 0 failed")
    assert len(lines) < 10


def test_the_first_estimate_takes_the_time_of_a_stack_for_all_of_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, *[60.0] * 100])
    monkeypatch.setattr("pzsl_bench.cli.progress.time.monotonic", lambda: next(clock))
    out = io.StringIO()
    with watch(out) as listener:
        listener.started(60, 3)
        for _ in range(20):
            listener.record(record(stack=20))
    # A minute for the first 20 of 60 cells leaves two for the others, not an hour.
    assert out.getvalue().splitlines()[1] == "1 of 60 cells, 0 failed, 1 min 00 s, about 2 min 00 s left"


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_the_time_left_is_counted_by_cells_that_are_trained(pieces: list[int]) -> None:
    listener = PlainProgress(io.StringIO())
    listener.started(sum(pieces), 1)
    for number, size in enumerate(pieces):
        for _ in range(size):
            listener.record(record(stack=size))
            assert listener._trained == sum(pieces[: number + 1])


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=5))
def test_the_bar_never_goes_back_and_ends_full(stacks: list[tuple[int, int]]) -> None:
    bar = BarProgress(Terminal())
    total = sum(size for size, _ in stacks)
    bar.started(total, len(stacks))
    reached = [0.0]

    def look() -> None:
        reached.append(bar.progress.tasks[0].completed)

    for size, epochs in stacks:
        bar.stack("proden", size)
        for epoch in range(1, epochs + 1):
            bar.epochs(epoch, epochs)
            look()
        for _ in range(size):
            bar.record(record())
            look()
    assert reached == sorted(reached)
    assert reached[-1] == total


def test_the_bar_shows_images_while_they_are_encoded() -> None:
    bar = BarProgress(Terminal())
    bar.started(4, 1)
    bar.encoding("encoding shapes", 256, 1000)
    assert bar.progress.tasks[1].description == "encoding shapes"
    bar.encoding("encoding shapes", 1000, 1000)
    assert len(bar.progress.tasks) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_read_like_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
