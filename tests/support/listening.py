"""A listener that keeps what it hears of a run."""

from __future__ import annotations

from pzsl_bench.records.record import Record


class Listening:
    """Records and notes, in the order in which they came."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.notes: list[str] = []
        self.cells = self.stacks = 0

    def started(self, cells: int, stacks: int) -> None:
        self.cells, self.stacks = cells, stacks

    def encoding(self, what: str, done: int, total: int) -> None: ...

    def stack(self, label: str, size: int) -> None: ...

    def epochs(self, done: int, total: int) -> None: ...

    def record(self, record: Record) -> None:
        self.records.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)
