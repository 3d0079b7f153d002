from pathlib import Path

import numpy as np
import pytest

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.data.source import find_dataset
from pzsl_bench.datasets import open_images

HEAD = "ImageID,Source,LabelName,Confidence\n"
TRAIN = HEAD + "a1,verification,/m/01,1\na1,verification,/m/02,0\na2,crowdsource-verification,/m/02,1\nzz,x,/m/01,1\n"
TEST = HEAD + "b1,verification,/m/03,1\nb1,verification,/m/99,1\nb2,verification,/m/01,0\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A look-alike with two seen classes, one unseen class and four images with features."""
    folder = tmp_path / "open_images"
    for part, table in (("train", TRAIN), ("test", TEST)):
        (folder / "2018_04" / part).mkdir(parents=True)
        (folder / "2018_04" / part / f"{part}-annotations-human-imagelabels.csv").write_text(table)
    (folder / "2018_04/classes-trainable.txt").write_text("/m/01\n/m/02\n")
    (folder / "classes-unseen.txt").write_text("/m/03\n")
    (folder / "2018_04/class-descriptions.csv").write_text('/m/01,Tortoise\n/m/02,"Ox, wild"\n/m/03,Heart\n/m/99,X\n')
    np.savez(folder / "features.npz", features=np.eye(4, 3) + 1, images=["b2.jpg", "a1", "a2", "b1"])
    return tmp_path


def test_labels_are_present_absent_or_unknown(data: Path):
    source = find_dataset("open_images", data).open()
    assert source.class_names == ("Tortoise", "Ox, wild", "Heart")
    assert (source.seen, source.unseen, source.top) == ((0, 1), (2,), (10, 20))
    assert source.tags.tolist() == [[-1, 0, 0], [1, -1, 0], [0, 1, 0], [0, 0, 1]]
    assert source.is_test.tolist() == [True, False, False, True]
    assert source.tags.dtype == np.int8


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_table_is_read_the_same_in_pieces(data: Path, chunk: int, monkeypatch: pytest.MonkeyPatch):
    known = find_dataset("open_images", data).open()
    monkeypatch.setattr(open_images, "CHUNK", chunk)
    assert find_dataset("open_images", data).open().checksum == known.checksum


def test_images_that_no_table_knows_are_left_out_and_their_features_refused(data: Path):
    folder = data / "open_images"
    np.savez(folder / "features.npz", features=np.ones((2, 3)), images=["b2", "nobody"])
    with pytest.raises(UserError, match="image 'nobody' of the features is in no table"):
        find_dataset("open_images", data).open()
    (folder / "features.npz").unlink()
    for name in ("train/a1", "train/nobody", "test/b1"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(b"")
    source = find_dataset("open_images", data).open()
    assert source.tags.tolist() == [[1, -1, 0], [0, 0, 1]]


def test_features_must_say_of_which_images_they_are(data: Path):
    np.savez(data / "open_images/features.npz", features=np.ones((4, 3)))
    with pytest.raises(UserError, match="has no images, the key that says"):
        find_dataset("open_images", data).open()


@pytest.mark.parametrize("confidence", ["0.7", "", "yes"])
def test_a_row_that_nobody_verified_is_named_with_its_file_and_line(data: Path, confidence: str, monkeypatch):
    monkeypatch.setattr(open_images, "CHUNK", 1)
    path = data / "open_images/2018_04/train/train-annotations-human-imagelabels.csv"
    path.write_text(HEAD + f"a1,verification,/m/01,1\na2,verification,/m/02,{confidence}\n")
    with pytest.raises(UserError, match=f"human-imagelabels.csv: line 3: Confidence is '{confidence}'"):
        find_dataset("open_images", data).open()


@pytest.mark.parametrize("table", ["ImageID,LabelName\na1,/m/01\n", ""])
def test_another_table_is_refused_in_one_line(data: Path, table: str):
    (data / "open_images/2018_04/train/train-annotations-human-imagelabels.csv").write_text(table)
    with pytest.raises(UserError, match=r"human-imagelabels.csv: cannot be read as a table") as error:
        find_dataset("open_images", data).open()
    assert "\n" not in str(error.value)


def test_an_image_in_both_tables_is_refused(data: Path):
    path = data / "open_images/2018_04/test/test-annotations-human-imagelabels.csv"
    path.write_text(TEST + "a1,verification,/m/01,1\n")
    with pytest.raises(UserError, match="image 'a1' is in both tables"):
        find_dataset("open_images", data).open()


def test_a_class_is_seen_or_unseen_and_has_a_name(data: Path):
    unseen = data / "open_images/classes-unseen.txt"
    unseen.write_text("/m/03\n/m/02\n")
    with pytest.raises(UserError, match=r"class /m/02 is in classes-trainable.txt too"):
        find_dataset("open_images", data).open()
    unseen.write_text("/m/03\n/m/03\n")
    with pytest.raises(UserError, match="'/m/03' is there twice"):
        find_dataset("open_images", data).open()
    unseen.write_text("/m/05\n")
    with pytest.raises(UserError, match=r"class-descriptions.csv: has no name for class /m/05"):
        find_dataset("open_images", data).open()
    unseen.unlink()
    with pytest.raises(MissingDataError, match=r"has no classes-unseen.txt"):
        find_dataset("open_images", data).open()
