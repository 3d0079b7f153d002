"""Mirror the records in MLflow: only the driver writes, a failure never stops a run, and `sync` can rebuild all."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pzsl_bench.base.errors import UserError
from pzsl_bench.records.frame import frame, metric_columns
from pzsl_bench.records.record import Record, Status
from pzsl_bench.reports.mlflow_client import ClientStore, Run, Store
from pzsl_bench.reports.mlflow_sqlite import experiment_number, local_store

if TYPE_CHECKING:
    from pandas import DataFrame

RUNS_AT_ONCE = 500
# A commit waits for the disk, up to 30 ms on a busy one: too long to spend on every cell.
SECONDS_BETWEEN_FLUSHES = 1.0
POINT = ["dataset", "encoder", "ambiguity", "rate", "noise", "method"]
log = logging.getLogger("pzsl_bench")


def tracking_uri(folder: Path | None = None) -> str:
    """MLFLOW_TRACKING_URI, or the file that a bare `mlflow ui` opens in that folder (default: this one)."""
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    return configured or f"sqlite:///{(folder or Path()).absolute() / 'mlflow.db'}"


def runs_page(port: int = 5000) -> str:
    """Where `mlflow ui` shows our runs; its front page opens on views of chat models, where they cannot be seen."""
    number = experiment_number(tracking_uri())
    place = "experiments" if number is None else f"experiments/{number}/runs"
    return f"http://127.0.0.1:{port}/#/{place}?workflowType=machine_learning"


class Mirror:
    """The MLflow runs of one grid. A store that fails costs one warning; the records remain."""

    def __init__(self, uri: str | None, grid: str, artifacts: Path, note: Callable[[str], None] = log.warning):
        self.uri = uri or tracking_uri()
        self.grid = grid
        self.artifacts = artifacts
        self.note = note
        self.broken: str | None = None
        """Why nothing more is written; None while all is well."""
        self._store: Store | None = None
        self._known: dict[str, tuple[str, str]] = {}
        self._waiting: list[Record] = []
        self._flushed = -math.inf

    def add(self, *records: Record) -> None:
        """Take finished cells; they reach MLflow within a second or two, or with the next `flush` or `sync`."""
        self._waiting += records
        if time.monotonic() - self._flushed > SECONDS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> int:
        """Write the runs of the cells that wait, in one transaction; how many were new or had changed."""
        waiting, self._waiting = self._waiting, []
        written = self._guard(lambda: self._put([self._cell(record) for record in waiting]))
        self._flushed = time.monotonic()
        return written

    def summary(self, table: DataFrame) -> int:
        """Write a run with mean, std (n - 1) and n over seeds for every point of the grid and method."""
        return self._guard(lambda: self._put(self._summaries(table)))

    def sync(self, records: Iterable[Record]) -> int:
        """Make the grid's runs what the records say: cells, summaries and their parent."""
        grid_records = list(records)
        self.flush()

        def write_all() -> int:
            cells = [self._cell(record) for record in grid_records]
            written = self._put([*cells, *self._summaries(frame(grid_records))])
            return written + (self._close(cells, grid_records) if cells else 0)

        return self._guard(write_all)

    def _guard(self, work: Callable[[], int]) -> int:
        if self.broken is not None:
            return 0
        try:
            return work()
        # A database may fail in any way at all, and the mirror must not take the run with it.
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self.broken = f"cannot write to MLflow at {self.uri} ({reason[0][:200]})"
            self.note(f"{self.broken}; the records are safe, `pzsl-bench sync` writes them later")
            return 0

    def _put(self, runs: Sequence[Run]) -> int:
        if not runs:
            return 0
        store = self._open()
        unique = {run.key: run for run in runs}.values()
        new = [run for run in unique if self._known.get(run.key, ("", ""))[1] != run.digest]
        parent = self._parent(store, min(run.start for run in new)) if new else None
        for start in range(0, len(new), RUNS_AT_ONCE):
            part = new[start : start + RUNS_AT_ONCE]
            store.write([run.under(parent) for run in part], self._known)
        return len(new)

    def _open(self) -> Store:
        if self._store is None:
            store: Store = local_store(self.uri, self.artifacts) or ClientStore(self.uri, self.artifacts)
            self._known = store.known()
            self._store = store
        return self._store

    def _parent(self, store: Store, start: int) -> str:
        key = f"grid:{self.grid}"
        if key not in self._known:
            parent = Run(key, self.grid, "RUNNING", start, None, self.grid, tags=_kind("grid"))
            store.write([parent], self._known)
        return self._known[key][0]

    def _close(self, cells: Sequence[Run], records: Sequence[Record]) -> int:
        """Write the totals of the grid to the parent run; how many runs were written."""
        metrics = [("cells", float(len(records)), 0), ("seconds", math.fsum(r.seconds for r in records), 0)]
        for status in Status:
            metrics.append((status.value, float(sum(r.status is status for r in records)), 0))
        parent = Run(
            key=f"grid:{self.grid}",
            name=self.grid,
            status="FINISHED",
            start=min(cell.start for cell in cells),
            end=max(cell.end or 0 for cell in cells),
            grid=self.grid,
            tags=_kind("grid"),
            metrics=metrics,
        )
        if self._known.get(parent.key, ("", ""))[1] == parent.digest:
            return 0
        self._open().write([parent], self._known)
        return 1

    def _cell(self, record: Record) -> Run:
        end = _milliseconds(record.finished)
        cost = {n: float(getattr(record, n)) for n in ("seconds", "mean_candidates", "stack", "peak_mb")}
        metrics = [(k, v, 0) for k, v in (record.metrics | cost).items() if v is not None and math.isfinite(v)]
        for name, values in record.curves.items():
            metrics += [(f"curve/{name}", v, n) for n, v in enumerate(values, 1) if math.isfinite(v)]
        noise = f" noise {record.noise:g}" if record.noise else ""
        where = {n: str(getattr(record, n)) for n in ("dataset", "encoder", "ambiguity", "rate", "noise", "seed")}
        tags = {
            "hash": record.hash,
            "status": record.status.value,
            "title": record.title,
            "family": record.family,
            "reveals_truth": str(record.reveals_truth),
            "transductive": str(record.transductive),
            "candidates_hash": record.candidates_hash,
        }
        params = where | {"method": record.row}
        if record.select != "last":
            tags["select"] = record.select
            tags |= {"epoch": str(record.epoch)} if record.epoch is not None else {}
        if record.tune:
            params["tune"] = str(record.tune)
            if record.trials:
                tags |= {"draw": str(record.draw), "chosen": json.dumps(record.trials[record.draw].settings)}
        if record.headline:
            tags["error"] = record.headline
        tags = _kind("cell") | {f"pzsl.{k}": v for k, v in tags.items()}
        return Run(
            key=f"cell:{record.hash}",
            name=f"{record.row} {record.dataset} {record.ambiguity} {record.rate:g}{noise} seed {record.seed}",
            status="FINISHED" if record.status is Status.DONE else "FAILED",
            start=end - int(record.seconds * 1000),
            end=end,
            grid=self.grid,
            tags=tags | {f"env.{k}": v for k, v in record.environment.items()},
            params=params | {f"set.{k}": str(v) for k, v in record.settings.items()},
            metrics=metrics,
        )

    def _summaries(self, table: DataFrame) -> list[Run]:
        names = metric_columns(table)
        done = table[table["status"] == Status.DONE.value]
        runs = []
        for point, rows in done.groupby(POINT):
            where = dict(zip(POINT, map(str, point), strict=True))
            # Without noise the key and the name are as they were before there was any.
            given = {name: value for name, value in where.items() if name != "noise" or float(value)}
            numbers = rows[names].astype("float64")
            numbers = numbers.where(numbers.abs() < math.inf)
            metrics: list[tuple[str, float, int]] = []
            for name, n, mean, std in zip(names, numbers.count(), numbers.mean(), numbers.std(ddof=1), strict=True):
                metrics += [(f"{name}.n", float(n), 0), (f"{name}.mean", mean, 0), (f"{name}.std", std, 0)]
            times = [_milliseconds(text) for text in rows["finished"]]
            seeds = ",".join(map(str, sorted(rows["seed"])))
            runs.append(
                Run(
                    key=f"summary:{self.grid}:" + "/".join(given.values()),
                    name="mean of {method} {dataset} {ambiguity} {rate}".format(**where)
                    + (f" noise {given['noise']}" if "noise" in given else ""),
                    status="FINISHED",
                    start=min(times),
                    end=max(times),
                    grid=self.grid,
                    tags=_kind("summary") | {"pzsl.title": str(rows["title"].iloc[0]), "pzsl.seeds": seeds},
                    params=where,
                    metrics=[metric for metric in metrics if math.isfinite(metric[1])],
                )
            )
        return runs


def sync(records: Iterable[Record], *, uri: str | None, grid: str, artifacts: Path) -> int:
    """Rebuild the MLflow runs of a grid from its records; how many runs were written. A failure is an error here."""
    mirror = Mirror(uri, grid, artifacts, note=log.debug)
    written = mirror.sync(records)
    if mirror.broken is not None:
        raise UserError(mirror.broken)
    return written


def _kind(kind: str) -> dict[str, str]:
    return {"pzsl.kind": kind}


def _milliseconds(iso: str) -> int:
    return round(datetime.fromisoformat(iso).timestamp() * 1000)
