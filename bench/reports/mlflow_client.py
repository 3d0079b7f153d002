"""A run as MLflow shows it, and a store that writes runs through MLflow's own client: one `log_batch` per run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

EXPERIMENT = "pzsl-bench"
# MLflow's pages are about chat models unless an experiment says otherwise.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
KEY = "pzsl.key"
DIGEST = "pzsl.digest"
GRID = "pzsl.grid"
USER = "pzsl-bench"
METRICS_PER_BATCH, ITEMS_PER_BATCH = 800, 90
MAX_PARAM_LENGTH, MAX_TAG_LENGTH, MAX_KEY_LENGTH = 6000, 5000, 250


@dataclass(frozen=True)
class Run:
    """One run as MLflow shows it."""

    key: str
    """Identifies the run: it is written once for each key, and replaced when its content has changed."""
    name: str
    status: str
    """RUNNING, FINISHED or FAILED."""
    start: int
    end: int | None
    """Milliseconds since 1970."""
    grid: str
    parent: str | None = None
    """Run id. It is no part of the content: a cell that two grids share stays under the parent of the first."""
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)
    """Name, value, step; finite."""

    def __post_init__(self) -> None:
        params = {_key(k): v[:MAX_PARAM_LENGTH] for k, v in self.params.items()}
        tags = {_key(k): v[:MAX_TAG_LENGTH] for k, v in self.tags.items()}
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "tags", tags)
        object.__setattr__(self, "metrics", [(_key(k), float(v), int(s)) for k, v, s in self.metrics])

    def under(self, parent: str | None) -> Run:
        """The same run below that parent."""
        return replace(self, parent=parent)

    @property
    def digest(self) -> str:
        """A hash of the content."""
        content = [self.key, self.name, self.status, self.start, self.end, self.tags, self.params, self.metrics]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def all_tags(self) -> dict[str, str]:
        """Its tags and those that bind it to its key and its parent."""
        tags = {**self.tags, GRID: self.grid, KEY: self.key, DIGEST: self.digest, "mlflow.user": USER}
        return {**tags, "mlflow.parentRunId": self.parent} if self.parent else tags


class Store(Protocol):
    """Where runs are written."""

    def known(self) -> dict[str, tuple[str, str]]:
        """Key to (run id, digest) of every run that is there."""

    def write(self, runs: Sequence[Run], known: dict[str, tuple[str, str]]) -> None:
        """Add or replace these runs and enter them in `known`."""


class ClientStore:
    """Any store that MLflow's client can reach."""

    def __init__(self, uri: str, artifacts: Path):
        self.client = client(uri)
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None and experiment.lifecycle_stage != "active":
            raise RuntimeError(f"the experiment '{EXPERIMENT}' was deleted there; restore it first")
        if experiment is None:
            # A server knows best where its artifacts go; a bare database cannot.
            place = None if uri.startswith(("http://", "https://", "databricks")) else str(artifacts.absolute())
            self.experiment = self.client.create_experiment(EXPERIMENT, place, EXPERIMENT_TAGS)
        else:
            self.experiment = experiment.experiment_id

    def known(self) -> dict[str, tuple[str, str]]:
        """Key to (run id, digest) of every run that is there."""
        known: dict[str, tuple[str, str]] = {}
        token = None
        while True:
            page = self.client.search_runs([self.experiment], max_results=1000, page_token=token)
            for run in page:
                if KEY in run.data.tags:
                    known[run.data.tags[KEY]] = (run.info.run_id, run.data.tags.get(DIGEST, ""))
            token = page.token
            if not token:
                return known

    def write(self, runs: Sequence[Run], known: dict[str, tuple[str, str]]) -> None:
        """Add these runs, or overwrite their tags and metrics, and enter them in `known`."""
        from mlflow.entities import Metric, Param, RunTag

        for run in runs:
            if run.key in known:
                run_id, tags = known[run.key][0], run.all_tags
            else:
                # Its digest comes last: a run that was written in part is written again.
                first = {k: v for k, v in run.all_tags.items() if k != DIGEST}
                created = self.client.create_run(self.experiment, run.start, first, run.name)
                run_id, tags = created.info.run_id, {DIGEST: run.digest}
                known[run.key] = (run_id, "")
            stamp = run.end or run.start
            metrics = [Metric(name, value, stamp, step) for name, value, step in run.metrics]
            params = [Param(k, v) for k, v in run.params.items()]
            run_tags = [RunTag(k, v) for k, v in tags.items()]
            while True:
                batch = metrics[:METRICS_PER_BATCH], params[:ITEMS_PER_BATCH], run_tags[:ITEMS_PER_BATCH]
                self.client.log_batch(run_id, *batch)
                del metrics[:METRICS_PER_BATCH], params[:ITEMS_PER_BATCH], run_tags[:ITEMS_PER_BATCH]
                if not (metrics or params or run_tags):
                    break
            if run.end is None:
                self.client.update_run(run_id, status=run.status)
            else:
                self.client.set_terminated(run_id, run.status, run.end)
            known[run.key] = (run_id, run.digest)


def client(uri: str) -> Any:
    """MLflow's own client, imported only now: it takes a second."""
    # Set before the import: no usage reports, and a server that does not answer must not hold up a run.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(uri)


@lru_cache(maxsize=4096)
def _key(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:MAX_KEY_LENGTH]
