from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.data.name_lists import numbered_lines, require_distinct, stem
from pzsl_bench.data.source import DATASETS, Source, dataset, find_dataset
from pzsl_bench.data.tagged_features import find_features
from pzsl_bench.data.tagged_folders import Listing, TaggedFiles
from pzsl_bench.encoding.encode import encode
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.planning.offers import offers

IMAGES = ("one", "two", "three")
TAGS = np.array([[1, -1, 0], [0, 1, 1], [-1, -1, 1]], dtype=np.int8)


class Toy(TaggedFiles):
    """Three images, three classes of which the last is unseen."""

    places = ("toy_tags", "TOY")
    layout = "names.txt and images"

    def open(self) -> Source:
        self.pick("names.txt")
        files = [self.folder / f"images/{name}.jpg" for name in IMAGES]
        listing = Listing(IMAGES, files, TAGS, np.array([False, True, True]))
        return self.source(listing, find_features(self.folder), ["ant", "bee", "cat"], [2], keys=["A", "B", "C"])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    dataset("toy_tags", title="Toy tags", obtain="make toys", task="tags")(Toy)
    (tmp_path / "toy_tags").mkdir()
    (tmp_path / "toy_tags/Names.TXT").write_text("")
    yield tmp_path / "toy_tags"
    DATASETS.found.pop("toy_tags")


def opened(folder: Path) -> Source:
    return find_dataset("toy_tags", folder.parent).open()


def features(rows: int) -> np.ndarray:
    return np.arange(1, 1 + rows * 4, dtype=np.float32).reshape(rows, 4)


def test_features_without_names_are_those_of_all_images_in_their_order(folder: Path):
    np.savez(folder / "features.npz", features=features(3))
    source = opened(folder)
    np.testing.assert_array_equal(source.features, features(3))
    np.testing.assert_array_equal(source.tags, TAGS)
    assert source.images is None


def test_named_features_say_which_images_there_are_and_in_which_order(folder: Path):
    np.savez(folder / "features.npz", features=features(2), images=["three.jpg", r"some\folder\one.JPG"])
    source = opened(folder)
    np.testing.assert_array_equal(source.tags, TAGS[[2, 0]])
    assert source.is_test.tolist() == [True, False]
    assert len(source) == 2


def test_a_folder_of_arrays_holds_the_same_as_a_file(folder: Path):
    arrays = {"features": features(2), "images": np.array(["two", "three"]), "scale": np.array(20.0)}
    np.savez(folder / "features.npz", **arrays)
    first = opened(folder)
    (folder / "features.npz").unlink()
    (folder / "features").mkdir()
    for key, value in arrays.items():
        np.save(folder / f"features/{key}.npy", value)
    second = opened(folder)
    assert first.checksum == second.checksum
    assert first.scale == second.scale == 20.0


def test_texts_are_put_in_the_order_of_the_classes(folder: Path):
    texts = np.diag([1.0, 2, 3, 4])
    np.savez(folder / "features.npz", features=features(3), texts=texts, class_names=["C", "B", "Z", "A"])
    source = opened(folder)
    np.testing.assert_array_equal(source.texts, texts[[3, 1, 0]])
    assert "alignment" in offers(source, "none")


def test_without_texts_an_encoder_reads_the_class_names(folder: Path, tmp_path: Path):
    np.savez(folder / "features.npz", features=np.ones((3, 64)))
    made = encode(opened(folder), "toy_tags", find_encoder("embedded", tmp_path), cache=tmp_path)
    assert made.texts.shape == (3, 64)
    with pytest.raises(UserError, match="needs the encoder of its features"):
        encode(opened(folder), "toy_tags", find_encoder("none", tmp_path), cache=tmp_path)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"images": ["one"]}, "has no features; it holds images"),
        ({"features": features(2)}, "features has 2 rows, but Toy tags has 3 images; name yours in the key images"),
        ({"features": features(2), "images": ["one"]}, "images: has 1 names, but features has 2 rows"),
        ({"features": features(2), "images": ["one", "six"]}, "images: 'six' is no image of Toy tags"),
        ({"features": features(2), "images": ["one", "x/one.png"]}, "'one' is there twice"),
        ({"features": features(3), "texts": features(3)}, "texts and class_names go together"),
        ({"features": features(3), "texts": features(3)[:, :2], "class_names": ["A", "B", "C"]}, "has 2 columns"),
        ({"features": features(3), "texts": features(2), "class_names": ["A", "B"]}, "unknown class 'C'"),
        ({"features": features(3), "scale": 0.0}, "scale: must be positive"),
    ],
)
def test_features_that_do_not_fit_are_refused_in_one_line(folder: Path, arrays: dict[str, object], reason: str):
    np.savez(folder / "features.npz", **arrays)
    with pytest.raises(UserError, match=reason) as error:
        opened(folder)
    assert "\n" not in str(error.value)
    assert "features.npz" in str(error.value)


def test_other_tags_features_or_rows_are_another_dataset(folder: Path, monkeypatch: pytest.MonkeyPatch):
    found = set()
    for arrays in ({"features": features(3)}, {"features": features(3) + 1}, {"features": features(3), "scale": 2.0}):
        np.savez(folder / "features.npz", **arrays)
        found.add(opened(folder).checksum)
    np.savez(folder / "features.npz", features=features(3), images=["two", "one", "three"])
    found.add(opened(folder).checksum)
    monkeypatch.setitem(globals(), "TAGS", -TAGS)
    found.add(opened(folder).checksum)
    assert len(found) == 5


def test_one_image_on_disk_is_enough_to_open_the_images(folder: Path):
    with pytest.raises(MissingDataError, match="none of its 3 images is there"):
        opened(folder)
    (folder / "images").mkdir()
    (folder / "images/two.jpg").write_bytes(b"")
    first = opened(folder)
    (folder / "images/two.jpg").write_bytes(b"more")
    assert opened(folder).checksum != first.checksum
    assert first.images is not None
    assert len(first.images) == 3


def test_a_folder_that_is_not_there_is_told_with_the_way_to_get_it(folder: Path, tmp_path: Path):
    (folder / "Names.TXT").unlink()
    with pytest.raises(MissingDataError, match=r"has no names.txt\); get it from make toys"):
        opened(folder)
    with pytest.raises(MissingDataError, match="has no folder toy_tags or TOY"):
        find_dataset("toy_tags", folder).open()
    with pytest.raises(MissingDataError, match="--data DIR is not given"):
        find_dataset("toy_tags").open()
    assert Toy.members(tmp_path) == ("toy_tags",)
    assert Toy.members(folder) == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [(r"actor\0001_42.jpg", "0001_42"), ("a/b/c.PNG", "c"), ("v1.2", "v1.2"), ("plain", "plain"), (" x.jpeg ", "x")],
)
def test_an_image_is_known_by_its_name_without_folder_and_ending(name: str, expected: str):
    assert stem(name) == expected


def test_lists_are_read_with_their_line_numbers_and_without_what_is_empty(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"a\r\n\n  \nb\n")
    assert [(number, line.strip()) for number, line in numbered_lines(path)] == [(1, "a"), (4, "b")]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not a text file in UTF-8"):
        numbered_lines(path)
    with pytest.raises(UserError, match="is empty"):
        require_distinct(path, [])
