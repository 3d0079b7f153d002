"""Write to MLflow during a run: records go into a queue, and a thread of its own writes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from pzsl_bench.planning.plan import Plan, updated
from pzsl_bench.records.record import Record
from pzsl_bench.reports.mlflow_mirror import Mirror


class MirrorThread:
    """Follows a run and mirrors its records: one thread, one store, records in the order in which cells end."""

    def __init__(self, plan: Plan, artifacts: Path, note: Callable[[str], None]):
        self.plan, self.artifacts, self.note = plan, artifacts, note
        self.fresh: list[Record] = []
        self.waiting: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._write, name="mlflow", daemon=True)
        self.thread.start()

    def record(self, record: Record) -> None:
        """Queue a record for the thread."""
        self.fresh.append(record)
        self.waiting.put(record)

    def finish(self, interrupted: bool) -> None:
        """Wait until the last record is written; summaries of the grid only after a run that was not interrupted."""
        self.interrupted = interrupted
        self.waiting.put(None)
        self.thread.join()

    def _write(self) -> None:
        mirror = Mirror(None, self.plan.name, self.artifacts, note=self.note)
        while (record := self.waiting.get()) is not None:
            mirror.add(record)
        if not self.interrupted:
            # The whole grid, not only what is new: what an earlier, killed run left out is caught up here.
            mirror.sync(updated(self.plan, self.fresh).records())
        else:
            mirror.flush()
