"""Classes and tags in one harness: what goes with what, and a whole run on images with tags."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.cli.main import app
from pzsl_bench.data.source import find_dataset
from pzsl_bench.planning.grid import load_grid
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.plan import Plan, State, make_plan

TAGS = "synthetic:tags:seen=6:unseen=3:dim=16:per_class=10:test=8"
CLASSES = "synthetic:seen=6:unseen=3:dim=16:per_class=10:test=8"
GRID = """
name: small
datasets: [{datasets}]
ambiguities: [{ambiguities}]
rates: [0.3]
seeds: 2
methods: [{methods}]
"""


def grid_file(folder: Path, datasets: str, ambiguities: str, methods: str, more: str = "") -> str:
    path = folder / "small.yaml"
    path.write_text(GRID.format(datasets=datasets, ambiguities=ambiguities, methods=methods) + more, encoding="utf-8")
    return str(path)


def plan_of(folder: Path, datasets: str, ambiguities: str, methods: str, more: str = "") -> Plan:
    grid = load_grid(grid_file(folder, datasets, ambiguities, methods, more))
    return make_plan(grid, Options(results=folder / "results"))


def call(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize(
    ("datasets", "ambiguities", "methods", "more", "reason"),
    [
        (CLASSES, "flip, rps", "naive", "", "ambiguity 'rps' is for images with several tags, but the datasets of"),
        (TAGS, "rps, pair", "tag_bce", "", "use one of candidates, candidates_near, fpc, rps, single_positive"),
        (TAGS, "rps", "tag_bce, proden", "", "method 'proden' is for images of one class each, but"),
        (CLASSES, "flip", "tag_bce", "", "method 'tag_bce' is for images with several tags, but"),
        (TAGS, "rps", "tag_bce", "select: covering", "select: covering compares classes"),
        (TAGS, "rps", "tag_bce", "select: rehearsal\ntune: 2", "select: rehearsal compares classes"),
    ],
)
def test_what_goes_with_no_dataset_of_a_grid_is_a_mistake(
    tmp_path: Path, datasets: str, ambiguities: str, methods: str, more: str, reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        plan_of(tmp_path, datasets, ambiguities, methods, more)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_in_a_grid_of_both_tasks_cells_that_do_not_fit_are_left_out_and_told(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, f"{TAGS}, {CLASSES}", "rps, flip", "clip_zero_shot, tag_bce, naive")
    todo = {(p.cell.dataset, p.cell.ambiguity, p.cell.method) for p in plan.cells if p.state is State.MISSING}
    assert todo == {
        (TAGS, "rps", "clip_zero_shot"),
        (TAGS, "rps", "tag_bce"),
        (CLASSES, "flip", "clip_zero_shot"),
        (CLASSES, "flip", "naive"),
    }
    reason = f"naive is for images of one class each; {TAGS} has images with several tags"
    assert reason in plan.problems
    assert len(plan.problems) == len(set(plan.problems)) == 4


def test_all_methods_are_all_that_go_with_a_dataset_of_the_grid(tmp_path: Path) -> None:
    def rows(datasets: str) -> set[str]:
        path = grid_file(tmp_path, datasets, "rps" if datasets == TAGS else "flip", "naive")
        text = Path(path).read_text(encoding="utf-8").replace("[naive]", "all")
        Path(path).write_text(text, encoding="utf-8")
        return {cell.method for cell in load_grid(path).cells()}

    tags, classes = rows(TAGS), rows(CLASSES)
    assert {"tag_bce", "clip_zero_shot"} <= tags and "proden" not in tags
    assert {"proden", "clip_zero_shot"} <= classes and "tag_bce" not in classes
    assert rows(f"{TAGS}, {CLASSES}") == tags | classes


@pytest.mark.parametrize("name", ["shapes", "scenes", "synthetic", "synthetic:tags"])
def test_a_dataset_says_beforehand_what_it_has_when_it_is_opened(name: str) -> None:
    assert find_dataset(name).task == find_dataset(name).open().task


def test_a_task_is_in_the_identity_of_tags_only(tmp_path: Path) -> None:
    [tags, *_] = plan_of(tmp_path, TAGS, "rps", "clip_zero_shot").cells
    [classes, *_] = plan_of(tmp_path, CLASSES, "flip", "clip_zero_shot").cells
    extra = {"task", "tag_metrics", "top"}
    assert tags.identity.keys() - classes.identity.keys() == extra
    assert tags.identity["top"] == [3, 5]
    # But for the version of the protocol, cells of single labels have the names that they had before there were tags.
    assert (
        identity_hash(classes.identity | {"protocol": 1})
        == "91bc1774b7a3f6727c7c78a886b5cbae6e7fb1cc3ec892f28fed1a95a4c36018"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run through the command, with its records, tables and MLflow."""
    folder = tmp_path_factory.mktemp("tags")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        more = "include:\n  - {ambiguity: fpc, rate: 4}\n  - {ambiguity: candidates, rate: [1, 2]}\n"
        grid_file(folder, TAGS, "rps", "clip_zero_shot, {tag_bce: {epochs: 2}}", more)
        result = call("run", "--grid", "small.yaml", "--device", "cpu")
        assert result.exit_code == 0, result.output
        (folder / "output.txt").write_text(result.output, encoding="utf-8")
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "results/records").rglob("*.json")]


def test_a_run_on_tags_leaves_records_with_their_metrics(finished: Path) -> None:
    found = records(finished)
    assert len(found) == 2 * 2 * 4
    assert all(record["status"] == "done" for record in found)
    for record in found:
        assert {"mAP_zsl", "mAP_gzsl", "mAP_train", "F1_at_3_zsl", "mAP_zsl_sdl"} <= record["metrics"].keys()
        assert not {"T1", "H", "accuracy", "D"} & record["metrics"].keys()
        assert 0 < record["metrics"]["mAP_gzsl"] <= 1


def test_all_methods_are_told_the_same_of_tags(finished: Path) -> None:
    sets: dict[tuple[Any, ...], set[str]] = {}
    for record in records(finished):
        place = record["ambiguity"], record["rate"], record["seed"]
        sets.setdefault(place, set()).add(record["candidates_hash"])
    assert all(len(names) == 1 for names in sets.values())
    assert len({name for names in sets.values() for name in names}) == len(sets)


def test_the_tables_of_a_run_on_tags_are_those_of_tags(finished: Path) -> None:
    names = {path.name for path in (finished / "results/tables").iterdir()}
    wanted = ("mAP_zsl", "mAP_gzsl", "F1_at_3_zsl", "F1_at_3_gzsl", "mAP_seen")
    assert names == {f"small-{metric}.{end}" for metric in wanted for end in ("md", "tex")}
    output = (finished / "output.txt").read_text(encoding="utf-8")
    assert "Mean average precision among unseen tags (mAP, ZSL, preset lesa), %" in output
    assert "CLIP zero-shot" in output


@pytest.mark.parametrize("fmt", ["text", "markdown", "latex", "csv"])
def test_any_metric_of_tags_can_be_tabulated(finished: Path, fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    shown = call("table", "--grid", "small.yaml", "--metric", "F1_at_5_gzsl_sdl", "--format", fmt)
    assert shown.exit_code == 0, shown.output
    assert ("F1_at_5_gzsl_sdl" if fmt == "csv" else "F1@5, GZSL, preset sdl") in shown.output
    default = call("table", "--grid", "small.yaml", "--format", fmt).output
    assert ("mAP_zsl" if fmt == "csv" else "preset lesa") in default


def test_rows_of_tags_have_columns_of_tags(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    rows = list(csv.DictReader(io.StringIO(call("export", "--grid", "small.yaml").stdout)))
    assert len(rows) == 16
    assert all(float(row["R_at_5_seen"]) > 0 for row in rows)
    assert "H" not in rows[0]


def test_mlflow_holds_the_metrics_of_tags(finished: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.utils.validation import _validate_metric_name

    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=1000)
    cells = [run for run in runs if run.data.tags.get("pzsl.kind") == "cell"]
    assert len(cells) == 16
    assert all("mAP_zsl" in run.data.metrics and "F1_at_3_gzsl_sdl" in run.data.metrics for run in cells)
    for name in {name for run in runs for name in run.data.metrics}:
        # What a tracking server would refuse.
        _validate_metric_name(name)
    summaries = [run for run in runs if run.data.tags.get("pzsl.kind") == "summary"]
    assert summaries and all("mAP_gzsl.mean" in run.data.metrics for run in summaries)


def test_the_mean_over_last_epochs_goes_with_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid_file(tmp_path, TAGS, "rps", "{tag_bce: {epochs: 3}}", "select: mean2\n")
    result = call("run", "--grid", "small.yaml", "--device", "cpu", "--no-mlflow")
    assert result.exit_code == 0, result.output
    assert all(record["metrics"]["mAP_zsl"] > 0 for record in records(tmp_path))


def test_what_is_asked_is_told_by_list_and_show() -> None:
    lines = {line.split()[0]: line for line in call("list", "methods").stdout.splitlines()}
    assert lines["tag_bce"].endswith("tags") and lines["clip_zero_shot"].endswith("classes, tags")
    assert "tags" not in lines["proden"]
    assert "images with several tags" in call("show", "rps").stdout
    assert "images with several tags" in call("show", TAGS).stdout
    assert "images of one class each and images with several tags" in call("show", "clip_zero_shot").stdout
    assert "images of one class each" in call("show", "synthetic").stdout
