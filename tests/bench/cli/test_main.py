from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL.Image import new
from typer.testing import CliRunner, Result

from pzsl_bench import __version__
from pzsl_bench.base import randomness
from pzsl_bench.base.errors import MissingDataError
from pzsl_bench.cli.main import app, main  # noqa: F401  (main is run in a process of its own)
from pzsl_bench.data.source import DATASETS, Dataset, Source, dataset

COMMANDS = (
    *("run", "plan", "reproduce", "table", "export", "list", "show", "retrieve", "doctor", "sync", "ui", "synonyms"),
)
# Not pydantic: typer itself checks arguments with it.
HEAVY = {"torch", "numpy", "pandas", "mlflow", "open_clip", "scipy", "yaml", "rich"}
PROGRAM = [sys.executable, "-m", "pzsl_bench"]
GRID = """
about: a grid for tests
datasets: [toy]
ambiguities: [flip]
rates: [0.1, 0.4]
seeds: 2
methods: [clip_zero_shot, naive: {epochs: 2}]
"""


class Toy(Dataset):
    """Clusters around their class texts."""

    def open(self) -> Source:
        if "gone" in self.variants:
            raise MissingDataError("toy data is not here; get it with: make toy")
        rng = np.random.default_rng(randomness.key("toy") % 2**32)
        texts = rng.normal(size=(9, 12)).astype(np.float32)
        labels = np.repeat(np.arange(9), 12)
        features = (texts[labels] + 0.4 * rng.normal(size=(len(labels), 12))).astype(np.float32)
        return Source(
            labels=labels,
            is_test=np.arange(len(labels)) % 2 == 0,
            class_names=tuple(f"class {k}" for k in range(9)),
            seen=(0, 1, 2, 3, 4, 5),
            unseen=(6, 7, 8),
            validation=(4, 5),
            checksum="toy-1",
            features=features,
            texts=texts,
            scale=20.0,
        )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory with a toy dataset and a small grid."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "tiny.yaml").write_text(GRID, encoding="utf-8")
    dataset("toy", title="Toy", variants=["gone"])(Toy)
    yield tmp_path
    DATASETS.found.pop("toy")


def call(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_tiny(*words: str) -> Result:
    return call("run", "--grid", "tiny.yaml", "--no-mlflow", "--device", "cpu", *words)


def records(folder: Path) -> dict[Path, dict[str, Any]]:
    return {p: json.loads(p.read_text()) for p in (folder / "results" / "records").rglob("*.json")}


@pytest.mark.parametrize("command", [["--help"], *([c, "--help"] for c in COMMANDS), ["--version"]])
def test_help_shows_examples_and_answers_at_once_as_nothing_heavy_is_imported(command: list[str]) -> None:
    code = (
        "import sys, pzsl_bench.cli.main as cli\n"
        f"try: cli.app({command!r}, prog_name='pzsl-bench')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
    if command[0] in COMMANDS:
        assert "Usage:" in done.stdout and "Examples:" in done.stdout
        assert f"pzsl-bench {command[0]}" in done.stdout


def test_python_runs_the_package_as_the_command() -> None:
    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == f"pzsl-bench {__version__}"


def test_every_command_is_listed_in_the_help_with_a_whole_sentence() -> None:
    text = call("--help").stdout
    for command in COMMANDS:
        line = re.search(rf"^  {command}  +(.+)$", text, re.MULTILINE)
        assert line is not None, command
        assert not line[1].endswith("...")


def test_version_is_the_packages() -> None:
    assert call("--version").stdout.strip() == f"pzsl-bench {__version__}"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["run", "--grid", "smoek"], "did you mean 'smoke'"),
        (["plan", "--grid", "tiny.yml"], "no grid file tiny.yml"),
        (["run", "--grid", "."], "is a directory"),
        (["run", "--grid", "tiny.yaml", "--set", "rates=[3]"], "3 is not between 0 and 1"),
        (["run", "--grid", "tiny.yaml", "--set", "methods=[naiv]"], "did you mean 'naive'"),
        (["run", "--grid", "tiny.yaml", "--set", "rates"], "KEY=VALUE"),
        (["run", "--grid", "tiny.yaml", "--memory", "lots"], "lots"),
        (["run", "--grid", "tiny.yaml", "--device", "gpu"], "gpu"),
        (["run", "--grid", "tiny.yaml", "--results", "tiny.yaml"], "is a file"),
        (["table", "--grid", "tiny.yaml"], "pzsl-bench run --grid tiny.yaml"),
        (["show", "prodn"], "did you mean 'proden'"),
        (["show", "shapes:nothing"], "nothing"),
        (["ui"], "pzsl-bench sync"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(words: list[str], reason: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert reason in lines[0]
    assert not result.stdout


@pytest.mark.parametrize(
    "words",
    [["run"], ["rnu"], ["run", "--grid", "smoke", "--jobs", "0"], ["list", "method"], ["table", "-f", "x"]],
)
def test_wrong_usage_is_exit_code_2_without_a_traceback(words: list[str]) -> None:
    done = subprocess.run([*PROGRAM, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Error" in done.stderr


def test_plan_and_dry_run_count_cells_and_compute_nothing(folder: Path) -> None:
    result = call("plan", "--grid", "tiny.yaml", "--cells")
    assert result.exit_code == 0
    assert "8 cells" in result.stdout
    assert "8 missing" in result.stdout
    assert "toy/none/flip-0.4/naive(epochs=2)/seed 1" in result.stdout
    assert "in 2 stacks" in run_tiny("--dry-run").stdout
    assert not (folder / "results").exists()


def test_a_run_leaves_records_tables_and_its_grid_and_a_second_finds_nothing_to_do(folder: Path) -> None:
    result = run_tiny()
    assert result.exit_code == 0, result.stderr
    assert "8 of 8 cells, 0 failed" in result.stdout
    assert "Naive" in result.stdout
    assert len(records(folder)) == 8
    for metric in ("H", "T1"):
        for suffix in ("md", "tex"):
            assert "CLIP zero-shot" in (folder / f"results/tables/tiny-{metric}.{suffix}").read_text("utf-8")
    kept = folder / "results/grids/tiny.yaml"
    assert call("plan", "--grid", str(kept)).stdout.count("8 done") == 1

    before = {path: path.stat().st_mtime_ns for path in records(folder)}
    again = run_tiny()
    assert again.exit_code == 0
    assert "nothing to do: 8 done" in again.stdout
    assert "pzsl-bench table --grid tiny.yaml" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in records(folder)} == before


def test_a_run_that_lost_its_tables_writes_them_again(folder: Path) -> None:
    run_tiny()
    lost = folder / "results/tables/tiny-H.md"
    text = lost.read_text("utf-8")
    lost.unlink()
    run_tiny()
    assert lost.read_text("utf-8") == text


def test_tables_follow_the_selection_that_ran_last(folder: Path) -> None:
    run_tiny()
    both = (folder / "results/tables/tiny-H.md").read_text("utf-8")
    result = run_tiny("--set", "rates=0.1")
    assert "nothing to do" in result.stdout
    assert "table --grid results/grids/tiny.yaml" in result.stdout
    assert (folder / "results/tables/tiny-H.md").read_text("utf-8") != both


def test_a_run_computes_only_what_is_missing(folder: Path) -> None:
    run_tiny("--set", "seeds=1")
    assert "4 cells to compute" in run_tiny().stdout
    victim = sorted(records(folder))[0]
    victim.unlink()
    assert "1 cells to compute" in run_tiny().stdout
    assert "8 cells to compute" in run_tiny("--fresh").stdout


def test_a_failing_cell_is_told_at_once_and_ends_in_exit_code_1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pzsl_bench.contract import METHODS

    naive = METHODS.get("naive")

    def broken(self: object, output: object, batch: object) -> None:
        raise ArithmeticError("the loss is on strike\nsecond line")

    with monkeypatch.context() as patch:
        patch.setattr(naive, "loss", broken)
        result = run_tiny()
    assert result.exit_code == 1
    where = "failed: toy/flip-0.1/naive(epochs=2)/seed 0"
    assert f"{where}: ArithmeticError: the loss is on strike\n" in result.stdout
    assert "4 done, 4 failed" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert "CLIP zero-shot" in (folder / "results/tables/tiny-H.md").read_text("utf-8")

    later = run_tiny()
    assert later.exit_code == 0
    assert "--retry-failed" in later.stdout
    mended = run_tiny("--retry-failed")
    assert mended.exit_code == 0
    assert "4 cells to compute" in mended.stdout


def test_a_run_in_which_everything_fails_still_ends_with_a_table_and_exit_code_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pzsl_bench.contract import METHODS

    monkeypatch.setattr(METHODS.get("naive"), "loss", lambda *_: 1 / 0)
    result = run_tiny("--set", "methods=[naive]")
    assert result.exit_code == 1, result.stderr
    assert result.stdout.count("ZeroDivisionError: division by zero") == 4
    assert "Naive" in (folder / "results/tables/tiny-H.md").read_text("utf-8")


def test_missing_data_blocks_its_cells_and_no_others(folder: Path) -> None:
    result = run_tiny("--set", "datasets=[toy, 'toy:gone']")
    assert result.exit_code == 1
    assert "warning: toy data is not here; get it with: make toy" in result.stderr
    assert "8 cells are blocked" in result.stderr
    assert len(records(folder)) == 8
    alone = run_tiny("--set", "datasets='toy:gone'")
    assert alone.exit_code == 2
    assert "make toy" in alone.stderr


def test_a_corrupt_record_is_set_aside_and_its_cell_computed_again(folder: Path) -> None:
    run_tiny()
    victim = sorted(records(folder))[0]
    victim.write_text(victim.read_text()[:100])
    result = run_tiny()
    assert result.exit_code == 0
    assert "warning: " in result.stderr
    assert "1 cells to compute" in result.stdout
    assert len(records(folder)) == 8
    assert list(victim.parent.glob("*corrupt*"))


def test_table_prints_every_format_and_writes_files(folder: Path) -> None:
    run_tiny()
    text = call("table", "--grid", "tiny.yaml", "--metric", "T1")
    assert text.exit_code == 0, text.stderr
    assert "Naive" in text.stdout
    assert "\\toprule" in call("table", "--grid", "tiny.yaml", "--format", "latex").stdout
    assert "|" in call("table", "--grid", "tiny.yaml", "--format", "markdown").stdout
    assert call("table", "--grid", "tiny.yaml", "--out", "deep/er/h.txt").exit_code == 0
    assert (folder / "deep/er/h.txt").read_text("utf-8") == call("table", "--grid", "tiny.yaml").stdout
    wrong = call("table", "--grid", "tiny.yaml", "--metric", "seen_ac")
    assert wrong.exit_code == 2
    assert "seen_acc" in wrong.stderr


def test_table_tells_what_it_lacks(folder: Path) -> None:
    run_tiny("--set", "seeds=1")
    result = call("table", "--grid", "tiny.yaml")
    assert result.exit_code == 0
    assert "4 of 8 cells have no result yet" in result.stderr
    assert "(1/2)" in result.stdout


def test_export_prints_one_tidy_row_per_record(folder: Path) -> None:
    run_tiny()
    rows = list(csv.DictReader(io.StringIO(call("export", "--grid", "tiny.yaml").stdout)))
    assert len(rows) == 8
    head = (
        "dataset encoder ambiguity rate noise method seed status T1 U S H seen_acc accuracy D seconds candidates_hash"
    )
    for column in re.findall(r"\w+", head):
        assert column in rows[0]
    found = json.loads(call("export", "--grid", "tiny.yaml", "--format", "json").stdout)
    assert [r["candidates_hash"] for r in found] == [r["candidates_hash"] for r in rows]
    assert {r["method"] for r in found} == {"clip_zero_shot", "naive(epochs=2)"}
    for got, row in zip(found, rows, strict=True):
        assert got["H"] == pytest.approx(float(row["H"]), abs=1e-12)


def test_export_of_nothing_is_empty_and_says_so() -> None:
    result = call("export", "--grid", "tiny.yaml", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == []
    assert "8 of 8 cells have no result yet" in result.stderr


def test_list_shows_one_family_if_wanted() -> None:
    every, bounds = call("list", "methods").stdout, call("list", "--family", "bound").stdout
    assert [line.split()[0] for line in bounds.splitlines()] == ["naive", "oracle"]
    assert len(every.splitlines()) > 50
    wrong = call("list", "methods", "--family", "plk")
    assert (wrong.exit_code, wrong.stderr) == (2, "error: unknown family 'plk'; did you mean 'pll'?\n")
    assert "only methods have families" in call("list", "grids", "--family", "pll").stderr


def test_list_and_show_know_every_kind() -> None:
    everything = call("list").stdout
    for name in ("proden", "eszsl", "toy", "quick", "semantic"):
        assert re.search(rf"^  {name}\b", everything, re.MULTILINE)
    assert "proden" not in call("list", "grids").stdout
    shown = call("show", "eszsl").stdout
    for part in (
        "Romera-Paredes",
        "version",
        "reg_feature",
        "0.001 to 1000",
        "uniform|random|refined",
        "centred",
    ):
        assert part in shown
    assert "toy:gone" in call("show", "toy").stdout
    assert "similarity" in call("show", "semantic").stdout
    assert "cells:" in call("show", "quick").stdout
    assert re.search(r"cells: +8\b", call("show", "tiny.yaml").stdout)


def test_a_broken_plug_in_is_reported_and_the_rest_listed(folder: Path) -> None:
    site = folder / "site"
    info = site / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pzsl_bench.methods]\nwonky = wonky_module:Wonky\n")
    (site / "wonky_module.py").write_text("raise RuntimeError('no such luck')\n")
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([*PROGRAM, "list", "methods"], capture_output=True, text=True, env=env)
    assert done.returncode == 0
    assert "proden" in done.stdout
    assert "no such luck" in done.stderr
    assert "wonky" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_run_says_how_to_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pzsl_bench.running.run

    real = pzsl_bench.running.run.run_stack
    stacks = 0

    def once(*args: Any, **named: Any) -> Any:
        nonlocal stacks
        stacks += 1
        if stacks == 2:
            raise KeyboardInterrupt
        return real(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(pzsl_bench.running.run, "run_stack", once)
        result = run_tiny("--fresh")
    assert result.exit_code == 130
    assert "pzsl-bench run --grid tiny.yaml --no-mlflow --device cpu" in result.stderr
    assert "--fresh" not in result.stderr
    assert len(records(folder)) == 4
    assert (folder / "results/tables/tiny-H.md").exists()
    assert "4 cells to compute" in run_tiny().stdout


@pytest.mark.slow
def test_a_real_ctrl_c_ends_with_130_and_loses_no_record(folder: Path) -> None:
    grid = GRID.replace("[toy]", "[synthetic]").replace("epochs: 2", "epochs: 3000").replace("seeds: 2", "seeds: 1")
    (folder / "long.yaml").write_text(grid)
    words = ["run", "--grid", "long.yaml", "--no-mlflow", "--device", "cpu"]
    # A shell starts background jobs with SIGINT ignored, and children inherit that.
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    ) as run:
        deadline = time.monotonic() + 120
        while len(records(folder)) < 2 and time.monotonic() < deadline and run.poll() is None:
            time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=120)
    assert run.returncode == 130, out + err
    assert "To go on: pzsl-bench run --grid long.yaml" in err
    assert "Traceback" not in err
    assert len(records(folder)) == 2
    rest = subprocess.run([*PROGRAM, "plan", "--grid", "long.yaml"], capture_output=True, text=True)
    assert "2 missing" in rest.stdout


def test_nothing_to_do_imports_neither_mlflow_nor_pandas(folder: Path) -> None:
    grid = GRID.replace("[toy]", "[synthetic]")
    (folder / "tiny.yaml").write_text(grid)
    assert run_tiny().exit_code == 0
    code = (
        "import sys, pzsl_bench.cli.main as cli\n"
        "try: cli.app(['run', '--grid', 'tiny.yaml'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(sorted({'mlflow', 'pandas', 'open_clip'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "nothing to do" in done.stdout, done.stderr
    assert done.stderr.strip() == "[]"


def runs_in_mlflow(folder: Path) -> list[tuple[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    return sorted((run.info.run_name, run.info.status) for run in runs)


@pytest.mark.slow
def test_sync_brings_a_deleted_mlflow_store_back_and_doubles_nothing(folder: Path) -> None:
    result = call("run", "--grid", "tiny.yaml", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "mlflow ui" in result.stdout
    written = runs_in_mlflow(folder)
    assert len(written) >= 8
    assert call("sync").exit_code == 0
    assert runs_in_mlflow(folder) == written

    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    (folder / "mlflow.db").unlink()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_main as test\n"
        "test.dataset('toy', title='Toy', variants=['gone'])(test.Toy)\n"
        "test.app(['sync', '--grid', 'tiny.yaml'])"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert runs_in_mlflow(folder) == written


def test_sync_without_any_run_says_what_to_do_first() -> None:
    result = call("sync")
    assert result.exit_code == 2
    assert "pzsl-bench run" in result.stderr


def test_ui_opens_the_store_of_this_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: started.append(words))
    (folder / "mlflow.db").touch()
    assert "http://127.0.0.1:5051" in call("ui", "--port", "5051").stdout
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:1")
    call("ui")
    expected = ["-m", "mlflow", "ui", "--backend-store-uri"]
    assert started[0][1:] == [*expected, f"sqlite:///{folder.resolve()}/mlflow.db", "--port", "5051"]
    assert started[1][1:] == [*expected, "http://elsewhere:1", "--port", "5000"]


def test_doctor_names_everything_and_a_fix_for_what_is_missing() -> None:
    result = call("doctor")
    assert result.exit_code in (0, 1)
    lines = result.stdout.splitlines()
    assert any("torch" in line for line in lines)
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("BAD"):
            assert below.startswith("      ")
    assert (result.exit_code == 1) == any(line.startswith("BAD") for line in lines)


def test_ctrl_c_while_planning_ends_with_130_and_the_command_to_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    import pzsl_bench.planning.plan

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pzsl_bench.planning.plan, "make_plan", stop)
    result = run_tiny("--set", "rates=[0.1, 0.2]")
    assert result.exit_code == 130
    assert "pzsl-bench run --grid tiny.yaml --no-mlflow --device cpu --set 'rates=[0.1, 0.2]'" in result.stderr


@pytest.mark.slow
class Pictures(Dataset):
    """A few images of one colour each."""

    default_encoder = "embedded"

    def open(self) -> Source:
        labels = np.repeat(np.arange(4), 6)
        return Source(
            labels=labels,
            is_test=np.arange(len(labels)) % 2 == 0,
            class_names=("red circle", "blue circle", "red square", "blue square"),
            seen=(0, 1, 2),
            unseen=(3,),
            validation=(2,),
            checksum="pictures-1",
            images=[new("RGB", (48, 48), (10 * i, 200, 90)) for i in range(len(labels))],
        )


PICTURES = """
import sys; sys.path.insert(0, sys.argv.pop(1)); import test_main as test
test.dataset("pictures", title="Pictures")(test.Pictures)
test.main()
"""


def test_a_truncated_feature_cache_is_one_line_and_made_anew(folder: Path) -> None:
    grid = GRID.replace("[toy]", "[pictures]").replace(", naive: {epochs: 2}]", "]")
    (folder / "tiny.yaml").write_text(grid, encoding="utf-8")
    words = [sys.executable, "-c", PICTURES, str(Path(__file__).parent)]
    words += ["run", "--grid", "tiny.yaml", "--no-mlflow", "--cache", "cache"]
    first = subprocess.run(words, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    (features,) = Path("cache").rglob("features.npy")
    size = features.stat().st_size
    os.truncate(features, size // 2)
    again = subprocess.run([*words, "--fresh"], capture_output=True, text=True)
    assert again.returncode == 0
    (line,) = [line for line in again.stderr.splitlines() if "damaged" in line]
    assert line.startswith("warning: feature cache")
    assert not any(text.startswith(" ") for text in again.stderr.splitlines()), "a line of our code behind the warning"
    assert features.stat().st_size == size
