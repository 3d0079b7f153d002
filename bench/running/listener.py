"""Interfaces for what follows a run while it goes on: a display, and trackers that receive its records."""

from __future__ import annotations

from typing import Protocol

from pzsl_bench.records.record import Record


class Listener(Protocol):
    """Shows the progress of a run."""

    def started(self, cells: int, stacks: int) -> None:
        """The run starts with this many cells to compute, in this many stacks."""

    def encoding(self, what: str, done: int, total: int) -> None:
        """This many images of a dataset are encoded so far."""

    def stack(self, label: str, size: int) -> None:
        """The training of a stack starts."""

    def epochs(self, done: int, total: int) -> None:
        """This many epochs are done of the stack that is trained in this process."""

    def record(self, record: Record) -> None:
        """A cell has ended and its record is on disk."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Follower(Protocol):
    """Receives the records of a run while it goes on, such as an experiment tracker."""

    def record(self, record: Record) -> None:
        """A cell has ended and its record is on disk; this must not hold up the run."""

    def finish(self, interrupted: bool) -> None:
        """There are no more records; returns when all of them have been processed."""
