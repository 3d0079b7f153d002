"""MLflow's SQLite file on this machine, written directly.

MLflow's client opens a dozen database sessions per run (15-20 ms with a curve). Here any number of runs is one
transaction of plain SQL, under 1 ms per run. The five tables are checked first: when a version of MLflow changes
them, `local_store` answers None and the client does the work.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pzsl_bench.base.files import part_of
from pzsl_bench.reports.mlflow_client import DIGEST, EXPERIMENT, KEY, USER, ClientStore, Run

COLUMNS = {
    "runs": ["run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status",
             "start_time", "end_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id"],
    "tags": ["run_uuid", "key", "value"],
    "params": ["run_uuid", "key", "value"],
    "metrics": ["run_uuid", "key", "value", "timestamp", "step", "is_nan"],
    "latest_metrics": ["run_uuid", "key", "value", "timestamp", "step", "is_nan"],
}  # fmt: skip


def local_store(uri: str, artifacts: Path) -> LocalStore | None:
    """The store behind a plain sqlite:/// address, made when missing; None if it is not one that we can write."""
    path = local_database(uri)
    if path is None:
        return None
    if not path.exists():
        _create(path, artifacts)
    experiment = _experiment(path)
    if experiment is None:
        ClientStore(uri, artifacts)
        experiment = _experiment(path)
    return None if experiment is None else LocalStore(path, *experiment)


def experiment_number(uri: str) -> int | None:
    """The number of our experiment in a plain sqlite:/// store, read without MLflow; None if it is not there."""
    path = local_database(uri)
    if path is None or not path.is_file():
        return None
    with suppress(sqlite3.Error):
        experiment = _experiment(path)
        return None if experiment is None else experiment[0]
    return None


def local_database(uri: str) -> Path | None:
    """The file behind a plain sqlite:/// address."""
    prefix = "sqlite:///"
    if not uri.startswith(prefix) or "?" in uri or uri == prefix or ":memory:" in uri:
        return None
    return Path(uri.removeprefix(prefix)).absolute()


@dataclass
class LocalStore:
    """A SQLite file on this machine."""

    path: Path
    experiment: int
    artifacts: str

    def known(self) -> dict[str, tuple[str, str]]:
        """Key to (run id, digest) of every run that is there."""
        query = """
            SELECT k.value, k.run_uuid, d.value FROM runs r
            JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = ?
            JOIN tags d ON d.run_uuid = r.run_uuid AND d.key = ?
            WHERE r.experiment_id = ? AND r.lifecycle_stage = 'active'"""
        with _connection(self.path) as database:
            rows = database.execute(query, (KEY, DIGEST, self.experiment)).fetchall()
        return {key: (run_id, digest) for key, run_id, digest in rows}

    def write(self, runs: Sequence[Run], known: dict[str, tuple[str, str]]) -> None:
        """Add or replace these runs in one transaction and enter them in `known`."""
        rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in COLUMNS}
        ids: list[tuple[str]] = []
        for run in runs:
            # The id follows from the key, so that links into MLflow survive a rebuilt store.
            new_id = hashlib.sha256(f"{self.experiment}\x1f{run.key}".encode()).hexdigest()[:32]
            run_id = known.get(run.key, (new_id, ""))[0]
            ids.append((run_id,))
            rows["runs"].append(self._row(run, run_id))
            tags = {"mlflow.runName": run.name, **run.all_tags}
            rows["tags"] += [(run_id, k, v) for k, v in tags.items()]
            rows["params"] += [(run_id, k, v) for k, v in run.params.items()]
            stamp = run.end or run.start
            points = [(run_id, name, value, stamp, step, 0) for name, value, step in run.metrics]
            rows["metrics"] += points
            latest = {point[1]: point for point in sorted(points, key=lambda p: (p[4], p[2]))}
            rows["latest_metrics"] += latest.values()
        with _connection(self.path) as database:
            for table, columns in COLUMNS.items():
                database.executemany(f"DELETE FROM {table} WHERE run_uuid = ?", ids)
                into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
                database.executemany(into, rows[table])
        for run, (run_id,) in zip(runs, ids, strict=True):
            known[run.key] = (run_id, run.digest)

    def _row(self, run: Run, run_id: str) -> tuple[Any, ...]:
        place = f"{self.artifacts.rstrip('/')}/{run_id}/artifacts"
        stage = "active"
        return (run_id, run.name, "UNKNOWN", "", "", USER, run.status, run.start, run.end, "", stage, place,
                self.experiment)  # fmt: skip


@contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction: all of it or nothing."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", timeout=5, uri=True)) as database, database:
        yield database


def _experiment(path: Path) -> tuple[int, str] | None:
    """Number and artifact folder of our experiment, if it is there and the tables are the ones we can write."""
    with _connection(path) as database:
        for table, our_columns in COLUMNS.items():
            table_info = database.execute(f"PRAGMA table_info({table})").fetchall()
            needed = {name for _, name, _, not_null, default, _ in table_info if not_null and default is None}
            if not needed <= set(our_columns) <= {column[1] for column in table_info}:
                return None
        query = "SELECT experiment_id, artifact_location FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"
        experiment: tuple[int, str] | None = database.execute(query, (EXPERIMENT,)).fetchone()
        return experiment


def _create(path: Path, artifacts: Path) -> None:
    """Create the database, complete or not at all: one that was migrated only in part fails for ever."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with part_of(path) as part:
        try:
            with _without_waiting_for_the_disk(part):
                ClientStore(f"sqlite:///{part}", artifacts)
            try:
                path.hardlink_to(part)
            except FileExistsError:
                return
            except OSError:
                part.rename(path)
        finally:
            for leftover in path.parent.glob(f"{part.name}*"):
                leftover.unlink()


@contextmanager
def _without_waiting_for_the_disk(path: Path) -> Iterator[None]:
    """Do not wait for the disk at each of some sixty migrations: nobody uses the file yet, so it may be lost."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def relax(connection: sqlite3.Connection, _: object) -> None:
        if str(path) in connection.execute("PRAGMA database_list").fetchone():
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = MEMORY")

    earlier = os.environ.get("MLFLOW_SQLALCHEMYSTORE_POOLCLASS")
    os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
    event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        event.remove(Engine, "connect", relax)
        if earlier is None:
            del os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"]
        else:
            os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = earlier
