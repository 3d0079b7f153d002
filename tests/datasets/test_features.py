"""Features of one's own: read as they are, split as they say, or refused in one line that names file and key."""

from __future__ import annotations

import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.cli.main import app
from pzsl_bench.data.ambiguity import AMBIGUITIES
from pzsl_bench.data.source import Source, find_dataset
from pzsl_bench.datasets.features import Features, files
from pzsl_bench.datasets.features.content import KEYS
from pzsl_bench.encoding.encode import encode
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.planning.offers import offers
from pzsl_bench.reports.doctor import checks
from pzsl_bench.running.opened import load_problem

Keys = dict[str, Any]
NAMES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")


def keys(each: int = 10, width: int = 6) -> Keys:
    """Eight classes around the projections of their attributes; the last two are unseen."""
    rng = np.random.default_rng(each)
    labels, attributes = np.tile(np.arange(8), each), rng.random((8, 5))
    features = attributes[labels] @ rng.normal(size=(5, width)) + 0.1 * rng.normal(size=(8 * each, width))
    return {"features": features, "labels": labels, "class_names": NAMES, "unseen": [6, 7], "attributes": attributes}


def save(folder: Path, name: str = "mine", **changed: Any) -> Path:
    path = folder / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in {**keys(), **changed}.items() if value is not None})
    return path


def opened(folder: Path, name: str = "mine", **changed: Any) -> Source:
    save(folder, name, **changed)
    return find_dataset(f"features:{name}", folder).open()


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    source, mine = opened(tmp_path), keys()
    assert source.features is not None and source.texts is not None
    np.testing.assert_allclose(source.features, mine["features"], rtol=1e-6)
    np.testing.assert_allclose(source.texts, mine["attributes"], rtol=1e-6)
    np.testing.assert_array_equal(source.labels, mine["labels"])
    assert source.class_names == NAMES
    assert (source.seen, source.unseen) == ((0, 1, 2, 3, 4, 5), (6, 7))
    assert (source.scale, source.unit) == (100.0, True)


@pytest.mark.parametrize("place", ["", "features", "zsl"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_and_a_folder_with_the_same_arrays_are_the_same_data(tmp_path: Path, place: str, kind: str) -> None:
    plain = opened(tmp_path / "other")
    here = tmp_path / "data" / place
    if kind == "file":
        save(here, features=keys()["features"].astype(np.float32), labels=keys()["labels"].astype(float)[:, None])
    else:
        (here / "mine").mkdir(parents=True)
        for key, value in keys().items():
            np.save(here / "mine" / f"{key}.npy", value)
    assert find_dataset("features:mine", tmp_path / "data").open().checksum == plain.checksum
    assert Features.members(tmp_path / "data") == ("features:mine",)


@pytest.mark.parametrize(
    "changed",
    [
        {"features": keys()["features"] * 2},
        {"labels": np.roll(keys()["labels"], 1)},
        {"attributes": keys()["attributes"] ** 2},
        {"scale": 30.0},
        {"unit": False},
        {"split": np.where(keys()["labels"] > 5, 2, np.arange(80) % 2)},
        {"attributes": None, "texts": np.eye(8, 6) + 1},
    ],
    ids=lambda changed: "+".join(changed),
)
def test_whatever_moves_results_is_other_data(tmp_path: Path, changed: Keys) -> None:
    assert opened(tmp_path, **changed).checksum != opened(tmp_path).checksum


def test_a_split_is_taken_as_it_is(tmp_path: Path) -> None:
    labels = keys()["labels"]
    split = np.where(labels > 4, 2, np.arange(80) % 3 == 0)
    source = opened(tmp_path, split=split, unseen=None)
    assert source.unseen == (5, 6, 7)
    np.testing.assert_array_equal(source.is_test, split > 0)


def test_without_a_split_a_fifth_of_each_seen_class_and_all_of_the_unseen_are_tested_on(tmp_path: Path) -> None:
    source = opened(tmp_path)
    shares = [source.is_test[source.labels == k].mean() for k in range(8)]
    assert shares == [0.2] * 6 + [1.0] * 2
    named = opened(tmp_path, "elsewhere", unseen=["hen", "gnu"])
    np.testing.assert_array_equal(named.is_test, source.is_test)


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 12), min_size=2, max_size=6))
def test_every_class_with_images_has_one_to_train_on_and_with_two_one_to_test_on(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    if not sum(counts):
        counts[0] = 1
    labels = np.repeat(np.arange(len(counts)), counts)
    few = {"class_names": NAMES[: len(counts)], "attributes": np.eye(len(counts)), "unseen": []}
    source = opened(tmp_path_factory.mktemp("few"), features=np.ones((len(labels), 3)), labels=labels, **few)
    for k, count in enumerate(counts):
        tested = source.is_test[labels == k].sum()
        assert tested == (max(1, count // 5) if count > 1 else 0)
    assert source.validation == ()


def test_the_split_of_a_class_depends_on_its_name_alone(tmp_path: Path) -> None:
    order = [3, 1, 2, 0, 4, 5, 6, 7]
    moved = {"labels": np.argsort(order)[keys()["labels"]], "class_names": [NAMES[k] for k in order]}
    plain, other = opened(tmp_path), opened(tmp_path, "moved", **moved)
    np.testing.assert_array_equal(plain.is_test, other.is_test)
    assert {NAMES[k] for k in plain.validation} == {other.class_names[k] for k in other.validation}


def test_a_quarter_of_the_seen_classes_is_for_validation_unless_the_file_says_which(tmp_path: Path) -> None:
    assert opened(tmp_path, validation=["cat", "ant"]).validation == (0, 2)
    assert opened(tmp_path, validation=np.array([5])).validation == (5,)
    many = 40
    labels = np.arange(4 * many) % many
    wide = {
        "features": np.ones((len(labels), 2)),
        "labels": labels,
        "class_names": [f"c{k}" for k in range(many)],
        "attributes": np.ones((many, 2)),
        "unseen": np.arange(32, 40),
    }
    chosen = opened(tmp_path, **wide).validation
    assert len(chosen) == 8 and set(chosen) < set(range(32))
    assert len(opened(tmp_path).validation) == 2, "a single class would be named rightly whatever was learnt"
    assert opened(tmp_path, unseen=range(1, 8)).validation == ()


def test_missing_attributes_become_zero_where_no_other_is_negative(tmp_path: Path) -> None:
    holey = keys()["attributes"].copy()
    holey[2, 3] = -1
    texts = opened(tmp_path, attributes=holey).texts
    assert texts is not None and texts[2, 3] == 0 and (texts >= 0).all()
    signed = holey.copy()
    signed[4, 4] = -0.5
    texts = opened(tmp_path, attributes=signed).texts
    assert texts is not None and texts[2, 3] == -1


def test_attributes_are_not_taken_for_texts_of_the_encoder_even_if_as_wide(tmp_path: Path) -> None:
    square = np.eye(8, 6) + 0.1
    assert "alignment" not in offers(opened(tmp_path, attributes=square), "none")
    assert "alignment" in offers(opened(tmp_path, attributes=None, texts=square), "none")
    assert AMBIGUITIES.get("instance").needs == {"alignment"}


def test_class_names_go_through_the_encoder_where_the_file_has_no_semantics(tmp_path: Path) -> None:
    encoder, cache = find_encoder("embedded", tmp_path / "cache"), tmp_path / "cache"
    names = ["circle", "star", "square", "ring", "cross", "heart", "moon", "arrow"]
    width = encode(opened(tmp_path, features=np.ones((80, 64)), class_names=names, attributes=None), "features:mine",
                   encoder, cache=cache).texts.shape[1]  # fmt: skip
    assert width == 64
    with pytest.raises(UserError, match="needs the encoder of its features"):
        encode(opened(tmp_path, attributes=None), "features:mine", find_encoder("none", cache), cache=cache)


@pytest.mark.parametrize("how", ["variant", "key"])
def test_rows_are_unit_unless_told_otherwise(tmp_path: Path, how: str) -> None:
    save(tmp_path, "units")
    save(tmp_path, "lengths", **({"unit": 0} if how == "key" else {}))
    spec = "features:lengths" + (":raw" if how == "variant" else "")
    units = load_problem("features:units", "none", tmp_path, tmp_path, "cpu")
    lengths = load_problem(spec, "none", tmp_path, tmp_path, "cpu")
    np.testing.assert_allclose(units.train.norm(dim=1), 1, atol=1e-6)
    np.testing.assert_allclose(lengths.train.norm(dim=1).max(), 1.0, atol=10)
    assert lengths.train.norm(dim=1).std() > 0.1
    np.testing.assert_allclose(lengths.texts.norm(dim=1), 1, atol=1e-6)


NOTHING: Keys = dict.fromkeys(("features", "labels", "class_names"))
BAD: dict[str, tuple[Keys, str]] = {
    "no keys": (
        {**NOTHING, "data": [1]},
        "has no features and no labels and no class_names; it holds attributes, data",
    ),
    "no classes to hold out": ({"unseen": None}, "has neither split nor unseen"),
    "text": ({"features": "many"}, "features: is not a matrix of numbers (it is a single value"),
    "row": ({"features": np.ones(80)}, "features: is not a matrix of numbers (it is 80 of float64)"),
    "objects": ({"features": np.array([[1], [2, 3]], dtype=object)}, "features: holds Python objects"),
    "nan": ({"features": np.where(np.arange(480).reshape(80, 6) == 61, np.nan, 1)}, "features: [10, 1] is nan"),
    "too large": ({"features": np.full((80, 6), 1e300)}, "features: [0, 0] is 1e+300 (480 such numbers)"),
    "zero row": ({"features": np.eye(80, 6)}, "features: row 6 is all zeros"),
    "few labels": ({"labels": np.arange(8)}, "labels: has 8 entries, but features has 80 rows"),
    "half labels": ({"labels": np.arange(80) / 2}, "labels: holds 0.5, where only whole numbers"),
    "one-hot": ({"labels": np.eye(80, 8)}, "labels: is not a list of numbers (it is 80 x 8)"),
    "words": ({"labels": np.array(NAMES)[keys()["labels"]]}, "labels: holds <U3 values, where only whole numbers"),
    "from one": ({"labels": keys()["labels"] + 1}, "labels: [7] is 8, but class_names has 0 to 7; labels count from 0"),
    "negative": ({"labels": keys()["labels"] - 1}, "labels: [0] is -1"),
    "same name": ({"class_names": [*NAMES[:7], "ant"]}, "class_names: 'ant' is there twice"),
    "no name": ({"class_names": [*NAMES[:7], " "]}, "class_names: [7] is empty"),
    "numbers": ({"class_names": np.arange(8)}, "class_names: is not a list of words"),
    "bytes": ({"class_names": np.array([b"a\xff", *b"bcdefgh"], "S2")}, "class_names: holds bytes that are not UTF-8"),
    "who": ({"unseen": ["hem"]}, "unknown class in unseen 'hem'; did you mean 'hen'?"),
    "beyond": ({"unseen": [8]}, "unseen: class 8 does not exist; the 8 classes are 0 to 7"),
    "twice": ({"unseen": [7, 7]}, "unseen: class 7 ('hen') is there twice"),
    "all": ({"unseen": np.arange(8)}, "every class is unseen"),
    "split of three": ({"split": np.full(80, 3), "unseen": None}, "split: [0] is 3, where only 0, 1 and 2 belong"),
    "short split": ({"split": [0, 1, 2]}, "split: has 3 entries"),
    "both": ({"split": np.arange(80) % 3, "unseen": None}, "split: class 'ant' is seen (0 or 1) in some images"),
    "disagree": ({"split": np.where(keys()["labels"] > 6, 2, 0)}, "unseen: makes class 'gnu' unseen, but split"),
    "unseen validation": ({"validation": ["ant", "hen"]}, "validation: class 'hen' is unseen"),
    "only validation": ({"validation": np.arange(6)}, "validation: lists all seen classes"),
    "transposed": ({"attributes": np.ones((5, 8))}, "attributes: is 5 x 8, but there are 8 class_names"),
    "unknown attributes": ({"attributes": np.ones((8, 5)) * (np.arange(8) != 3)[:, None]}, "of class 'dog': all its"),
    "missing as nan": ({"attributes": np.full((8, 5), np.nan)}, "attributes: [0, 0] is nan (40 such numbers)"),
    "two semantics": ({"texts": np.ones((8, 6))}, "has attributes and texts"),
    "foreign texts": ({"attributes": None, "texts": np.ones((8, 5))}, "texts: has 5 columns, but features has 6"),
    "names of attributes": ({"names": np.ones((8, 2, 6))}, "has names and no texts"),
    "flat names": (
        {"attributes": None, "texts": np.ones((8, 6)), "names": np.ones((8, 6))},
        "names: is not 8 x any number x 6, a matrix for each of the class_names (it is 8 x 6 of float64)",
    ),
    "endless names": (
        {"attributes": None, "texts": np.ones((8, 6)), "names": np.full((8, 1, 6), np.inf)},
        "names: [0, 0, 0] is inf (48 such numbers)",
    ),
    "scale": ({"scale": -1.0}, "scale: must be positive, not -1"),
    "unit": ({"unit": "yes"}, "unit: is not one number"),
}


def test_vectors_of_other_names_are_names_of_their_classes(tmp_path: Path) -> None:
    """A class whose text lies in another direction than its images is found by its second name."""
    means = np.eye(8, 16)
    labels = np.tile(np.arange(8), 10)
    features = means[labels] + np.random.default_rng(0).normal(0, 0.1, (80, 16))
    texts, names = means.copy(), np.zeros((8, 2, 16))
    texts[7], names[7, 0] = np.eye(16)[12], 3 * means[7]
    common = {"features": features, "labels": labels, "attributes": None, "texts": texts, "unseen": [6, 7]}
    save(tmp_path, "plain", **common)
    save(tmp_path, "named", **common, names=names)
    assert "synonyms" not in offers(find_dataset("features:plain", tmp_path).open(), "none")
    problem = load_problem("features:named", "none", tmp_path, tmp_path / "cache", "cpu", needs=frozenset({"synonyms"}))
    assert problem.synonyms is not None and problem.synonyms.shape == (8, 3, 16)
    np.testing.assert_allclose(problem.synonyms[7, :2], np.stack([np.eye(16)[12], means[7]]), atol=1e-6)
    assert not problem.synonyms[:7, 1:].any() and not problem.synonyms[7, 2].any()
    (tmp_path / "named.yaml").write_text(
        "datasets: ['features:named']\nambiguities: [flip]\nrates: [0]\n"
        "methods: [s3: {score_by: max}, clip_zero_shot]\n"
    )
    where = ["--data", str(tmp_path), "--no-mlflow", "--device", "cpu", "--results", str(tmp_path / "results")]
    assert call("run", "--grid", str(tmp_path / "named.yaml"), *where).exit_code == 0
    found = [json.loads(path.read_text()) for path in (tmp_path / "results" / "records").rglob("*.json")]
    accuracy = {record["method"]: record["metrics"]["T1"] for record in found}
    assert accuracy["s3"] == 1.0 > accuracy["clip_zero_shot"]


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line_that_names_file_and_key(tmp_path: Path, case: str) -> None:
    changed, reason = BAD[case]
    changed = {k: np.array(v, dtype=object) if case == "objects" else v for k, v in changed.items()}
    with pytest.raises(UserError) as error:
        opened(tmp_path, **changed)
    message = str(error.value)
    assert reason in message
    assert message.startswith(f"{tmp_path / 'mine.npz'}: ") and "\n" not in message


@pytest.mark.parametrize("content", [b"", b"not a zip file", "cut"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes | str) -> None:
    path = save(tmp_path)
    whole = path.read_bytes()
    if content == "cut":
        content = whole[:500]
    assert isinstance(content, bytes)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.npz: is not an .npz file"):
        find_dataset("features:mine", tmp_path).open()
    path.write_bytes(whole[:300] + bytes(100) + whole[400:])
    with pytest.raises(UserError, match=r"mine\.npz: features: is damaged"):
        find_dataset("features:mine", tmp_path).open()
    folder = tmp_path / "mine2"
    folder.mkdir()
    (folder / "features.npy").write_bytes(b"nothing")
    with pytest.raises(UserError, match="mine2: features: "):
        find_dataset("features:mine2", tmp_path).open()


def test_a_missing_file_says_what_there_is_and_how_to_write_one(tmp_path: Path) -> None:
    for root in (None, tmp_path):
        with pytest.raises(MissingDataError, match="pzsl-bench show features"):
            find_dataset("features:birds", root).open()
    save(tmp_path, "bird")
    with pytest.raises(MissingDataError, match="did you mean 'bird'"):
        find_dataset("features:birds", tmp_path).open()
    np.savez(tmp_path / "texts.npz", names=NAMES)
    assert set(files(tmp_path)) == {"bird"}


@pytest.mark.parametrize(
    "spec", ["features", "features:", "features:a/b", "features:..", "features:a:b", "features:a:raw:b"]
)
def test_a_name_that_cannot_be_is_refused_before_anything_is_read(spec: str) -> None:
    with pytest.raises(UserError, match=r"features:NAME|only 'raw'"):
        find_dataset(spec)


def test_the_doctor_counts_the_files_that_are_there(tmp_path: Path) -> None:
    def look() -> Any:
        return next(c for c in checks(tmp_path, tmp_path, tmp_path / "data") if c.name == "dataset features")

    assert look().ok and look().detail == "none here (pzsl-bench show features)"
    save(tmp_path / "data")
    assert look().ok and look().detail == "features:mine of 1"
    save(tmp_path / "data", "worse", labels=None)
    assert not look().ok and "has no labels" in look().detail


def call(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_example_of_show_is_a_file_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = call("show", "features").stdout
    assert all(f"  {key}" in shown for key in KEYS)
    code = shown[shown.index("    import numpy") : shown.index("\nWith `--data .`")]
    exec(textwrap.dedent(code), {})
    assert "    import numpy as np" in inspect.cleandoc(Features.__doc__ or "")
    (tmp_path / "mine.yaml").write_text(
        "datasets: ['features:animals', 'features:animals:raw']\nambiguities: [flip, instance]\nrates: [0.2]\n"
        "methods: [eszsl, clip_zero_shot, oracle: {epochs: 1}]\n"
    )
    where = ["--data", str(tmp_path), "--no-mlflow", "--device", "cpu"]
    result = call("run", "--grid", "mine.yaml", *where)
    assert result.exit_code == 0, result.stderr
    assert "needs class texts in the images' own space" in result.stderr
    found = [json.loads(path.read_text()) for path in (tmp_path / "results" / "records").rglob("*.json")]
    assert {(r["dataset"], r["method"], r["ambiguity"]) for r in found} == {
        (d, m, "flip") for d in ("features:animals", "features:animals:raw") for m in ("eszsl", "oracle")
    }
    assert all(r["status"] == "done" and ("H_cal" in r["metrics"]) == (r["method"] == "eszsl") for r in found)


def test_animals_with_attributes_load_as_they_were_split(shared_data: Path) -> None:
    spec = "features:awa1_classic_pca192"
    source = find_dataset(spec, shared_data).open()
    assert source.features is not None and source.texts is not None
    assert source.features.shape == (30_475, 192) and source.texts.shape == (50, 85)
    assert (len(source.seen), len(source.unseen), len(source.validation)) == (40, 10, 10)
    assert {source.class_names[k] for k in source.unseen} >= {"dolphin", "giraffe", "blue whale"}
    tested = np.isin(source.labels, source.unseen)
    assert source.is_test[tested].all() and source.is_test[~tested].mean() == pytest.approx(0.2, abs=0.01)
    assert spec in Features.members(shared_data)


def test_eszsl_tuned_on_validation_classes_reaches_what_is_known_of_animals_with_attributes(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    narrow = ["--set", "methods=[eszsl]", "--set", "rates=[0]", "--set", "seeds=1"]
    result = call("run", "--grid", "awa1", *narrow, "--data", str(shared_data), "--no-mlflow", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    (path,) = (tmp_path / "results" / "records").rglob("*.json")
    record = json.loads(path.read_text())
    assert record["metrics"]["T1"] >= 0.30
    assert record["metrics"]["H_cal"] >= 0.20
    values = [trial["value"] for trial in record["trials"]]
    assert len(values) == 24 and values[record["draw"]] == max(values) > min(values) + 0.02
