"""A run over a small file of the public sets' kind, from the command line down to the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner, Result

from pzsl_bench.cli.main import app
from pzsl_bench.contract import METHODS
from pzsl_bench.data.ambiguity import mask_hash
from pzsl_bench.datasets.pll_mat import fold
from pzsl_bench.datasets.pll_mat.catalogue import SETS
from pzsl_bench.encoding.cache import cache_root
from pzsl_bench.running.opened import load_problem

EXAMPLES, CLASSES = 64, 4
FAST = "{epochs: 8, batch: 16, head: linear, lr: 0.05}"
GRID = """
datasets: ['pll_mat:fg_net']
ambiguities: [given]
rates: [0]
seeds: 10
methods: [naive: FAST, proden: FAST]
""".replace("FAST", FAST)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a grid and a data folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SETS["fg_net"].__dict__, "sha256", "")
    (tmp_path / "ages.yaml").write_text(GRID)
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(1)
    truth = np.arange(EXAMPLES) % (CLASSES - 1)
    target = np.eye(CLASSES)[truth].T
    content = {
        "data": 100 * rng.normal(size=(EXAMPLES, 6)) + 300 * np.eye(CLASSES, 6)[truth],
        "target": target,
        "partial_target": np.maximum(target, rng.random((CLASSES, EXAMPLES)) < 0.3),
    }
    scipy.io.savemat(tmp_path / "data" / "FG-NET.mat", content)
    return tmp_path


def data() -> tuple[str, str]:
    """Whole paths, since opened datasets are remembered by theirs."""
    return "--data", str(Path("data").resolve())


def call(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run(*words: str) -> Result:
    return call("run", "--grid", "ages.yaml", *data(), "--no-mlflow", "--device", "cpu", *words)


def records(results: Path = Path("results")) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((results / "records").rglob("*.json"))]


def test_ten_seeds_are_ten_folds_in_one_stack(folder: Path) -> None:
    result = run()
    assert result.exit_code == 0, result.stderr
    assert "Accuracy on seen classes" in result.stdout and "Harmonic" not in result.stdout
    found = records()
    assert {(r["method"], r["seed"]) for r in found} == {(m, s) for m in ("naive", "proden") for s in range(10)}
    assert {r["status"] for r in found} == {"done"} and {r["stack"] for r in found} == {10}
    for record in found:
        assert {"accuracy", "seen_acc", "D", "within_3", "within_5"} == set(record["metrics"])
    assert np.mean([r["metrics"]["accuracy"] for r in found]) > 0.5
    table = call("table", "--grid", "ages.yaml", *data(), "--metric", "accuracy", "--format", "csv").stdout
    assert "PRODEN" in table and ",10\n" in table


def test_records_come_from_the_folds_of_the_file(folder: Path) -> None:
    run()
    content = scipy.io.loadmat("data/FG-NET.mat")
    place = ("pll_mat:fg_net", "none", Path("data").resolve(), cache_root(None), "cpu")
    raw = content["data"].astype(np.float32)
    hashes = set()
    for record in records():
        seed = record["seed"]
        tested = fold("pll_mat:fg_net", EXAMPLES, seed)
        given = content["partial_target"].T[~tested] == 1
        assert record["candidates_hash"] == mask_hash(given)
        assert record["mean_candidates"] == pytest.approx(given.sum(1).mean())
        hashes.add(record["candidates_hash"])
        problem = load_problem(*place, seed)
        mean, spread = raw[~tested].mean(0), raw[~tested].std(0)
        np.testing.assert_allclose(problem.train.numpy(), (raw[~tested] - mean) / spread, atol=1e-4)
        np.testing.assert_allclose(problem.test.numpy(), (raw[tested] - mean) / spread, atol=1e-4)
        train, test = ({row.tobytes() for row in part.numpy()} for part in (problem.train, problem.test))
        assert len(train) + len(test) == EXAMPLES and not train & test
    assert len(hashes) == 10


def test_a_fold_alone_gives_what_it_gives_in_the_stack(folder: Path) -> None:
    run("--set", "seeds=3")
    run("--set", "seeds=3", "--results", "alone", "--memory", "1KB")
    together, alone = ({(r["method"], r["seed"]): r for r in records(Path(where))} for where in ("results", "alone"))
    assert {r["stack"] for r in alone.values()} == {1}
    for key, record in alone.items():
        assert record["hash"] == together[key]["hash"]
        assert record["metrics"] == pytest.approx(together[key]["metrics"], abs=1e-6)
        assert record["curves"]["loss"] == pytest.approx(together[key]["curves"]["loss"], abs=1e-4)


@pytest.mark.parametrize("name", ["flip", "flip_forced", "pair"])
def test_other_ambiguities_are_drawn_around_the_truth_of_the_fold(folder: Path, name: str) -> None:
    result = run("--set", f"ambiguities=[{name}]", "--set", "rates=[0.4]", "--set", "seeds=2")
    assert result.exit_code == 0, result.stderr
    assert len({r["candidates_hash"] for r in records()}) == 2


def test_the_oracle_learns_from_the_truth_of_its_own_fold(folder: Path) -> None:
    run("--set", f"methods=[oracle: {FAST}]")
    assert np.mean([r["metrics"]["D"] for r in records()]) > 0.9


def test_random_splits_run_too(folder: Path) -> None:
    result = run("--set", "datasets=['pll_mat:fg_net:split']", "--set", "seeds=3")
    assert result.exit_code == 0, result.stderr
    assert {r["stack"] for r in records()} == {3}


def test_a_method_without_what_it_needs_is_left_out_with_one_line_and_fails_nothing(folder: Path) -> None:
    methods = f"methods=[naive: {FAST}, clip_zero_shot: null, eszsl: {{candidates_as: [uniform, random]}}]"
    result = run("--set", methods)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("clip_zero_shot needs class texts; pll_mat:fg_net has none") == 1
    assert result.stderr.count("eszsl") == 1
    assert {r["method"] for r in records()} == {"naive"}
    plan = call("plan", "--grid", "ages.yaml", *data(), "--set", methods).stdout
    assert "30 blocked" in plan and "10 done" in plan and "nothing to do" in plan
    again = run("--set", methods)
    assert again.exit_code == 0 and "nothing to do" in again.stdout


def test_a_method_that_lives_on_crops_is_told_what_works_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS.get("naive"), "needs", property(lambda self: frozenset({"views"})))
    result = run("--set", "seeds=1")
    assert result.exit_code == 0
    assert "needs encoded crops; pll_mat:fg_net brings features only: views: noise works there" in result.stderr
    assert {r["method"] for r in records()} == {"proden"}


def test_a_grid_of_which_nothing_can_run_says_why(folder: Path) -> None:
    result = run("--set", "methods=[clip_zero_shot]")
    assert result.exit_code == 2
    assert "no cell of grid 'ages' can run: clip_zero_shot needs class texts" in result.stderr


def test_a_cosine_head_and_similar_names_need_texts(folder: Path) -> None:
    result = run("--set", "methods=[naive: {head: [cosine, linear], epochs: 1}]", "--set", "seeds=1")
    assert result.exit_code == 0
    assert "naive(epochs=1,head=cosine) needs class texts" in result.stderr
    assert [r["settings"]["head"] for r in records()] == ["linear"]
    names = call("plan", "--grid", "ages.yaml", *data(), "--set", "ambiguities=[semantic]")
    assert "ambiguity 'semantic' needs class texts; pll_mat:fg_net has none" in names.stderr


def one_line(result: Result) -> str:
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in result.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rates=[0.3]", "ages.yaml: ambiguity 'given' has no rate: write rates: [0]"),
        ("datasets=[shapes]", "dataset 'shapes' comes with true labels, not with candidate sets"),
        ("datasets=[pll_mat]", "pll_mat:msrcv2"),
        ("datasets=['pll_mat:fgnet']", "did you mean 'fg_net'"),
    ],
)
def test_a_mistake_with_given_sets_is_told_before_anything_runs(folder: Path, change: str, message: str) -> None:
    for command in ("plan", "run"):
        assert message in one_line(call(command, "--grid", "ages.yaml", *data(), "--set", change))
    assert not Path("results").exists()


def test_given_stands_beside_drawn_ambiguities_through_include(folder: Path) -> None:
    (folder / "ages.yaml").write_text(
        GRID.replace("[given]", "[flip]").replace("[0]", "[0.2]") + "include: {ambiguity: given, rate: 0}\n"
    )
    assert "40 cells" in call("plan", "--grid", "ages.yaml", *data()).stdout


def test_a_metric_that_no_cell_has_is_told_with_those_there_are(folder: Path) -> None:
    run("--set", "seeds=1")
    words = ("table", "--grid", "ages.yaml", *data(), "--set", "seeds=1")
    assert "no result of this grid has T1" in one_line(call(*words, "--metric", "T1"))
    assert "accuracy" in one_line(call(*words, "--metric", "T1"))
    assert "plain share" in call(*words).stdout


def test_missing_data_blocks_its_cells_with_the_way_to_get_it(folder: Path) -> None:
    result = call("plan", "--grid", "ages.yaml", "--data", "nowhere")
    assert result.exit_code == 0
    assert "20 blocked" in result.stdout and SETS["fg_net"].obtain in result.stderr


def test_a_damaged_file_is_one_line(folder: Path) -> None:
    Path("data/FG-NET.mat").write_bytes(b"not a matrix at all" * 40)
    assert "FG-NET.mat" in one_line(run())


def test_an_encoder_has_nothing_to_do_here(folder: Path) -> None:
    assert "use encoder 'none'" in one_line(run("--encoder", "embedded"))


def test_list_show_and_doctor_know_the_sets(folder: Path) -> None:
    assert "msrcv2" in call("list", "datasets").stdout
    everything, one = call("show", "pll_mat").stdout, call("show", "pll_mat:msrcv2:split").stdout
    assert "Soccer Player.mat" in everything and "17472" in everything
    assert SETS["msrcv2"].sha256 in one and "Liu and Dietterich" in one and "fold" in one
    assert "given" in call("list", "ambiguities").stdout
    lines = call("doctor", *data()).stdout.splitlines()
    assert "ok  dataset pll_mat: pll_mat:fg_net of 9" in lines
    assert any(line.startswith("ok  dataset pll_mat: none of 9") for line in call("doctor").stdout.splitlines())
    Path("data/FG-NET.mat").write_bytes(b"junk" * 100)
    lines = call("doctor", *data()).stdout.splitlines()
    assert any(line.startswith("BAD dataset pll_mat") and "FG-NET.mat" in line for line in lines)
