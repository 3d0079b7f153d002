"""Real partial-label files: read as they are, or refused in one line that names file and field; split as they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csc_matrix

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.data.source import Source, find_dataset
from pzsl_bench.datasets.pll_mat import fold, random_split
from pzsl_bench.datasets.pll_mat.catalogue import SETS, plain
from pzsl_bench.datasets.pll_mat.matfile import read

Fields = dict[str, Any]


def fields(examples: int = 43, classes: int = 5) -> Fields:
    """Small data in the layout of the public sets; class 5 is empty."""
    rng = np.random.default_rng(examples)
    truth = np.arange(examples) % (classes - 1)
    target = np.eye(classes)[truth].T
    partial = np.maximum(target, rng.random((classes, examples)) < 0.3)
    data = rng.normal(size=(examples, 4)) * [1, 1e3, 1, 0] + [0, 0, 0, 7]
    return {"data": data, "target": target, "partial_target": partial}


def write(folder: Path, name: str = "MSRCv2.mat", **changed: Any) -> Path:
    path = folder / "pll" / name
    path.parent.mkdir(exist_ok=True)
    content = {k: v for k, v in {**fields(), **changed}.items() if v is not None}
    scipy.io.savemat(path, content, do_compression=True)
    return path


def opened(folder: Path, spec: str = "pll_mat:msrcv2") -> Source:
    return find_dataset(spec, folder).open()


@pytest.fixture(autouse=True)
def any_version(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files made here are not the ones that circulate, and need not say so every time."""
    for known in SETS.values():
        monkeypatch.setitem(known.__dict__, "sha256", "")
    yield


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    write(tmp_path)
    source, written = opened(tmp_path), fields()
    assert source.features is not None and source.candidates is not None
    np.testing.assert_allclose(source.features, written["data"], rtol=1e-6)
    np.testing.assert_array_equal(source.labels, written["target"].argmax(0))
    np.testing.assert_array_equal(source.candidates, written["partial_target"].T == 1)
    assert (source.seen, source.unseen, source.validation) == (tuple(range(5)), (), ())
    assert source.standardise and not source.ordinal and source.texts is None


@pytest.mark.parametrize("kind", ["sparse", "bytes", "logical"])
def test_storage_of_the_labels_does_not_matter(tmp_path: Path, kind: str) -> None:
    stored = {"sparse": csc_matrix, "bytes": lambda m: m.astype(np.uint8), "logical": lambda m: m.astype(bool)}[kind]
    write(tmp_path)
    plainly = opened(tmp_path)
    write(tmp_path, **{name: stored(fields()[name]) for name in ("target", "partial_target")})
    assert opened(tmp_path).checksum == plainly.checksum


def test_other_content_is_other_data(tmp_path: Path) -> None:
    sums = set()
    for data in (fields()["data"], fields()["data"] + 1e-3):
        write(tmp_path, data=data)
        sums.add(opened(tmp_path).checksum)
    more = fields()["partial_target"].copy()
    more[4, 0] = 1 - more[4, 0]
    write(tmp_path, partial_target=more)
    assert len(sums | {opened(tmp_path).checksum}) == 3


def test_a_file_is_found_whatever_the_case_and_punctuation_of_its_name(tmp_path: Path) -> None:
    for name, spec in (
        ("yahoo-news.MAT", "yahoo_news"),
        ("SOCCER_player.mat", "soccer_player"),
        ("fgnet.mat", "fg_net"),
    ):
        write(tmp_path, name)
        assert len(opened(tmp_path, f"pll_mat:{spec}").labels) == 43
    (tmp_path / "pll" / "fgnet.mat").rename(tmp_path / "FG-NET.mat")
    assert opened(tmp_path, "pll_mat:fg_net").ordinal


def test_no_two_sets_share_a_file_name() -> None:
    stems = [plain(Path(known.file).stem) for known in SETS.values()]
    assert len(set(stems)) == len(stems)
    assert all(stem == plain(name) for name, stem in zip(SETS, stems, strict=True))


@pytest.mark.parametrize("root", [None, "here"])
def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(tmp_path: Path, root: str | None) -> None:
    with pytest.raises(MissingDataError) as error:
        find_dataset("pll_mat:lost", tmp_path if root else None).open()
    for word in ("lost.mat", SETS["lost"].obtain, "DIR/pll", "--data"):
        assert word in str(error.value)


def flawed(name: str, change: Any) -> Any:
    matrix = fields()[name].astype(float)
    change(matrix)
    return matrix


def put(*places: tuple[int, int, float]) -> Any:
    def change(matrix: Any) -> None:
        for row, column, value in places:
            matrix[row, column] = value

    return change


def clear(column: int) -> Any:
    def change(matrix: Any) -> None:
        matrix[:, column] = 0

    return change


BAD: dict[str, tuple[Fields, tuple[str, ...]]] = {
    "wrong keys": (
        {"data": None, "features": np.eye(43), "partial_target": None},
        ("no data and no partial_target", "it holds features, target"),
    ),
    "transposed": ({"target": fields()["target"].T}, ("target is 43 x 5", "data has 43 rows", "K x N")),
    "other sizes": (
        {"partial_target": fields(43, 6)["partial_target"]},
        ("partial_target is 6 x 43", "target is 5 x 43"),
    ),
    "text": ({"data": "many numbers"}, ("data is not a matrix of numbers",)),
    "cells": ({"target": np.array([[1], [2, 3]], dtype=object)}, ("target is not a matrix of numbers",)),
    "nothing in it": ({"data": np.zeros((0, 4))}, ("data is not a matrix",)),
    "one class": (
        {"target": np.ones((1, 43)), "partial_target": np.ones((1, 43))},
        ("target has 1 class",),
    ),
    "not a number": ({"data": flawed("data", put((2, 1, np.nan)))}, ("data: row 3, column 2 is nan",)),
    "infinite": ({"data": flawed("data", put((2, 1, np.inf), (3, 1, np.inf)))}, ("row 3, column 2 is inf", "2 such")),
    "too large": ({"data": flawed("data", put((2, 1, 1e300)))}, ("row 3, column 2 is 1e+300",)),
    "counts": ({"target": flawed("target", put((0, 0, 2.0)))}, ("target holds 2, where only 0 and 1",)),
    "no truth": ({"target": flawed("target", clear(6))}, ("target: example 7 has no true class",)),
    "two truths": ({"target": flawed("target", put((0, 1, 1), (0, 2, 1)))}, ("example 2 has more than one", "2 such")),
    "no candidate": ({"partial_target": flawed("partial_target", clear(6))}, ("example 7 has no candidate",)),
    "truth outside": (
        {"partial_target": flawed("partial_target", put((0, 4, 0), (1, 4, 1)))},
        ("true class of example 5 is not among its candidates",),
    ),
    "too few": ({k: v[:9] if k == "data" else v[:, :9] for k, v in fields().items()}, ("data has 9 rows",)),
}


@pytest.mark.parametrize("flaw", BAD)
def test_a_flawed_file_is_one_line_that_names_file_and_field(tmp_path: Path, flaw: str) -> None:
    changed, fragments = BAD[flaw]
    path = write(tmp_path, **changed)
    with pytest.raises(UserError) as error:
        opened(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for words in fragments:
        assert words in message


HDF5 = b"\x89HDF\r\n\x1a\n"
NOT_MAT = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "cut in its head": lambda whole: whole[:60],
    "empty": lambda whole: b"",
    "a web page": lambda whole: b"<!DOCTYPE html><html><body>404</body></html>" * 20,
    "a pointer": lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "MATLAB 7.3": lambda whole: b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(512) + HDF5 + bytes(100),
    "HDF5": lambda whole: HDF5 + bytes(1000),
    "scrambled": lambda whole: whole[:200] + bytes(b ^ 0x5A for b in whole[200:]),
}


@pytest.mark.parametrize("damage", NOT_MAT)
def test_what_is_no_mat_file_is_told_in_one_line(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path)
    path.write_bytes(NOT_MAT[damage](path.read_bytes()))
    with pytest.raises(UserError) as error:
        opened(tmp_path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    if damage in ("MATLAB 7.3", "HDF5"):
        assert "-v7" in str(error.value)
    if damage == "a pointer":
        assert "git lfs pull" in str(error.value)


@given(st.binary(max_size=400), st.integers(0, 2000))
def test_no_damage_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, junk: bytes, place: int) -> None:
    path = write(tmp_path_factory.mktemp("junk"))
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + junk + whole[place + len(junk) :])
    try:
        read(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ")


@given(st.integers(10, 500), st.integers(0, 3))
def test_ten_folds_are_of_one_size_and_share_no_test_example(examples: int, repetition: int) -> None:
    masks = np.array([fold("x", examples, 10 * repetition + f) for f in range(10)])
    assert (masks.sum(1) == examples // 10).all()
    assert masks.sum(0).max() == 1
    assert (masks.sum(0) == 0).sum() == examples % 10


def test_repetitions_and_sets_are_divided_in_their_own_ways() -> None:
    masks = {fold(name, 100, seed).tobytes() for name in "ab" for seed in range(30)}
    assert len(masks) == 60
    np.testing.assert_array_equal(fold("a", 100, 7), fold("a", 100, 7))


def test_random_splits_test_on_a_fifth_and_differ_by_seed() -> None:
    masks = np.array([random_split("x", 104, seed) for seed in range(20)])
    assert (masks.sum(1) == 20).all()
    assert len({mask.tobytes() for mask in masks}) == 20


def test_the_second_word_chooses_the_protocol(tmp_path: Path) -> None:
    write(tmp_path)
    folds, splits = opened(tmp_path), opened(tmp_path, "pll_mat:msrcv2:split")
    assert folds.test_images(3).sum() == 43 // 10
    assert splits.test_images(3).sum() == 43 // 5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pll_mat", "pll_mat:msrcv2"),
        ("pll_mat:msrcv", "did you mean 'msrcv2'"),
        ("pll_mat:msrcv2:folds", "'split'"),
        ("pll_mat:msrcv2:split:split", "'split'"),
    ],
)
def test_a_misspelt_set_or_protocol_is_told(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_dataset(spec)


def test_another_version_of_a_file_is_a_warning_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS["msrcv2"].__dict__, "sha256", "0" * 64)
    write(tmp_path)
    with pytest.warns(UserWarning, match="not the file of MSRCv2 that circulates"):
        opened(tmp_path)


def test_opening_needs_no_torch(tmp_path: Path) -> None:
    write(tmp_path, "lost.mat")
    code = (
        "import sys, warnings; from pathlib import Path; warnings.simplefilter('ignore')\n"
        "from pzsl_bench.data.source import find_dataset\n"
        f"find_dataset('pll_mat:lost', Path({str(tmp_path)!r})).open(); print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.parametrize("name", ["msrcv2", "fg_net"])
def test_the_real_files_are_as_the_catalogue_says(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, name: str
) -> None:
    monkeypatch.undo()
    known = SETS[name]
    try:
        source = find_dataset(f"pll_mat:{name}", shared_data).open()
    except MissingDataError as error:
        pytest.skip(str(error))
    assert known.sha256 and not [w for w in recwarn if "circulates" in str(w.message)]
    assert source.features is not None and source.candidates is not None
    assert source.features.shape == (known.examples, known.features)
    assert len(source.class_names) == known.classes
    assert (np.bincount(source.labels, minlength=known.classes) == 0).sum() == known.empty
    assert source.candidates.sum(1).mean() == pytest.approx(known.candidates, abs=0.005)
    assert source.ordinal == (name == "fg_net")
