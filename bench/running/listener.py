"""Who is told of a run while it goes on."""

from __future__ import annotations

from typing import Protocol

from pzsl_bench.records.record import Record


class Listener(Protocol):
    """Who watches a run."""

    def started(self, cells: int, stacks: int) -> None:
        """So much is to do."""

    def encoding(self, what: str, done: int, total: int) -> None:
        """Images of a dataset, encoded so far."""

    def stack(self, label: str, size: int) -> None:
        """A stack begins."""

    def epochs(self, done: int, total: int) -> None:
        """Epochs of the stack that is trained in this process."""

    def record(self, record: Record) -> None:
        """A cell has ended and its record is on disk."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Follower(Protocol):
    """Who takes the records on while the run goes on, such as an experiment tracker."""

    def record(self, record: Record) -> None:
        """A cell has ended and its record is on disk; this must not hold up the run."""

    def finish(self, interrupted: bool) -> None:
        """There are no more records; returns when all of them have been taken on."""
