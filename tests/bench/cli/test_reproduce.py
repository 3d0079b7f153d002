from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from pzsl_bench.cli.main import app
from pzsl_bench.contract import METHODS
from pzsl_bench.datasets.coco import UNSEEN
from pzsl_bench.reports.landmark import LANDMARKS

SHEET = """
title: A small table
origin: recomputed
source: the tests
metric: seen_acc
grid:
  datasets: ["synthetic:seen=8:unseen=3:dim=16"]
  ambiguities: [flip]
  rates: [0.3]
  seeds: 3
  methods: [{naive: &short {epochs: 1}}, {proden: *short}]
rows:
  naive: {mean: 0, std: 400, n: 4}
  proden: {mean: 0, std: 400, n: 4}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory with a small landmark, whose known numbers agree with anything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "small.yaml").write_text(SHEET, encoding="utf-8")
    yield tmp_path


def reproduce(*words: str, fmt: str = "json") -> Result:
    words = ("reproduce", *words, "--no-mlflow", "--device", "cpu", "--format", fmt)
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def expect(folder: Path, row: str, **known: object) -> None:
    """Change what is known of a row."""
    sheet = yaml.safe_load((folder / "small.yaml").read_text("utf-8"))
    sheet["rows"][row] = known
    (folder / "small.yaml").write_text(yaml.safe_dump(sheet), encoding="utf-8")


def rows_of(result: Result) -> dict[str, dict[str, object]]:
    return {row["row"]: row for row in json.loads(result.stdout)["rows"]}


def test_a_landmark_is_run_compared_and_not_run_again(folder: Path) -> None:
    first = reproduce("small.yaml")
    assert first.exit_code == 0, first.stderr
    assert "6 of 6 cells, 0 failed" in first.stderr
    found = rows_of(first)
    assert list(found) == ["naive", "proden"]
    records = [json.loads(p.read_text()) for p in (folder / "results/records").rglob("*.json")]
    for row in found.values():
        ours = [100 * r["metrics"]["seen_acc"] for r in records if r["method"] == row["row"]]
        assert row["ours_n"] == len(ours) == 3
        assert row["ours_mean"] == pytest.approx(sum(ours) / 3)
        assert row["difference"] == row["ours_mean"]
    again = reproduce("small.yaml")
    assert "cells" not in again.stderr
    assert again.stdout == first.stdout


def test_its_records_are_ordinary_ones(folder: Path) -> None:
    reproduce("small.yaml")
    kept = str(folder / "results/grids/small.yaml")
    assert "6 done" in CliRunner().invoke(app, ["plan", "--grid", kept]).stdout
    table = CliRunner().invoke(app, ["table", "--grid", kept, "--metric", "seen_acc"])
    assert "PRODEN" in table.stdout


def test_a_row_that_is_apart_ends_in_exit_code_1_and_is_named(folder: Path) -> None:
    expect(folder, "naive", mean=1000, std=0.1, n=5)
    result = reproduce("small.yaml")
    assert result.exit_code == 1
    assert "apart without a reason: naive" in result.stderr
    assert rows_of(result)["naive"]["agrees"] is False
    text = reproduce("small.yaml", fmt="text")
    assert text.exit_code == 1
    assert "apart without a reason: naive" in text.stdout


def test_a_note_explains_a_difference(folder: Path) -> None:
    expect(folder, "naive", mean=1000, std=0.1, n=5, note="their images were others")
    result = reproduce("small.yaml", fmt="text")
    assert result.exit_code == 0
    assert "naive: their images were others" in result.stdout


def test_one_row_alone_can_be_asked_for(folder: Path) -> None:
    expect(folder, "naive", mean=1000, std=0.1, n=5)
    result = reproduce("small.yaml", "--row", "proden")
    assert result.exit_code == 0, result.stderr
    assert "3 of 3 cells" in result.stderr
    assert list(rows_of(result)) == ["proden"]


def test_a_failed_row_has_no_result_and_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS.get("naive"), "loss", lambda *_: 1 / 0)
    result = reproduce("small.yaml")
    assert result.exit_code == 1
    assert "without a result: naive" in result.stderr
    assert "--retry-failed" in result.stderr
    assert rows_of(result)["naive"]["ours_mean"] is None


def test_an_interrupted_landmark_says_how_to_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pzsl_bench.running.run

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pzsl_bench.running.run, "run_stack", stopped)
    result = reproduce("small.yaml", "--fresh")
    assert result.exit_code == 130
    assert "To go on: pzsl-bench reproduce small.yaml --no-mlflow" in result.stderr
    assert "--fresh" not in result.stderr


def test_a_metric_that_the_data_cannot_have_is_told(folder: Path) -> None:
    (folder / "small.yaml").write_text(SHEET.replace("seen_acc", "within_3"), encoding="utf-8")
    result = reproduce("small.yaml")
    assert result.exit_code == 2
    assert "no such result" in result.stderr


@pytest.mark.parametrize("name", ["msrcv2-linear", "nus-wide-tags", "open-images-tags", "coco-48-17"])
def test_missing_data_is_one_line_that_says_how_to_get_it(name: str) -> None:
    result = reproduce(name)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: landmark '{name}' cannot run: ")
    assert "--data DIR" in lines[0]


def small_coco(folder: Path) -> Path:
    """Sixty images of all categories, with features around the texts of what they show."""
    names = [f"seen {k}" for k in range(48)] + list(UNSEEN)
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(len(names), 16)).astype(np.float32)
    tags = rng.random((60, len(names))) < 0.1
    tags[:, 0] |= ~tags.any(1)
    (folder / "coco/annotations").mkdir(parents=True)
    for part, ids in (("train2014", range(40)), ("val2014", range(40, 60))):
        content = {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in ids],
            "categories": [{"id": k, "name": name} for k, name in enumerate(names)],
            "annotations": [{"image_id": i, "category_id": int(k)} for i in ids for k in np.flatnonzero(tags[i])],
        }
        (folder / f"coco/annotations/instances_{part}.json").write_text(json.dumps(content), encoding="utf-8")
    np.savez(folder / "coco/features.npz", features=tags @ texts, texts=texts, class_names=names)
    return folder


def test_published_numbers_of_tags_stand_beside_ours_with_their_remark(folder: Path) -> None:
    result = reproduce("coco-48-17", "--data", str(small_coco(folder / "data")), fmt="text")
    assert result.exit_code == 0, result.stderr
    assert "6 of 6 cells, 0 failed" in result.stderr
    text = result.stdout
    assert "neither expected nor claimed" in text
    places = [text.index(piece) for piece in ("neither expected", "26.30 (1)", "59.00 (1)", "DualCoOp: Secondary")]
    assert places == sorted(places)
    assert "for orientation only: clip_zero_shot (P_at_3_zsl_sdl), clip_zero_shot (P_at_3_gzsl_sdl)" in text
    again = reproduce("coco-48-17", "--data", str(folder / "data"))
    rows = json.loads(again.stdout)["rows"]
    assert [(row["row"], row["metric"], row["theirs_mean"], row["ours_n"]) for row in rows] == [
        ("clip_zero_shot", "P_at_3_zsl_sdl", None, 3),
        ("sdl", "P_at_3_zsl_sdl", 26.3, 3),
        ("clip_zero_shot", "P_at_3_gzsl_sdl", None, 3),
        ("sdl", "P_at_3_gzsl_sdl", 59.0, 3),
    ]


def test_an_encoder_has_nothing_to_do_where_texts_come_with_the_features(folder: Path) -> None:
    result = reproduce("coco-48-17", "--data", str(small_coco(folder / "data")), "--encoder", "embedded")
    assert result.exit_code == 2
    assert "encoder 'embedded' has nothing to do there" in result.stderr.splitlines()[-1]


def test_show_lists_the_methods_that_are_not_run() -> None:
    text = CliRunner().invoke(app, ["show", "nus-wide-tags"]).stdout
    assert "neither expected nor claimed" in text
    assert "F1_at_3_gzsl_sdl  18.5" in text
    assert "attention per cluster" in text


def test_without_a_name_the_landmarks_are_listed() -> None:
    for words in (["reproduce"], ["list", "landmarks"]):
        text = CliRunner().invoke(app, words).stdout
        assert [line.split()[0] for line in text.splitlines()] == LANDMARKS.names()
        assert {"recomputed", "published", "secondary"} <= set(text.split())


def test_show_tells_where_the_numbers_come_from() -> None:
    text = CliRunner().invoke(app, ["show", "msrcv2-linear"]).stdout
    assert "shares no code with this package" in text
    assert "PRODEN" in text
    assert "45.83" in text


def test_a_dry_run_computes_nothing_and_a_file_takes_the_table(folder: Path) -> None:
    assert "6 missing" in reproduce("small.yaml", "--dry-run").stdout
    assert not (folder / "results").exists()
    assert reproduce("small.yaml", "--out", "deep/er/small.md", fmt="markdown").stdout == ""
    assert "| proden" in (folder / "deep/er/small.md").read_text("utf-8")


@pytest.mark.slow
def test_soft_weights_reach_the_known_accuracy_on_real_data(shared_data: Path) -> None:
    result = reproduce("msrcv2-linear", "--data", str(shared_data), "--row", "proden")
    assert result.exit_code == 0, result.stderr
    for row in rows_of(result).values():
        assert row["ours_n"] == 10
        # Half of what two standard errors allow: both sides test nearly the same examples.
        assert abs(float(str(row["difference"]))) < 2.5
