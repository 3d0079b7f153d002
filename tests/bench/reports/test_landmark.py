from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from pzsl_bench.base.errors import UserError
from pzsl_bench.reports.landmark import LANDMARKS, ORIGINS, headline, load_landmark

SHEET: dict[str, Any] = {
    "title": "A small table",
    "origin": "recomputed",
    "source": "the tests",
    "metric": "seen_acc",
    "grid": {
        "datasets": ["synthetic:seen=8:unseen=3:dim=16"],
        "ambiguities": ["flip"],
        "rates": [0.3],
        "seeds": 3,
        "methods": [{"naive": {"epochs": 2}}, {"eszsl": {"candidates_as": ["random", "uniform"]}}],
    },
    "rows": {
        "naive": {"mean": 30, "std": 2.5, "n": 10},
        "eszsl(candidates_as=random)": {"mean": 40.5, "n": 1},
        "eszsl(candidates_as=uniform)": {"mean": 41, "std": 0, "n": 3, "note": "as seen before"},
    },
}

OTHER = {"network": "VGG", "source": "their paper", "values": {"T1": 9.4}}


def write(folder: Path, **keys: Any) -> str:
    """A landmark file with some keys changed; None leaves a key out."""
    content = {key: value for key, value in (SHEET | keys).items() if value is not None}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def grid(**keys: Any) -> dict[str, Any]:
    return SHEET["grid"] | keys


def test_rows_find_their_method_and_settings_in_the_grid(tmp_path: Path) -> None:
    landmark = load_landmark(write(tmp_path))
    assert landmark.name == "small"
    assert landmark.rows == {
        "naive": ("naive", (("epochs", 2),)),
        "eszsl(candidates_as=random)": ("eszsl", (("candidates_as", "random"),)),
        "eszsl(candidates_as=uniform)": ("eszsl", (("candidates_as", "uniform"),)),
    }
    assert {name: len(cells) for name, cells in landmark.cells().items()} == dict.fromkeys(landmark.rows, 3)
    naive, eszsl = landmark.known("naive"), landmark.known("eszsl(candidates_as=random)")
    assert naive is not None and eszsl is not None
    assert (naive.std, eszsl.std) == (2.5, None)


def test_a_row_may_name_a_setting_that_is_a_default(tmp_path: Path) -> None:
    rows = {"naive(head=auto, lr=2e-3)": {"mean": 1, "n": 1}}
    landmark = load_landmark(write(tmp_path, grid=grid(methods=[{"naive": {"epochs": 2}}]), rows=rows))
    assert list(landmark.rows.values()) == [("naive", (("epochs", 2),))]


def test_some_rows_alone_keep_their_cells(tmp_path: Path) -> None:
    whole = load_landmark(write(tmp_path))
    part = whole.only(["naive"])
    assert part.grid.cells() == whole.cells()["naive"]
    with pytest.raises(UserError, match=r"unknown row of landmark 'small' 'naiv'|did you mean 'naive'"):
        whole.only(["naiv"])


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"rows": {"naiv": {"mean": 1, "n": 1}}}, "did you mean 'naive'"),
        ({"rows": {"proden": {"mean": 1, "n": 1}}}, "unknown row of the grid 'proden'"),
        ({"rows": {"eszsl": {"mean": 1, "n": 1}}}, "rows.eszsl: fits 2 rows of the grid"),
        ({"rows": {"naive(epoch=2)": {"mean": 1, "n": 1}}}, "did you mean 'epochs'"),
        ({"rows": {"naive(epochs=3)": {"mean": 1, "n": 1}}}, "unknown row of the grid 'naive(epochs=3)'"),
        ({"rows": {"naive": {"mean": 1, "n": 1}}}, "nothing is known of 'eszsl'"),
        (
            {"rows": SHEET["rows"] | {"naive(epochs=2)": {"mean": 1, "n": 1}}},
            "another row has the same method and settings",
        ),
        ({"rows": {"naive": {"std": 1, "n": 5}}}, "rows.naive.mean: is missing"),
        ({"rows": {"naive": {"mean": 1}}}, "rows.naive.n: is missing"),
        ({"rows": {"naive": {"mean": 1, "n": 0}}}, "rows.naive.n: 0 is too small; at least 1"),
        ({"rows": {"naive": {"mean": 1, "n": 2.5}}}, "rows.naive.n: 2.5 is not a whole number"),
        ({"rows": {"naive": {"mean": 1, "n": True}}}, "rows.naive.n: True is not a number"),
        ({"rows": {"naive": {"mean": "high", "n": 1}}}, "rows.naive.mean: 'high' is not a number"),
        ({"rows": {"naive": {"mean": float("nan"), "n": 1}}}, "rows.naive.mean: is not a finite number"),
        ({"rows": {"naive": {"mean": 1, "std": -1, "n": 1}}}, "rows.naive.std: -1 is too small"),
        ({"rows": {"naive": {"mean": 1, "sd": 1, "n": 1}}}, "rows.naive: unknown key 'sd'; did you mean 'std'?"),
        ({"rows": {"naive": 31.5}}, "rows.naive: write keys such as"),
        ({"rows": {}}, "rows: is empty"),
        ({"rows": ["naive"]}, "rows: write 'key: value' pairs"),
        ({"title": None}, "title: is missing"),
        ({"title": ""}, "title: is empty"),
        ({"source": None}, "source: is missing"),
        ({"titel": "x"}, "unknown key 'titel'; did you mean 'title'?"),
        ({"origin": "republished"}, "unknown origin 'republished'; did you mean 'published'?"),
        ({"metric": "accurcy"}, "unknown metric 'accurcy'; did you mean 'accuracy'?"),
        ({"metric": "seconds"}, "unknown metric 'seconds'"),
        ({"unit": "permille"}, "unit: 'permille' is not 'percent' or 'fraction'"),
        ({"rows": dict.fromkeys(SHEET["rows"])}, "rows: nothing is known of any row"),
        ({"remark": ["x"]}, "remark: is not text"),
        ({"also": {"T1x": {"naive": {"mean": 1, "n": 1}}}}, "also.T1x: unknown metric 'T1x'; did you mean 'T1'?"),
        ({"also": {"T1": {"naiv": {"mean": 1, "n": 1}}}}, "also.T1: unknown row 'naiv'; did you mean 'naive'?"),
        ({"also": {"T1": {"naive": {"mean": 1, "sd": 1}}}}, "also.T1.naive: unknown key 'sd'; did you mean 'std'?"),
        ({"also": {"T1": {"naive": 31.5}}}, "also.T1.naive: write keys such as {mean"),
        ({"also": {"T1": {}}}, "also.T1: is empty"),
        ({"also": {"seen_acc": {"naive": {"mean": 1, "n": 1}}}}, "also: 'seen_acc' is the metric of rows already"),
        ({"others": {"CONSE": OTHER | {"net": "VGG"}}}, "others.CONSE: unknown key 'net'; did you mean 'network'?"),
        ({"others": {"CONSE": {"network": "VGG"}}}, "others.CONSE.source: is missing"),
        ({"others": {"CONSE": 9.4}}, "others.CONSE: write keys such as {network"),
        ({"others": {"CONSE": OTHER | {"values": {"mAP": 1}}}}, "others.CONSE.values.mAP: unknown metric 'mAP'"),
        ({"others": {"CONSE": OTHER | {"values": {"T1": "9"}}}}, "others.CONSE.values.T1: '9' is not a number"),
        ({"grid": None}, "grid: is missing"),
        ({"grid": grid(datasets=["shaps"])}, "grid: datasets: unknown dataset 'shaps'; did you mean 'shapes'?"),
        ({"grid": grid(rates=[0.1, 0.3])}, "spans several columns"),
        ({"grid": grid(ambiguities=["flip_noisy"], noise=[0.1, 0.3])}, "spans several columns"),
        ({"grid": grid(include={"rate": 0.5})}, "no include and no exclude"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_its_place(
    tmp_path: Path, keys: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_landmark(write(tmp_path, **keys))
    assert str(caught.value).startswith("small.yaml: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_suggests_the_nearest_landmark(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown landmark 'msrc-linear'; did you mean 'msrcv2-linear'"):
        load_landmark("msrc-linear")
    with pytest.raises(UserError, match="no landmark file"):
        load_landmark(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("name", LANDMARKS.names())
def test_every_shipped_landmark_is_whole(name: str) -> None:
    landmark = load_landmark(name)
    assert landmark.name == name
    assert headline(name) == (landmark.sheet.title, landmark.sheet.origin)
    assert landmark.sheet.origin in ORIGINS
    assert landmark.sheet.use
    most = 100 if landmark.sheet.unit == "percent" else 1
    for metric, row in product(landmark.sheet.metrics, landmark.rows):
        if known := landmark.known(row, metric):
            assert known.std is not None or known.n == 1
            assert 0 < known.mean < most
        assert len(landmark.cells()[row]) == len(landmark.grid.axes.seeds)
    assert all(0 < value < most for other in landmark.sheet.others.values() for value in other.values.values())


def test_the_linear_landmarks_are_there() -> None:
    assert {"birdsong-linear", "lost-linear", "msrcv2-linear"} <= set(LANDMARKS.names())


@pytest.mark.parametrize("name", ["nus-wide-tags", "open-images-tags", "coco-48-17"])
def test_landmarks_of_tags_say_that_agreement_is_not_claimed(name: str) -> None:
    landmark = load_landmark(name)
    sheet = landmark.sheet
    assert sheet.origin == "secondary"
    assert "neither expected nor claimed" in " ".join(sheet.remark.split())
    assert all(metric.endswith("_sdl") for metric in sheet.metrics), "SDL's code leaves images without a tag out"
    assert landmark.known("clip_zero_shot") is None
    assert all(known.note for metric in sheet.metrics if (known := landmark.known("sdl", metric)))
    assert {(cell.ambiguity, cell.rate) for cell in landmark.grid.cells()} == {("rps", 0.0)}


def test_another_encoder_takes_the_place_of_the_one_named() -> None:
    landmark = load_landmark("nus-wide-tags", "ViT-B-32:laion2b_s34b_b79k")
    assert {cell.encoder for cell in landmark.grid.cells()} == {"ViT-B-32:laion2b_s34b_b79k"}
    assert {cell.encoder for cell in load_landmark("nus-wide-tags").grid.cells()} == {"none"}
