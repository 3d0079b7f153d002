import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from made_record import made_record

from pzsl_bench.base.errors import UserError
from pzsl_bench.records.frame import frame
from pzsl_bench.records.record import Record, Status
from pzsl_bench.records.store import Records
from pzsl_bench.records.trial import Trial
from pzsl_bench.reports import mlflow_mirror, mlflow_sqlite
from pzsl_bench.reports.mlflow_client import ClientStore
from pzsl_bench.reports.mlflow_mirror import Mirror, runs_page, sync, tracking_uri


def record(seed: int = 0, method: str = "proden", rate: float = 0.1, **changes: Any) -> Record:
    facts: dict[str, Any] = {
        "rate": rate,
        "method": method,
        "row": f"{method}(lr=0.01)",
        "title": method.upper(),
        "family": "pll",
        "settings": {"lr": 0.01, "head": "cosine"},
        "seed": seed,
        "metrics": {"H": 0.5 + seed / 10, "T1": 0.6, "D": None, "U": float("nan")},
        "curves": {"loss": [2.0, 1.0, 0.5 + seed]},
        "candidates_hash": f"c{rate}-{seed}",
        "mean_candidates": 4.9,
        "seconds": 1.5,
        "peak_mb": 321.0,
        "finished": f"2026-01-02T03:04:{seed:02d}+00:00",
    }
    return made_record({"method": method, "rate": rate, "seed": seed}, **(facts | changes))


GRID = [record(seed, method, rate) for method in ("proden", "naive") for rate in (0.1, 0.3) for seed in range(3)]
BROKEN = record(7, status=Status.FAILED, metrics={}, curves={}, error="Traceback (most ...\n  File x\nValueError: no")


@pytest.fixture(autouse=True)
def _no_uri(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A fresh database with our experiment in it, made once: that takes a second."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    assert mlflow_sqlite.local_store(f"sqlite:///{path}", Path("/artifacts")) is not None
    return path.read_bytes()


@pytest.fixture
def uri(tmp_path, empty):
    (tmp_path / "mlflow.db").write_bytes(empty)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def mirror(uri: str, notes: list[str] | None = None) -> Mirror:
    def fail(text: str) -> None:
        raise AssertionError(text)

    return Mirror(uri, "quick", Path("/artifacts"), note=fail if notes is None else notes.append)


def runs(uri: str) -> dict[str, Any]:
    """Everything that a reader of MLflow sees, by key."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("pzsl-bench")
    assert experiment is not None
    return {run.data.tags["pzsl.key"]: run for run in client.search_runs([experiment.experiment_id])}


def content(uri: str, *, ids: bool) -> dict[str, Any]:
    """The same as plain values, histories of metrics included."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = runs(uri)
    name = {run.info.run_id: key for key, run in found.items()}
    contents = {}
    for key, run in found.items():
        info = run.info
        tags = dict(run.data.tags)
        if not ids and "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = name[tags["mlflow.parentRunId"]]
        points = {m: [(p.value, p.timestamp, p.step) for p in client.get_metric_history(info.run_id, m)]
                  for m in run.data.metrics}  # fmt: skip
        contents[key] = {
            "id": info.run_id if ids else None,
            "info": (info.run_name, info.status, info.start_time, info.end_time, info.lifecycle_stage),
            "place": info.artifact_uri.replace(info.run_id, "RUN"),
            "tags": tags,
            "params": run.data.params,
            "latest": run.data.metrics,
            "points": {m: sorted(p) for m, p in points.items()},
        }
    return contents


def test_a_record_becomes_a_run_under_its_grid(uri):
    writer = mirror(uri)
    writer.add(GRID[0], BROKEN)
    found = runs(uri)
    parent, run, bad = found["grid:quick"], found[f"cell:{GRID[0].hash}"], found[f"cell:{BROKEN.hash}"]
    assert parent.info.status == "RUNNING"
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.tags["pzsl.hash"] == GRID[0].hash
    assert run.data.params == {
        "dataset": "shapes", "encoder": "embedded", "ambiguity": "flip", "rate": "0.1", "noise": "0.0",
        "seed": "0", "method": "proden(lr=0.01)", "set.lr": "0.01", "set.head": "cosine",
    }  # fmt: skip
    assert run.data.metrics == {
        "H": 0.5, "T1": 0.6, "seconds": 1.5, "mean_candidates": 4.9, "stack": 9, "peak_mb": 321, "curve/loss": 0.5
    }  # fmt: skip
    assert (run.info.status, bad.info.status) == ("FINISHED", "FAILED")
    assert run.info.end_time - run.info.start_time == 1500
    assert bad.data.tags["pzsl.error"] == "ValueError: no"
    assert bad.data.tags["pzsl.status"] == "failed"


def test_a_run_says_how_its_epoch_and_settings_were_chosen(uri):
    trials = [Trial({}, 3, 0.5), Trial({"lr": 0.02}, 7, 0.75)]
    chosen = {"select": "covering", "tune": 2, "draw": 1, "epoch": 7, "trials": trials, "settings": {"lr": 0.02}}
    failed = record(1, status=Status.FAILED, metrics={}, curves={}, error="no", select="covering", tune=2)
    mirror(uri).sync([record(**chosen), failed])
    run = runs(uri)[f"cell:{record().hash}"]
    tags = {name: run.data.tags[f"pzsl.{name}"] for name in ("select", "epoch", "draw", "chosen")}
    assert tags == {"select": "covering", "epoch": "7", "draw": "1", "chosen": '{"lr": 0.02}'}
    assert (run.data.params["set.lr"], run.data.params["tune"]) == ("0.02", "2")
    assert "pzsl.draw" not in runs(uri)[f"cell:{failed.hash}"].data.tags


def test_a_curve_is_a_metric_with_steps(uri):
    mirror(uri).add(GRID[2])
    points = content(uri, ids=False)[f"cell:{GRID[2].hash}"]["points"]["curve/loss"]
    assert sorted((step, value) for value, _, step in points) == [(1, 2.0), (2, 1.0), (3, 2.5)]


def test_both_writers_leave_the_same_content(uri, tmp_path, empty, monkeypatch):
    assert isinstance(mirror(uri)._open(), mlflow_sqlite.LocalStore)
    mirror(uri).sync([*GRID, BROKEN])
    fast = content(uri, ids=False)
    (tmp_path / "client.db").write_bytes(empty)
    other = f"sqlite:///{tmp_path / 'client.db'}"
    monkeypatch.setattr(mlflow_mirror, "local_store", lambda *_: None)
    assert isinstance(mirror(other)._open(), ClientStore)
    mirror(other).sync([*GRID, BROKEN])
    assert len(fast) == 1 + 13 + 4
    assert content(other, ids=False) == fast


def test_a_deleted_database_comes_back_identical(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    live = mirror(uri)
    for one in GRID[:5]:
        live.add(one)
    live.flush()
    live.summary(frame(GRID[:5]))
    live.sync([*GRID, BROKEN])
    before = content(uri, ids=True)
    # A second file name in the same process: MLflow keeps connections to the first.
    (tmp_path / "mlflow.db").unlink()
    assert sync([*reversed(GRID), BROKEN], uri=uri, grid="quick", artifacts=Path("/artifacts")) == 1 + 13 + 4
    (tmp_path / "mlflow.db").rename(tmp_path / "again.db")
    assert content(f"sqlite:///{tmp_path / 'again.db'}", ids=True) == before


def test_nothing_is_written_twice(uri):
    assert mirror(uri).sync(GRID) == 12 + 4 + 1
    assert mirror(uri).sync(GRID) == 0
    twice = mirror(uri)
    twice.add(*GRID, *GRID)
    assert twice.flush() == 0
    assert len(runs(uri)) == 12 + 4 + 1


def test_cells_that_wait_are_written_with_the_next_flush_and_none_is_lost(uri):
    writer = mirror(uri)
    for one in GRID:
        writer.add(one)
    writer.flush()
    assert len(runs(uri)) == 12 + 1


def test_what_a_killed_run_did_not_mirror_is_caught_up(uri):
    mirror(uri).add(*GRID[:3])
    assert mirror(uri).sync(GRID) == 9 + 4 + 1


@pytest.mark.parametrize("fast", [True, False])
def test_a_retried_cell_replaces_its_failure(uri, monkeypatch, fast):
    if not fast:
        monkeypatch.setattr(mlflow_mirror, "local_store", lambda *_: None)
    mirror(uri).add(BROKEN)
    first = runs(uri)[f"cell:{BROKEN.hash}"]
    mirror(uri).add(record(7))
    found = runs(uri)
    run = found[f"cell:{BROKEN.hash}"]
    assert len(found) == 2
    assert run.info.run_id == first.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["pzsl.status"] == "done"
    assert run.data.metrics["H"] == pytest.approx(1.2)


def test_a_cell_that_two_grids_share_stays_with_the_first(uri):
    mirror(uri).sync(GRID)
    other = Mirror(uri, "all", Path("/artifacts"))
    other.sync([*GRID, BROKEN])
    found = runs(uri)
    quick = found["grid:quick"].info.run_id
    assert found[f"cell:{GRID[0].hash}"].data.tags["mlflow.parentRunId"] == quick
    assert found[f"cell:{BROKEN.hash}"].data.tags["mlflow.parentRunId"] == found["grid:all"].info.run_id
    assert mirror(uri).sync(GRID) == 0


def test_a_summary_holds_mean_std_and_n_over_finished_seeds(uri):
    assert mirror(uri).summary(frame([*GRID, BROKEN])) == 4
    run = runs(uri)["summary:quick:shapes/embedded/flip/0.1/proden(lr=0.01)"]
    assert run.data.metrics["H.mean"] == pytest.approx(0.6)
    assert run.data.metrics["H.std"] == pytest.approx(0.1)
    assert run.data.metrics["H.n"] == 3
    assert run.data.metrics["D.n"] == 0
    assert not {"D.mean", "U.mean"} & run.data.metrics.keys()
    assert run.data.tags["pzsl.seeds"] == "0,1,2"


def test_noise_names_runs_and_keeps_summaries_apart(uri):
    noisy = [
        record(seed, ambiguity="flip_noisy", noise=noise, hash=f"{noise}{seed}")
        for noise in (0.0, 0.3)
        for seed in (0, 1)
    ]
    mirror(uri).sync(noisy)
    found = runs(uri)
    run = found["cell:0.31"]
    assert run.info.run_name == "proden(lr=0.01) shapes flip_noisy 0.1 noise 0.3 seed 1"
    assert (run.data.params["noise"], found["cell:0.01"].data.params["noise"]) == ("0.3", "0.0")
    summaries = {key: run for key, run in found.items() if key.startswith("summary")}
    assert set(summaries) == {
        "summary:quick:shapes/embedded/flip_noisy/0.1/proden(lr=0.01)",
        "summary:quick:shapes/embedded/flip_noisy/0.1/0.3/proden(lr=0.01)",
    }
    assert all(run.data.metrics["H.n"] == 2 for run in summaries.values())


def test_a_summary_is_updated_in_place_and_one_seed_has_no_std(uri):
    mirror(uri).summary(frame(GRID[:1]))
    key = "summary:quick:shapes/embedded/flip/0.1/proden(lr=0.01)"
    one = runs(uri)[key]
    assert "H.std" not in one.data.metrics
    mirror(uri).summary(frame(GRID[:2]))
    two = runs(uri)[key]
    assert two.info.run_id == one.info.run_id
    assert two.data.metrics["H.n"] == 2
    assert two.data.metrics["H.mean"] == pytest.approx(0.55)


def test_the_grid_is_closed_with_counts(uri):
    mirror(uri).sync([*GRID, BROKEN])
    parent = runs(uri)["grid:quick"]
    assert parent.info.status == "FINISHED"
    counts = {"cells": 13, "done": 12, "failed": 1, "diverged": 0, "seconds": 19.5}
    assert parent.data.metrics == counts


def test_the_client_writes_one_batch_per_cell(uri, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setattr(mlflow_mirror, "local_store", lambda *_: None)
    sizes = []
    real = MlflowClient.log_batch
    monkeypatch.setattr(
        MlflowClient, "log_batch", lambda self, *a, **k: (sizes.append(len(a[1])), real(self, *a, **k))[1]
    )
    mirror(uri).add(*GRID)
    assert len(sizes) == 1 + 12
    sizes.clear()
    many = {f"s{n}": n for n in range(250)}
    mirror(uri).add(record(9, curves={"loss": [float(n) for n in range(1500)]}, settings=many))
    assert len(sizes) == 3
    run = runs(uri)[f"cell:{record(9).hash}"]
    assert len(run.data.params) == 7 + 250
    assert run.data.metrics["curve/loss"] == 1499


def test_names_and_values_that_mlflow_refuses_are_made_to_fit(uri):
    odd = record(8, metrics={"a%b": 1.0}, settings={"x": "y" * 9000}, error="e" * 9000, status=Status.FAILED)
    mirror(uri).add(odd)
    run = runs(uri)[f"cell:{odd.hash}"]
    assert run.data.metrics["a_b"] == 1.0
    assert len(run.data.params["set.x"]) == 6000


def test_other_runs_in_the_same_database_are_left_alone(uri):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    theirs = client.create_experiment("theirs", artifact_location="/artifacts")
    run_id = client.create_run(theirs, run_name="mine").info.run_id
    client.log_param(run_id, "a", 1)
    mirror(uri).sync(GRID)
    assert client.get_run(run_id).data.params == {"a": "1"}
    assert len(client.search_runs([theirs])) == 1


def test_a_database_of_the_user_gets_our_experiment(tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    MlflowClient(uri).create_experiment("theirs")
    writer = mirror(uri)
    writer.add(GRID[0])
    assert isinstance(writer._store, mlflow_sqlite.LocalStore)
    assert len(runs(uri)) == 2


def test_tables_that_changed_are_left_to_the_client(uri, monkeypatch):
    monkeypatch.setitem(mlflow_sqlite.COLUMNS, "tags", ["run_uuid", "key", "value", "colour"])
    writer = mirror(uri)
    writer.add(GRID[0])
    assert isinstance(writer._store, ClientStore)
    assert f"cell:{GRID[0].hash}" in runs(uri)


def refuses(uri: str) -> None:
    notes: list[str] = []
    writer = mirror(uri, notes)
    writer.add(GRID[0])
    writer.flush()
    writer.summary(frame(GRID))
    assert writer.sync(GRID) == 0
    assert writer.broken is not None
    assert len(notes) == 1
    assert "\n" not in notes[0]
    assert "pzsl-bench sync" in notes[0]


def test_a_locked_store_costs_one_warning(uri, tmp_path):
    with sqlite3.connect(tmp_path / "mlflow.db") as lock:
        lock.execute("BEGIN EXCLUSIVE")
        refuses(uri)


@pytest.mark.parametrize("damage", ["garbage", "folder"])
def test_a_store_that_is_no_database_costs_one_warning(tmp_path, damage):
    path = tmp_path / "mlflow.db"
    path.mkdir() if damage == "folder" else path.write_bytes(b"no database" * 999)
    refuses(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("")
    refuses(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")


def test_a_server_that_does_not_answer_costs_one_warning():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    refuses(f"http://127.0.0.1:{port}")


def test_an_explicit_sync_says_what_is_wrong(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 999)
    with pytest.raises(UserError, match="cannot write to MLflow"):
        sync(GRID, uri=f"sqlite:///{tmp_path / 'mlflow.db'}", grid="quick", artifacts=Path("/artifacts"))


def test_a_creation_that_fails_leaves_no_half_made_database(tmp_path, monkeypatch):
    def stop(uri: str, _: Path) -> None:
        Path(uri.removeprefix("sqlite:///")).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow_sqlite, "ClientStore", stop)
    with pytest.raises(KeyboardInterrupt):
        mirror(f"sqlite:///{tmp_path / 'mlflow.db'}").add(GRID[0])
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_the_store_and_the_default_is_what_mlflow_ui_opens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri(Path("sub")) == f"sqlite:///{tmp_path}/sub/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert tracking_uri(tmp_path) == "http://server"
    assert Mirror(None, "quick", tmp_path).uri == "http://server"


def test_a_second_run_in_the_same_folder_does_not_import_mlflow(uri, tmp_path):
    saved = Records(tmp_path / "records").save(GRID[0])
    script = f"""
import sys
from pathlib import Path
from pzsl_bench.records.record import Record
from pzsl_bench.reports.mlflow_mirror import Mirror
mirror = Mirror({uri!r}, "quick", Path("/artifacts"))
mirror.add(Record.model_validate_json(Path({str(saved)!r}).read_text()))
print(mirror.broken, {{"mlflow", "pandas"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None set()", done.stderr
    assert len(runs(uri)) == 2


@pytest.mark.slow
def test_two_processes_that_start_without_a_database_both_get_one(tmp_path):
    script = f"""
import sys
from pathlib import Path
from pzsl_bench.reports.mlflow_mirror import Mirror
mirror = Mirror("sqlite:///{tmp_path}/mlflow.db", sys.argv[1], Path("/artifacts"))
mirror._guard(lambda: bool(mirror._parent(mirror._open(), 0)))
print(mirror.broken)
"""
    both = [
        subprocess.Popen([sys.executable, "-c", script, grid], stdout=subprocess.PIPE, text=True)
        for grid in ("one", "two")
    ]
    assert [child.communicate()[0].strip() for child in both] == ["None", "None"]
    assert set(runs(f"sqlite:///{tmp_path}/mlflow.db")) == {"grid:one", "grid:two"}
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.slow
def test_a_bare_mlflow_ui_in_the_working_directory_shows_the_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = Mirror(None, "quick", tmp_path / "artifacts")
    writer.sync(GRID)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    log = (tmp_path / "ui.log").open("w")
    with subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True) as server:
        try:
            found = ask(port, "experiments/search", {"max_results": 100}, patience=120)
            numbers = {e["name"]: e["experiment_id"] for e in found["experiments"]}
            answer = ask(
                port,
                "runs/search",
                {"experiment_ids": [numbers["pzsl-bench"]], "max_results": 100, "filter": "metrics.H > 0.65"},
            )
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
            log.close()
    names = {run["info"]["run_name"] for run in answer["runs"]}
    assert names == {
        f"{method}(lr=0.01) shapes flip {rate} seed 2" for method in ("proden", "naive") for rate in (0.1, 0.3)
    }


def test_the_page_of_the_runs_is_named_with_the_number_of_their_experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert runs_page().startswith("http://127.0.0.1:5000/#/experiments?")
    Mirror(None, "quick", tmp_path / "artifacts").sync(GRID[:1])
    experiment = ClientStore(tracking_uri(), tmp_path).client.get_experiment_by_name("pzsl-bench")
    assert f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning" in runs_page(5051)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    Path("mlflow.db").write_text("no database")
    assert runs_page().startswith("http://127.0.0.1:5000/#/experiments?")


def ask(port: int, what: str, question: dict[str, Any], patience: float = 30) -> Any:
    """MLflow's REST API, as soon as it listens."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/{what}",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
