"""The Proposed Split: read as the files mean it, joined by name, and refused for tuning where it leaks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.cli.main import app
from pzsl_bench.data.source import Source, find_dataset
from pzsl_bench.datasets.xlsa17 import prompt_name
from pzsl_bench.datasets.xlsa17.catalogue import SETS
from pzsl_bench.datasets.xlsa17.files import PARTS, VALIDATION_LIST, read_names, read_split
from pzsl_bench.reports.landmark import LANDMARKS, load_landmark
from pzsl_bench.running.opened import load_problem

Fields = dict[str, Any]
NAMES = ("001.Grey_gull", "002.Red_kite", "grizzly+bear", "abbey", "mole", "newt")
UNSEEN = (1, 4)
"""red kite and mole: neither the last classes nor the first."""


def cells(names: tuple[str, ...] = NAMES) -> np.ndarray[Any, Any]:
    """A column of cells, as MATLAB stores names."""
    column = np.empty((len(names), 1), dtype=object)
    for row, name in enumerate(names):
        column[row, 0] = name
    return column


def pictures() -> Fields:
    """Sixty images of six classes, ten each in turn."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(6), 10)
    features = np.eye(6)[labels] * 3 + rng.normal(size=(60, 6)) + 0.1
    return {"features": features.T, "labels": (labels + 1).astype(np.uint8)[:, None]}


def splits() -> Fields:
    """Of each seen class two images are tested on; fold 1 holds out class 3 (the abbey)."""
    labels, turn = np.tile(np.arange(6), 10), np.repeat(np.arange(10), 6)
    unseen, tested = np.isin(labels, UNSEEN), turn >= 8

    def images(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.random.default_rng(1).permutation(np.flatnonzero(mask) + 1).astype(np.uint16)[:, None]

    att = np.arange(1.0, 25.0).reshape(4, 6)
    att[0, 2] = -1
    training = ~unseen & ~tested
    return {
        "original_att": att,
        "att": att / np.linalg.norm(att, axis=0),
        "allclasses_names": cells(),
        "trainval_loc": images(training),
        "train_loc": images(training & (labels != 3)),
        "val_loc": images(training & (labels == 3)),
        "test_seen_loc": images(~unseen & tested),
        "test_unseen_loc": images(unseen),
    }


def write(root: Path, name: str = "AWA2", place: str = "xlsa17", **changed: Any) -> Path:
    """A look-alike with some fields changed; None leaves a field out."""
    folder = root / place / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in (("res101.mat", pictures()), ("att_splits.mat", splits())):
        known = {key: changed.get(key, value) for key, value in content.items()}
        scipy.io.savemat(folder / file, {key: value for key, value in known.items() if value is not None})
    return folder


def opened(root: Path, spec: str = "xlsa17:AWA2") -> Source:
    return find_dataset(spec, root).open()


def leaking() -> Fields:
    """The fold as the first version has it: the seen test images are in it."""
    written, labels = splits(), np.tile(np.arange(6), 10)
    both = np.concatenate([written["trainval_loc"], written["test_seen_loc"]])
    is_held_out = (labels[both.astype(int) - 1] == 3)[:, 0]
    return {"train_loc": both[~is_held_out], "val_loc": both[is_held_out]}


@pytest.mark.parametrize("place", ["xlsa17", "xlsa17/data"])
def test_files_are_read_as_they_mean_it(tmp_path: Path, place: str) -> None:
    write(tmp_path, place=place)
    source, labels = opened(tmp_path), np.tile(np.arange(6), 10)
    assert source.features is not None and source.texts is not None
    np.testing.assert_allclose(source.features, pictures()["features"].T, rtol=1e-6)
    np.testing.assert_array_equal(source.labels, labels)
    np.testing.assert_array_equal(source.is_test, np.isin(labels, UNSEEN) | (np.repeat(np.arange(10), 6) >= 8))
    assert source.class_names == ("Grey gull", "Red kite", "grizzly bear", "abbey", "mole", "newt")
    assert (source.seen, source.unseen, source.validation) == ((0, 2, 3, 5), UNSEEN, (3,))
    assert source.unit and not source.aligned


def test_a_missing_attribute_is_zero_and_the_others_are_as_they_were(tmp_path: Path) -> None:
    write(tmp_path)
    texts, written = opened(tmp_path).texts, splits()["att"].T
    assert texts is not None and texts[2, 0] == 0
    np.testing.assert_allclose(np.delete(texts, 8), np.delete(written, 8), rtol=1e-6)


def test_without_the_original_attributes_whatever_is_below_zero_is_missing(tmp_path: Path) -> None:
    write(tmp_path)
    expected = opened(tmp_path).texts
    write(tmp_path, original_att=None)
    np.testing.assert_array_equal(opened(tmp_path).texts, expected)


def test_a_list_of_names_says_what_is_held_out_before_the_fold_does(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / VALIDATION_LIST).write_text("newt\n001.Grey_gull", encoding="utf-8")
    assert opened(tmp_path).validation == (0, 5)
    write(tmp_path, train_loc=None, val_loc=None)
    assert opened(tmp_path).validation == (0, 5)
    (folder / VALIDATION_LIST).unlink()
    assert opened(tmp_path).validation == ()


def test_images_in_no_part_are_left_out(tmp_path: Path) -> None:
    fewer = splits()["trainval_loc"][1:]
    write(tmp_path, trainval_loc=fewer, train_loc=None, val_loc=None)
    source, gone = opened(tmp_path), int(splits()["trainval_loc"][0, 0]) - 1
    np.testing.assert_array_equal(source.labels, np.delete(np.tile(np.arange(6), 10), gone))
    assert source.features is not None and (~source.is_test).sum() == len(fewer)
    np.testing.assert_allclose(source.features, np.delete(pictures()["features"].T, gone, axis=0), rtol=1e-6)


def test_rows_are_unit_unless_raw(tmp_path: Path) -> None:
    write(tmp_path)
    unit, raw = (
        load_problem(spec, "none", tmp_path, tmp_path / "cache", "cpu") for spec in ("xlsa17:AWA2", "xlsa17:AWA2:raw")
    )
    np.testing.assert_allclose(unit.train.norm(dim=1), 1, atol=1e-6)
    np.testing.assert_allclose(raw.train[0], pictures()["features"][:, 0], rtol=1e-6)
    np.testing.assert_allclose(unit.texts.norm(dim=1), 1, atol=1e-6)


def test_whatever_moves_results_is_other_data(tmp_path: Path) -> None:
    write(tmp_path)
    sums = {opened(tmp_path).checksum, opened(tmp_path, "xlsa17:AWA2:raw").checksum}
    write(tmp_path, features=pictures()["features"] + 1e-3)
    sums.add(opened(tmp_path).checksum)
    write(tmp_path, trainval_loc=splits()["trainval_loc"][1:])
    sums.add(opened(tmp_path).checksum)
    write(tmp_path, att=splits()["att"] * 2)
    assert len(sums | {opened(tmp_path).checksum}) == 5
    write(tmp_path, test_seen_loc=splits()["test_seen_loc"][::-1].astype(float))
    same = opened(tmp_path).checksum
    write(tmp_path)
    assert opened(tmp_path).checksum == same


def test_the_first_version_warns_and_has_nothing_to_tune_on(tmp_path: Path) -> None:
    folder = write(tmp_path)
    second = opened(tmp_path)
    write(tmp_path, **leaking())
    (folder / VALIDATION_LIST).write_text("newt\n", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"version 1 of the Proposed Split: .* hold 8 images of test_seen_loc"):
        first = opened(tmp_path)
    assert first.validation == ()
    # The two versions differ in nothing else.
    assert first.checksum == second.checksum


def test_tuning_on_the_first_version_is_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, **leaking())
    grid = tmp_path / "mine.yaml"
    grid.write_text(
        "datasets: ['xlsa17:AWA2']\nambiguities: [flip]\nrates: [0]\nseeds: [0]\nmethods: [ridge]\n", encoding="utf-8"
    )
    options = ["--grid", str(grid), "--data", str(tmp_path), "--results", str(tmp_path / "results"), "--no-mlflow"]
    assert CliRunner().invoke(app, ["run", *options]).exit_code == 0
    table = CliRunner().invoke(app, ["table", *options[:-1], "--metric", "H_cal"])
    assert table.exit_code == 2
    assert "on xlsa17:AWA2: no rehearsal can be held, since its split is version 1" in table.output
    for rule in ("validation", "rehearsal", "covering", "oracle"):
        tuned = ["--set", f"select={rule}", "--set", "tune=3"]
        refused = CliRunner().invoke(app, ["run", *options, *tuned])
        plan = CliRunner().invoke(app, ["plan", *options[:-1], *tuned])
        why = f"select: {rule} cannot choose anything on xlsa17:AWA2: its split is version 1, whose validation images"
        assert refused.exit_code == 2 and f"no cell of grid 'mine' can run: {why}" in refused.output
        assert plan.exit_code == 0 and f"nothing can run: {why}" in plan.output and "1 blocked" in plan.output


def test_the_plan_says_that_nothing_is_calibrated_on_the_first_version(tmp_path: Path) -> None:
    grid = tmp_path / "mine.yaml"
    grid.write_text(
        "datasets: ['xlsa17:AWA2']\nambiguities: [flip]\nrates: [0]\nseeds: [0]\nmethods: [ridge]\n", encoding="utf-8"
    )
    options = ["--grid", str(grid), "--data", str(tmp_path), "--results", str(tmp_path / "results")]
    write(tmp_path)
    assert "calibrated" not in CliRunner().invoke(app, ["plan", *options]).output
    write(tmp_path, **leaking())
    plan = CliRunner().invoke(app, ["plan", *options]).output
    assert "xlsa17:AWA2: no calibrated metric, since no rehearsal can be held: its split is version 1" in plan


def changed_loc(name: str, image: int) -> Fields:
    value = splits()[name].astype(float)
    value[0, 0] = image
    return {name: value}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": None}, "res101.mat: has no labels; it holds features"),
        ({"att": None}, "att_splits.mat: has no att; it holds"),
        ({"features": pictures()["features"].T}, "res101.mat: features is 60 x 6, but labels has 60 entries"),
        ({"features": np.full((6, 60), np.nan)}, "features: image 1 has a number that is not finite"),
        ({"features": np.zeros((6, 60))}, "features: image 1 is all zeros"),
        (
            {"labels": pictures()["labels"] + 1},
            "labels: image 6 is of class 7, but att_splits.mat names classes 1 to 6",
        ),
        ({"labels": pictures()["labels"] - 1}, "labels: image 1 is of class 0"),
        ({"labels": pictures()["labels"] + 0.5}, "labels has numbers that are not whole"),
        ({"labels": np.sort(pictures()["labels"], axis=0)}, "is res101.mat beside it that of another set?"),
        ({"att": splits()["att"].T}, "att_splits.mat: att is 6 x 4, but a column is needed for each of 6 classes"),
        ({"att": np.full((4, 6), np.inf), "original_att": None}, "att has numbers that are not finite"),
        ({"att": np.zeros((4, 6)), "original_att": None}, "nothing is known of class '001.Grey_gull'"),
        ({"original_att": np.ones((2, 6))}, "original_att is 2 x 6, but att is 4 x 6"),
        ({"allclasses_names": cells((*NAMES[:5], "mole"))}, "allclasses_names has 'mole' twice"),
        ({"allclasses_names": np.arange(6.0)}, "allclasses_names is not a column of names"),
        (changed_loc("trainval_loc", 0), "trainval_loc has image 0; images count from 1"),
        (changed_loc("test_unseen_loc", 61), "test_unseen_loc has image 61, but res101.mat beside it has 60 images"),
        (changed_loc("test_seen_loc", int(splits()["trainval_loc"][0, 0])), "is in trainval_loc and in test_seen_loc"),
        ({"test_unseen_loc": np.zeros((0, 1))}, "test_unseen_loc is empty"),
        ({"test_seen_loc": np.ones((2, 1))}, "test_seen_loc has an image twice"),
        ({"trainval_loc": np.ones((2, 2))}, "trainval_loc is not a column of numbers (it is 2 x 2 of"),
    ],
)
def test_a_bad_file_is_one_line_that_names_file_and_field(tmp_path: Path, changed: Fields, message: str) -> None:
    write(tmp_path, **changed)
    with pytest.raises(UserError) as error:
        opened(tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value) and ".mat" in str(error.value)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("abbeys\n", "unknown class of att_splits.mat 'abbeys'; did you mean 'abbey'"),
        ("mole\n", "class 'mole' is held out for validation, but is not seen"),
        ("\n".join(NAMES[k] for k in (0, 2, 3, 5)), "all seen classes are held out"),
    ],
)
def test_a_bad_list_is_one_line_that_names_file_and_class(tmp_path: Path, listed: str, message: str) -> None:
    folder = write(tmp_path)
    (folder / VALIDATION_LIST).write_text(listed, encoding="utf-8")
    with pytest.raises(UserError) as error:
        opened(tmp_path)
    assert message in str(error.value) and VALIDATION_LIST in str(error.value)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    folder = write(tmp_path)
    whole = (folder / "res101.mat").read_bytes()
    for content, message in ((whole[:500], "cut off"), (b"version https://git-lfs.github.com", "git lfs pull")):
        (folder / "res101.mat").write_bytes(content)
        with pytest.raises(UserError, match=message):
            opened(tmp_path)


def test_missing_files_say_which_where_and_how_to_get_them(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "res101.mat").unlink()
    for spec, root, message in (
        ("xlsa17:AWA2", tmp_path, f"{folder} has no res101.mat"),
        ("xlsa17:CUB", tmp_path, "xlsa17/CUB nor"),
        ("xlsa17:CUB", None, "--data DIR is not given"),
    ):
        with pytest.raises(MissingDataError) as error:
            find_dataset(spec, root).open()
        assert message in str(error.value) and "xlsa17.zip" in str(error.value)


@pytest.mark.parametrize("spec", ["xlsa17", "xlsa17:CUBS", "xlsa17:CUB:unit", "xlsa17:CUB:raw:raw"])
def test_a_name_that_cannot_be_is_refused_before_anything_is_read(spec: str) -> None:
    with pytest.raises(UserError):
        find_dataset(spec)


@pytest.mark.parametrize("name", ["AWA2", "CUB", "SUN", "APY"])
def test_the_real_splits_are_read_by_name_and_have_their_known_sizes(
    tmp_path: Path, shared_data: Path, name: str
) -> None:
    folder, known = shared_data / "zsl" / "xlsa17" / name, SETS[name]
    split = read_split(folder / "att_splits.mat")
    assert split.attributes.shape == (known.seen + known.unseen, known.attributes)
    assert [len(split.parts[part]) for part in PARTS] == [known.train, known.seen_test, known.unseen_test]
    assert sum(len(split.parts[part]) for part in PARTS) == known.images
    assert len(set(map(prompt_name, split.names))) == len(split.names)
    seen, unseen, held_out = (
        read_names(folder / file, split) for file in ("trainvalclasses.txt", "testclasses.txt", VALIDATION_LIST)
    )
    assert (len(seen), len(unseen), len(held_out)) == (known.seen, known.unseen, known.validation)

    labels = np.empty(known.images, dtype=np.int64)
    for classes, parts in ((seen, PARTS[:2]), (unseen, PARTS[2:])):
        for part in parts:
            labels[split.parts[part]] = np.resize(classes, len(split.parts[part]))
    mine = tmp_path / "xlsa17" / name
    mine.mkdir(parents=True)
    for file in ("att_splits.mat", VALIDATION_LIST):
        (mine / file).symlink_to(folder / file)
    features = np.random.default_rng(0).random((3, known.images))
    scipy.io.savemat(mine / "res101.mat", {"features": features, "labels": (labels + 1)[:, None]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = opened(tmp_path, f"xlsa17:{name}")
    assert (source.seen, source.unseen, source.validation) == (seen, unseen, held_out)
    assert len(source.training) == known.train


def test_birds_are_not_in_the_order_of_their_numbers(shared_data: Path) -> None:
    names = read_split(shared_data / "zsl" / "xlsa17" / "CUB" / "att_splits.mat").names
    assert (names[0], names[150]) == ("002.Laysan_Albatross", "001.Black_footed_Albatross")
    assert prompt_name(names[0]) == "Laysan Albatross"


def test_the_real_first_version_is_told_from_the_second(shared_data: Path) -> None:
    zsl = shared_data / "zsl"
    assert read_split(zsl / "xlsa17_v1" / "AWA2" / "att_splits.mat").leaked == SETS["AWA2"].seen_test
    assert read_split(zsl / "xlsa17" / "AWA2" / "att_splits.mat").leaked == 0


def test_every_set_has_a_landmark_with_its_published_table() -> None:
    for name in SETS:
        landmark = load_landmark(f"ps-{name.lower()}")
        assert {cell.dataset for cells in landmark.cells().values() for cell in cells} == {f"xlsa17:{name}"}
        assert len(landmark.rows) == 9
    assert load_landmark("ps-awa2").known("ale").mean == 62.5
    assert {f"ps-{name.lower()}" for name in SETS} <= set(LANDMARKS.names())
