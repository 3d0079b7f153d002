"""What a run shows while it works: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from pzsl_bench.records.cell import ambiguity_label

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pzsl_bench.records.record import Record

SECONDS_BETWEEN_LINES = 5.0
"""Seconds between two plain lines about the same thing."""


def watch(stream: TextIO) -> PlainProgress:
    """The listener that suits the stream; use it as a context manager."""
    return BarProgress(stream) if stream.isatty() else PlainProgress(stream)


def cause(error: str | None) -> str:
    """The line of a traceback that says what went wrong."""
    lines = [line for line in (error or "").splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    if not lines[0].startswith("Traceback"):
        return lines[0].strip()
    # Below the innermost frame of the last exception stands its message, which may have more lines.
    frame = max((i for i, line in enumerate(lines) if line.startswith("  File ")), default=0)
    return next((line.strip() for line in lines[frame + 1 :] if not line[0].isspace()), lines[-1].strip())


class PlainProgress:
    """A listener that counts, collects the new records and prints plain lines."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.cells = 0
        self.records: list[Record] = []
        self.failures = 0
        self._trained = 0
        self._started = self._working = time.monotonic()
        self._printed_at: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def started(self, cells: int, stacks: int) -> None:
        """Print how many cells and stacks there are."""
        self.cells = cells
        self.say(f"{cells} cells to compute, in {stacks} stacks")

    def encoding(self, what: str, done: int, total: int) -> None:
        """Print now and then how many images are encoded."""
        if done >= total or self._due("encoding"):
            self.say(f"{what}: {done} of {total} images")
        self._working = time.monotonic()

    def stack(self, label: str, size: int) -> None:
        """Plain lines do not name stacks."""

    def epochs(self, done: int, total: int) -> None:
        """Plain lines do not count epochs."""

    def record(self, record: Record) -> None:
        """Keep the record of a cell that has ended; print why, if it has no result."""
        if self._trained == len(self.records):
            # Cells that were trained together come one after the other: their time is over with the first of them.
            self._trained += record.stack
        self.records.append(record)
        if record.status != "done":
            self.failures += 1
            ambiguity = ambiguity_label(record.ambiguity, record.rate, record.noise)
            where = f"{record.dataset}/{ambiguity}/{record.row}/seed {record.seed}"
            # A diverged cell has no traceback: its loss stopped being finite, which is all there is to say.
            why = cause(record.error) if record.error else "the loss stopped being finite"
            self.say(f"{record.status}: {where}: {why}")
        self.advance()

    def note(self, text: str) -> None:
        """Something the user should know."""
        self.say(f"note: {text}")

    def advance(self) -> None:
        """Print now and then how far the run is."""
        done = len(self.records)
        if done >= self.cells or self._due("cells"):
            now = time.monotonic()
            # Encoding comes once and first, so its time is no guide to the cells to come.
            trained = min(max(self._trained, 1), self.cells)
            seconds_left = (now - self._working) / trained * (self.cells - trained)
            left = f", about {duration(seconds_left)} left" if done < self.cells else ""
            self.say(f"{done} of {self.cells} cells, {self.failures} failed, {duration(now - self._started)}{left}")

    def say(self, text: str) -> None:
        """Print a line without delay, so that a log file is up to date."""
        self.stream.write(f"{text}\n")
        self.stream.flush()

    def _due(self, topic: str) -> bool:
        now = time.monotonic()
        if now - self._printed_at.get(topic, self._started) < SECONDS_BETWEEN_LINES:
            return False
        self._printed_at[topic] = now
        return True


class BarProgress(PlainProgress):
    """A listener with a live progress bar and an estimate of the time left."""

    def __init__(self, stream: TextIO):
        super().__init__(stream)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.size = 0
        self.in_stack = 0.0
        self.reached = 0.0
        self.progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self.main: TaskID | None = None
        self.images: TaskID | None = None

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def started(self, cells: int, stacks: int) -> None:
        """Draw an empty bar."""
        self.cells = cells
        self.main = self.progress.add_task("cells", total=cells, count=f"0/{cells}")

    def encoding(self, what: str, done: int, total: int) -> None:
        """A second bar while images are encoded."""
        if self.images is None:
            self.images = self.progress.add_task("", total=total, count="")
        self.progress.update(self.images, description=what, completed=done, total=total, count=f"{done}/{total}")
        if done >= total:
            self.progress.remove_task(self.images)
            self.images = None

    def stack(self, label: str, size: int) -> None:
        """Name the stack beside the bar."""
        self.size, self.in_stack = size, 0.0
        if self.main is not None:
            self.progress.update(self.main, description=label if len(label) < 40 else f"{label[:39]}…")

    def epochs(self, done: int, total: int) -> None:
        """Count the share of epochs as that share of the stack's cells."""
        self.in_stack = self.size * done / max(total, 1)
        self.advance()

    def advance(self) -> None:
        """Move the bar; it never goes back when a stack turns into records."""
        done = len(self.records)
        self.in_stack = min(self.in_stack, self.cells - done)
        failed = f" · [red]{self.failures} failed[/red]" if self.failures else ""
        if self.main is not None:
            self.reached = max(self.reached, done + self.in_stack)
            self.progress.update(self.main, completed=self.reached, count=f"{done}/{self.cells}{failed}")

    def record(self, record: Record) -> None:
        """Take the cell out of the stack's share, now that it has a record."""
        self.in_stack = max(self.in_stack - 1, 0.0)
        super().record(record)

    def say(self, text: str) -> None:
        """Print above the bar."""
        self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def tell(text: str) -> None:
    """Print a line on stdout."""
    sys.stdout.write(f"{text}\n")


def complain(text: str) -> None:
    """Print a line on stderr."""
    sys.stdout.flush()
    sys.stderr.write(f"{text}\n")


def duration(seconds: float) -> str:
    """53 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
