"""Runs: every record is kept, nothing is computed twice, one failure harms no other cell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listening import Listening

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import METHODS
from pzsl_bench.data.source import Source
from pzsl_bench.encoding.cache import cache_root
from pzsl_bench.encoding.crops import VIEWS
from pzsl_bench.encoding.encode import Encoded
from pzsl_bench.planning.grid import load_grid
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.plan import Plan, State, make_plan
from pzsl_bench.problem.folds import Problems
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem
from pzsl_bench.records.record import Record, Status
from pzsl_bench.running import run, worker
from pzsl_bench.running.opened import load_problem
from pzsl_bench.running.run import Outcome, execute

DATA = "synthetic:seen=8:unseen=4:dim=16:per_class=20:test=10"


def grid_file(folder: Path, methods: str = "[clip_zero_shot, {proden: {epochs: 2}}]", more: str = "") -> Path:
    path = folder / "tiny.yaml"
    path.write_text(
        f"datasets: ['{DATA}']\nambiguities: [flip]\nrates: [0.1, 0.5]\nseeds: 2\nmethods: {methods}\n{more}"
    )
    return path


def options_in(folder: Path, **more: object) -> Options:
    return replace(Options(results=folder / "results", device="cpu", mlflow=False), **more)


def go(grid: Path, options: Options) -> tuple[Plan, Outcome, Listening]:
    plan, listener = make_plan(load_grid(str(grid), []), options), Listening()
    return plan, execute(plan, options, listener), listener


@pytest.fixture
def broken_proden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(*_: object) -> None:
        raise RuntimeError("out of ideas")

    monkeypatch.setattr(METHODS.get("proden"), "loss", fail)
    yield


def test_a_run_records_every_cell_once_and_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    grid, options = grid_file(tmp_path), options_in(tmp_path)
    plan, outcome, listener = go(grid, options)
    assert (outcome.done, outcome.failed, outcome.diverged) == (8, 0, 0)
    assert len(listener.records) == len({r.hash for r in listener.records}) == listener.cells == 8
    assert {p.state for p in plan.cells} == {State.MISSING}
    again = make_plan(load_grid(str(grid), []), options)
    assert {p.state for p in again.cells} == {State.DONE}
    assert again.todo() == []


NOISE = "include: {ambiguity: [flip_noisy, semantic_noisy], noise: [0, 0.4]}\n"


def test_noisy_cells_are_trained_with_the_others_calibrated_and_told_apart(tmp_path: Path) -> None:
    methods = "[clip_zero_shot, oracle, {proden: {epochs: 2}}, {eszsl: {candidates_as: clip_prior}}]"
    _, outcome, listener = go(grid_file(tmp_path, methods, NOISE), options_in(tmp_path))
    assert (outcome.done, outcome.failed) == (80, 0)
    assert {r.stack for r in listener.records} == {20}
    sets = {(r.ambiguity, r.rate, r.noise, r.seed): r.candidates_hash for r in listener.records}
    for record in listener.records:
        assert record.metrics["D"] is not None and record.metrics["H_cal"] is not None
        if record.ambiguity == "flip":
            assert "recovered" not in record.metrics and "noise" not in record.identity
        elif record.noise:
            assert record.metrics["D"] <= 0.7
            assert 0 <= record.metrics["recovered"] <= 1  # type: ignore[operator]
        else:
            assert record.metrics["recovered"] is None
            assert record.absent == {"recovered": "where no true label is missing there is nothing to recover"}
        if record.ambiguity == "flip_noisy":
            plain = sets["flip", record.rate, 0.0, record.seed]
            assert (record.candidates_hash == plain) == (record.noise == 0)
    recovered = {r.method: r.metrics["recovered"] for r in listener.records if r.noise and r.rate == 0.5}
    assert recovered["oracle"] == max(recovered.values())  # type: ignore[type-var]


def test_a_noisy_run_does_not_depend_on_its_stack(tmp_path: Path) -> None:
    point = "include: {ambiguity: flip_noisy, noise: 0.4, rate: 0.5, seed: 1}\n"
    _, _, alone = go(grid_file(tmp_path, more=f"exclude: {{ambiguity: flip}}\n{point}"), options_in(tmp_path / "a"))
    _, _, among = go(grid_file(tmp_path, more=NOISE), options_in(tmp_path / "b"))
    found = {record.hash: record for record in among.records}
    assert len(alone.records) == 2
    for record in alone.records:
        assert record.metrics == pytest.approx(found[record.hash].metrics, abs=1e-5, nan_ok=True)


class Following:
    """Takes records on, as MLflow's writer does."""

    def __init__(self) -> None:
        self.hashes: list[str] = []
        self.ends: list[bool] = []

    def record(self, record: Record) -> None:
        self.hashes.append(record.hash)

    def finish(self, interrupted: bool) -> None:
        self.ends.append(interrupted)


@pytest.mark.parametrize("stopped", [False, True])
def test_followers_get_every_record_and_are_told_whether_the_run_came_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    options, listener, follower = options_in(tmp_path), Listening(), Following()
    plan = make_plan(load_grid(str(grid_file(tmp_path)), []), options)
    if stopped:
        honest = run.run_stack

        def first_only(cells: list, *rest: Any, **named: Any) -> Iterator[Any]:
            if cells[0].cell.method != "clip_zero_shot":
                raise KeyboardInterrupt
            yield from honest(cells, *rest, **named)

        monkeypatch.setattr(run, "run_stack", first_only)
    outcome = execute(plan, options, listener, {"tracker": follower})
    assert follower.hashes == [record.hash for record in listener.records]
    assert len(follower.hashes) == (4 if stopped else 8)
    assert follower.ends == [stopped]
    assert "tracker" in outcome.share


def test_a_record_holds_what_a_table_and_a_sceptic_need(tmp_path: Path) -> None:
    _, _, listener = go(grid_file(tmp_path), options_in(tmp_path))
    record = next(r for r in listener.records if r.method == "proden" and r.rate == 0.5)
    assert {"T1", "U", "S", "H", "seen_acc", "D", "AUSUC", "H_cal", "gamma"} <= set(record.metrics)
    assert len(record.curves["loss"]) == 2
    assert record.stack == 4
    assert record.mean_candidates > 3
    assert {"torch", "python", "device", "pzsl-bench"} <= set(record.environment)
    assert {"protocol", "method_version", "settings", "dataset_checksum", "encoder_fingerprint"} <= set(record.identity)


def test_all_methods_see_the_same_candidate_sets(tmp_path: Path) -> None:
    _, _, listener = go(grid_file(tmp_path, "[clip_zero_shot, naive, oracle, eszsl]"), options_in(tmp_path))
    by_point: dict[tuple[float, int], set[str]] = {}
    for record in listener.records:
        by_point.setdefault((record.rate, record.seed), set()).add(record.candidates_hash)
    assert all(len(hashes) == 1 for hashes in by_point.values())
    assert len(by_point) == len(set.union(*by_point.values())) == 4


def test_the_oracle_is_marked_and_does_not_depend_on_the_rate(tmp_path: Path) -> None:
    _, _, listener = go(grid_file(tmp_path, "[oracle]"), options_in(tmp_path))
    assert all(r.reveals_truth for r in listener.records)
    # Only the random numbers of the cells differ, not what the bound is trained on.
    accuracy = [r.metrics["seen_acc"] for r in listener.records]
    assert max(accuracy) - min(accuracy) < 0.1  # type: ignore[type-var, operator]


def test_a_failing_method_is_recorded_and_the_others_go_on(tmp_path: Path, broken_proden: None) -> None:
    grid, options = grid_file(tmp_path), options_in(tmp_path)
    _, outcome, listener = go(grid, options)
    assert (outcome.done, outcome.failed) == (4, 4)
    failed = [r for r in listener.records if r.status is Status.FAILED]
    assert all("out of ideas" in (r.error or "") for r in failed)
    again = make_plan(load_grid(str(grid), []), options)
    assert again.todo() == []
    assert len(again.todo(retry_failed=True)) == 4
    assert len(again.todo(fresh=True)) == 8


def test_fail_fast_stops_at_the_first_failure(tmp_path: Path, broken_proden: None) -> None:
    grid = grid_file(tmp_path, "[{proden: {epochs: 2}}, clip_zero_shot]")
    _, outcome, listener = go(grid, options_in(tmp_path, fail_fast=True))
    assert outcome.done == 0
    assert outcome.failed > 0
    assert any("--fail-fast" in note for note in listener.notes)


def test_running_out_of_memory_halves_the_stack_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, sizes = worker.train_and_judge, []

    def small_machine(cells: list, *rest: object) -> list[Record]:
        sizes.append(len(cells))
        if len(cells) > 1:
            raise torch.OutOfMemoryError("too much")
        return original(cells, *rest)

    monkeypatch.setattr(worker, "train_and_judge", small_machine)
    _, outcome, listener = go(grid_file(tmp_path, "[{proden: {epochs: 1}}]"), options_in(tmp_path))
    assert outcome.done == 4
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    assert any("half as many" in note for note in listener.notes)


def test_a_small_memory_budget_cuts_the_stack_beforehand(tmp_path: Path) -> None:
    _, outcome, listener = go(grid_file(tmp_path, "[{proden: {epochs: 1}}]"), options_in(tmp_path, memory="1KB"))
    assert outcome.done == 4
    assert {r.stack for r in listener.records} == {1}


def test_a_diverging_cell_is_marked_and_its_stack_mates_are_done(tmp_path: Path) -> None:
    methods = "[{proden: {epochs: 4, optimiser: sgd, momentum: 0.0, head: linear, lr: [0.01, 1.0e+38]}}]"
    _, outcome, listener = go(grid_file(tmp_path, methods), options_in(tmp_path))
    assert (outcome.done, outcome.diverged) == (4, 4)
    assert {r.stack for r in listener.records} == {8}
    assert all(r.settings["lr"] == 1e38 for r in listener.records if r.status is Status.DIVERGED)


def test_a_new_version_of_a_method_makes_its_records_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, options = grid_file(tmp_path), options_in(tmp_path)
    go(grid, options)
    cls = METHODS.get("proden")
    monkeypatch.setattr(cls, "info", replace(cls.info, version=cls.info.version + 1))
    states = {p.cell.method: p.state for p in make_plan(load_grid(str(grid), []), options).cells}
    assert states == {"clip_zero_shot": State.DONE, "proden": State.STALE}


def test_a_new_refiner_makes_results_that_were_fed_by_it_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, options = grid_file(tmp_path, "[{eszsl: {candidates_as: [uniform, refined]}}]"), options_in(tmp_path)
    go(grid, options)
    cls = METHODS.get("proden")
    monkeypatch.setattr(cls, "info", replace(cls.info, version=cls.info.version + 1))
    states = {p.cell.row: p.state for p in make_plan(load_grid(str(grid), []), options).cells}
    assert set(states.values()) == {State.DONE, State.STALE}
    assert states["eszsl(candidates_as=refined)"] is State.STALE


def test_a_corrupted_record_is_set_aside_reported_and_computed_again(tmp_path: Path) -> None:
    grid, options = grid_file(tmp_path), options_in(tmp_path)
    go(grid, options)
    victim = next((options.results / "records").rglob("*.json"))
    victim.write_text(victim.read_text()[:100])
    plan, outcome, _ = go(grid, options)
    assert outcome.done == 1
    assert any(victim.name in problem for problem in plan.problems)
    assert list(victim.parent.glob("*.corrupt*"))


@pytest.mark.slow
def test_a_cell_is_the_same_alone_in_a_stack_and_under_four_workers(tmp_path: Path) -> None:
    methods = "[naive, {proden: {epochs: 5}}, {eszsl: {candidates_as: refined}}]"
    runs = {}
    for name, more in {"stack": {}, "alone": {"memory": "1KB"}, "two": {"jobs": 2}, "four": {"jobs": 4}}.items():
        folder = tmp_path / name
        folder.mkdir()
        _, outcome, listener = go(grid_file(folder, methods), options_in(folder, **more))
        assert outcome.failed == 0, listener.records[0].error
        runs[name] = {r.hash: r for r in listener.records}
    test_images = 12 * 10
    for name in ("alone", "two", "four"):
        assert set(runs[name]) == set(runs["stack"])
        for key, record in runs[name].items():
            other = runs["stack"][key]
            assert record.candidates_hash == other.candidates_hash
            torch.testing.assert_close(
                torch.tensor(record.curves.get("loss", [])), torch.tensor(other.curves.get("loss", [])),
                atol=1e-4, rtol=1e-4,
            )  # fmt: skip
            for metric in ("T1", "seen_acc", "D"):
                assert abs(record.metrics[metric] - other.metrics[metric]) <= 2 / test_images  # type: ignore[operator]


PLUGIN = """
import os, signal
from dataclasses import dataclass
from pzsl_bench.contract import Gradient, method, soft_cross_entropy

@method("doomed", title="Doomed", family="bound")
@dataclass(frozen=True)
class Doomed(Gradient):
    def loss(self, output, batch):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def doomed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A plug-in whose training kills its own process, installed for subprocesses."""
    site = tmp_path / "site"
    facts = site / "doomed-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "doomed.py").write_text(PLUGIN)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: doomed\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[pzsl_bench.methods]\ndoomed = doomed:Doomed\n")
    return {**os.environ, "PYTHONPATH": str(site)}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "pzsl_bench", *words]


@pytest.mark.slow
def test_a_killed_worker_costs_its_own_cells_only(tmp_path: Path, doomed: dict[str, str]) -> None:
    grid = grid_file(tmp_path, "[clip_zero_shot, doomed, {proden: {epochs: 2}}]")
    words = command("run", "--grid", str(grid), "--jobs", "2", "--no-mlflow", "--device", "cpu")
    done = subprocess.run(words, cwd=tmp_path, env=doomed, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1, done.stderr
    states = [Record.model_validate_json(p.read_text()) for p in (tmp_path / "results" / "records").rglob("*.json")]
    assert {r.method: r.status for r in states} == {
        "clip_zero_shot": Status.DONE,
        "proden": Status.DONE,
        "doomed": Status.FAILED,
    }
    assert len(states) == 12


@pytest.mark.slow
def test_a_run_that_is_killed_loses_no_finished_record(tmp_path: Path) -> None:
    methods = "[clip_zero_shot, {proden: {epochs: [1, 2, 3, 4, 600]}}]"
    grid = grid_file(tmp_path, methods)
    words = command("run", "--grid", str(grid), "--no-mlflow", "--device", "cpu")
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    records = tmp_path / "results" / "records"
    deadline = time.monotonic() + 120
    while len(list(records.rglob("*.json"))) < 12 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {p: (p.stat().st_mtime_ns, p.read_text()) for p in records.rglob("*.json")}
    assert len(before) >= 12
    assert len(before) < 24, "the run was over before it could be killed"
    again = subprocess.run(
        command("run", "--grid", str(grid), "--no-mlflow", "--device", "cpu"),
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    after = {p: (p.stat().st_mtime_ns, p.read_text()) for p in records.rglob("*.json")}
    assert len(after) == 24
    assert all(after[p] == kept for p, kept in before.items())


def test_weights_that_are_not_here_block_their_cells_and_not_the_plan(tmp_path: Path) -> None:
    grid = grid_file(tmp_path, more="encoders: [none, 'ViT-B-32:/nowhere/weights.pt']\n")
    plan = make_plan(load_grid(str(grid), []), options_in(tmp_path))
    states = {p.cell.encoder: p.state for p in plan.cells}
    assert states == {"none": State.MISSING, "ViT-B-32:/nowhere/weights.pt": State.BLOCKED}
    assert any("/nowhere/weights.pt" in problem for problem in plan.problems)
    assert len(plan.todo()) == 8


def test_an_option_that_is_no_device_or_no_size_is_told_in_words(tmp_path: Path) -> None:
    grid = grid_file(tmp_path)
    for words, reason in ((["--device", "tpu"], "cuda:1"), (["--memory", "lots"], "4GB"), (["--jobs", "0"], "jobs")):
        done = subprocess.run(
            command("run", "--grid", str(grid), *words), cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2, done.stderr
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_an_encoder_that_cannot_be_used_blocks_its_own_cells_only(tmp_path: Path) -> None:
    grid = grid_file(tmp_path, "[clip_zero_shot]", f"encoders: ['none', 'ViT-B-32:{tmp_path}/weights.pt']\n")
    (tmp_path / "weights.pt").write_bytes(b"these are no weights")
    plan = make_plan(load_grid(str(grid), []), options_in(tmp_path))
    listener = Listening()
    outcome = execute(plan, options_in(tmp_path), listener)
    assert (outcome.done, outcome.blocked) == (4, 4)
    assert any("left out" in note for note in listener.notes)


def test_a_method_that_reads_names_is_left_out_where_texts_come_ready_made(tmp_path: Path) -> None:
    plan, outcome, listener = go(grid_file(tmp_path, "[coop, clip_zero_shot]"), options_in(tmp_path))
    assert (outcome.done, outcome.failed) == (4, 0)
    assert {r.method for r in listener.records} == {"clip_zero_shot"}
    assert [p for p in plan.problems if "coop needs the text tower of an encoder" in p]


def test_a_tower_that_cannot_be_had_blocks_only_those_who_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(*rest: object, **more: object) -> Encoded:
        return Encoded(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), 1.0, "", ())

    def refuse(*_: object) -> None:
        raise UserError("the tower is of another kind")

    monkeypatch.setattr("pzsl_bench.running.preparation.encode", fake)
    monkeypatch.setattr("pzsl_bench.running.preparation.ClipTower.__init__", refuse)
    monkeypatch.setattr(run, "_results", lambda work, *rest: iter(()))
    grid, listener = grid_file(tmp_path, "[coop, clip_zero_shot]"), Listening()
    grid.write_text(grid.read_text().replace(DATA, "shapes"))
    outcome = execute(make_plan(load_grid(str(grid), []), options_in(tmp_path)), options_in(tmp_path), listener)
    assert outcome.blocked == 4
    assert listener.notes == ["text tower of shapes with embedded left out: the tower is of another kind"]


VIEWED = "{crdpll: {epochs: 1, views: crops}}"


def test_methods_that_live_on_views_get_those_of_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor | None] = []
    original = Problems.studies

    def watching(problems: Problems, *rest: Any) -> Studies:
        studies = original(problems, *rest)
        seen.append(studies.views)
        return studies

    monkeypatch.setattr(Problems, "studies", watching)
    _, outcome, listener = go(grid_file(tmp_path, f"[{VIEWED}, clip_zero_shot]"), options_in(tmp_path))
    assert (outcome.done, outcome.failed) == (8, 0), listener.records[0].error
    assert {"views" in r.identity for r in listener.records if r.method == "crdpll"} == {True}
    assert {"views" in r.identity for r in listener.records if r.method == "clip_zero_shot"} == {False}
    views, features = seen[0], load_problem(DATA, "none", None, cache_root(None), "cpu").train
    assert views is not None and views.shape == (VIEWS, *features.shape)
    assert (views * features).sum(-1).mean() > (views * features.roll(1, 0)).sum(-1).mean() + 0.1
    assert {v is None for v in seen} == {True, False}


def test_another_recipe_for_views_makes_only_their_records_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = grid_file(tmp_path, f"[{VIEWED}, {{crdpll: {{epochs: 1, views: noise}}}}]")
    options = options_in(tmp_path)
    go(grid, options)
    monkeypatch.setattr("pzsl_bench.planning.identity.RECIPE", {"name": "another"})
    states = {p.method.views: p.state for p in make_plan(load_grid(str(grid), []), options).cells}  # type: ignore[attr-defined]
    assert states == {"crops": State.STALE, "noise": State.DONE}


@pytest.mark.parametrize("methods", [f"[clip_zero_shot, {VIEWED}]", "[clip_zero_shot]", f"[{VIEWED}]"])
def test_views_are_encoded_once_before_the_work_and_only_if_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, methods: str
) -> None:
    asked: list[bool] = []

    def fake(source: Source, name: str, *rest: object, views: bool, **more: object) -> Encoded:
        asked.append(views)
        if views:
            raise UserError("the weights are gone")
        return Encoded(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), 1.0, "", (5,))

    monkeypatch.setattr("pzsl_bench.running.preparation.encode", fake)
    monkeypatch.setattr(run, "_results", lambda work, *rest: iter(()))
    grid, listener = grid_file(tmp_path, methods), Listening()
    grid.write_text(grid.read_text().replace(DATA, "shapes"))
    plan = make_plan(load_grid(str(grid), []), options_in(tmp_path))
    if "zero_shot" not in methods:
        with pytest.raises(UserError, match="weights are gone"):
            execute(plan, options_in(tmp_path), listener)
        assert asked == [True]
        return
    outcome = execute(plan, options_in(tmp_path), listener)
    assert asked == [False, True][: 1 + (VIEWED in methods)]
    assert outcome.blocked == 4 * (VIEWED in methods)
    notes = ["shapes: 1 unreadable image(s) left out"]
    if VIEWED in methods:
        notes.append("views of shapes with embedded left out: the weights are gone")
    assert listener.notes == notes


def test_a_dataset_that_fails_blocks_its_views_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def fake(*rest: object, views: bool, **more: object) -> Encoded:
        asked.append(views)
        raise UserError("the disk is gone")

    monkeypatch.setattr("pzsl_bench.running.preparation.encode", fake)
    plan = make_plan(load_grid(str(grid_file(tmp_path, f"[clip_zero_shot, {VIEWED}]")), []), options_in(tmp_path))
    with pytest.raises(UserError, match="disk is gone"):
        execute(plan, options_in(tmp_path), Listening())
    assert asked == [False]


CALIBRATED = ("U_cal", "S_cal", "H_cal", "gamma")


def few(folder: Path, images: int, split: tuple[int, ...] = (0, 1, 2), validation: tuple[int, ...] = (6, 7)) -> Path:
    """A grid of one features file: eight seen classes of so many training images, four unseen ones, and its folder."""
    rng = np.random.default_rng(images)
    texts = rng.normal(size=(12, 16)).astype(np.float32)
    parts = [(k, 0) for k in range(8) for _ in range(images)]
    parts += [(k, 1) for k in range(8) for _ in range(4)] + [(k, 2) for k in range(8, 12) for _ in range(4)]
    labels, part = np.array([pair for pair in parts if pair[1] in split]).T
    np.savez(
        folder / "few.npz",
        features=(texts[labels] + 0.8 * rng.normal(size=(len(labels), 16))).astype(np.float32),
        labels=labels,
        class_names=np.array([f"class {k}" for k in range(12)]),
        texts=texts,
        split=part,
        validation=np.array(validation),
    )
    grid = folder / "few.yaml"
    grid.write_text(
        "datasets: ['features:few']\nambiguities: [flip]\nrates: [0.3]\nseeds: 2\nmethods:\n"
        "  clip_zero_shot: {}\n  eszsl: {}\n  proden: {epochs: 2}\n"
    )
    return grid


def records_of(grid: Path, folder: Path) -> list[Record]:
    plan, outcome, listener = go(grid, options_in(folder, data=folder))
    assert outcome.done == len(plan.cells) and not outcome.failed, [record.error for record in listener.records]
    return listener.records


@pytest.mark.parametrize("images", [1, 2, 3])
def test_with_two_images_a_class_there_is_a_rehearsal_and_with_one_there_is_none(tmp_path: Path, images: int) -> None:
    for record in records_of(few(tmp_path, images), tmp_path):
        H, calibrated = record.metrics["H"], [record.metrics[name] for name in CALIBRATED]
        assert H is not None
        if images == 1:
            assert calibrated == [None] * 4
            assert set(record.absent) == set(CALIBRATED)
            assert record.absent["H_cal"].startswith(
                "no rehearsal can be held, since no class that is trained on has a"
            )
        else:
            assert all(value is not None and np.isfinite(value) for value in calibrated)
            assert record.absent == {}


def test_one_validation_class_shows_no_spread_so_that_nothing_is_calibrated_by_it(tmp_path: Path) -> None:
    for record in records_of(few(tmp_path, 4, validation=(7,)), tmp_path):
        assert record.metrics["gamma"] == 0
        assert record.metrics["H_cal"] == pytest.approx(record.metrics["H"], abs=1e-6)


def test_an_exam_without_seen_images_says_what_it_cannot_tell(tmp_path: Path) -> None:
    absent = {"S", "H", "AUSUC", "S_cal", "H_cal", "seen_acc", "accuracy"}
    for record in records_of(few(tmp_path, 5, split=(0, 2)), tmp_path):
        assert {name for name, value in record.metrics.items() if value is None} == set(record.absent) == absent
        assert set(record.absent.values()) == {"no test image is of a seen class"}


def test_an_exam_without_unseen_images_says_so() -> None:
    problem = toy_problem()
    rows = problem.test_truth < problem.seen
    closed = replace(problem, test=problem.test[torch.from_numpy(rows)], test_truth=problem.test_truth[rows])
    metrics = {"T1": None, "H_cal": None, "seen_acc": 0.5}
    why = "no test image is of an unseen class"
    assert worker.why_absent(metrics, closed.exam(), closed) == {"T1": why, "H_cal": why}
    # Where the training of a rehearsal diverged there is no bias either, but that is no fact of the data.
    assert worker.why_absent(metrics, problem.exam(), problem) == {}
    leaking = replace(problem, untunable="it leaks")
    assert worker.why_absent(metrics, problem.exam(), leaking) == {"H_cal": "no rehearsal can be held, since it leaks"}


@pytest.mark.parametrize(("rule", "runs"), [("rehearsal", False), ("validation", True)])
def test_draws_are_not_compared_by_rehearsals_that_cannot_be_held(tmp_path: Path, rule: str, runs: bool) -> None:
    grid = few(tmp_path, 1)
    grid.write_text(grid.read_text().replace("  clip_zero_shot: {}\n", "") + f"select: {rule}\ntune: 2\n")
    options = options_in(tmp_path, data=tmp_path)
    plan = make_plan(load_grid(str(grid), []), options)
    if runs:
        # T1 among the acting classes takes one image each, and leaves nothing to calibrate by.
        records = records_of(grid, tmp_path)
        assert all(record.metrics["H_cal"] is None and record.trials[0].value is not None for record in records)
        return
    assert {planned.state for planned in plan.cells} == {State.BLOCKED} and not plan.todo()
    (why,) = plan.problems
    assert why.startswith("select: rehearsal cannot choose anything on features:few: no class that is trained on has a")
