from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.data.source import find_dataset
from pzsl_bench.datasets.voc import NAMES

TRAINVAL, TEST = ("000005", "000007", "000009"), ("000001", "000002")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Look-alike of a devkit with five images: each has one kind present and one too difficult."""
    sets, images = tmp_path / "VOCdevkit/VOC2007/ImageSets/Main", tmp_path / "VOCdevkit/VOC2007/JPEGImages"
    sets.mkdir(parents=True)
    images.mkdir()
    for part, names in (("trainval", TRAINVAL), ("test", TEST)):
        for k, kind in enumerate(NAMES):
            marks = [" 1" if k == i else " 0" if k == i + 10 else "-1" for i in range(len(names))]
            lines = [f"{name} {mark}\n" for name, mark in zip(names, marks, strict=True)]
            (sets / f"{kind}_{part}.txt").write_text("".join(lines))
        for name in names:
            Image.new("L", (8, 6), 100).save(images / f"{name}.jpg")
    return tmp_path


def test_marks_are_present_absent_or_unknown_where_difficult(data: Path):
    source = find_dataset("voc", data).open()
    assert source.tags.shape == (5, 20)
    assert source.tags.dtype == np.int8
    assert (source.tags.argmax(1) == [0, 1, 2, 0, 1]).all()
    assert [np.flatnonzero(row == 0).tolist() for row in source.tags] == [[10], [11], [12], [10], [11]]
    assert (source.tags == -1).sum() == 5 * 18
    assert source.is_test.tolist() == [False, False, False, True, True]


def test_every_kind_is_seen_and_read_as_people_write_it(data: Path):
    source = find_dataset("voc", data).open()
    assert len(source.seen) == 20
    assert source.unseen == ()
    assert {"dining table", "potted plant", "tv monitor"} < set(source.class_names)


def test_images_are_opened_in_colour(data: Path):
    source = find_dataset("voc", data).open()
    assert source.images is not None
    assert len(source.images) == 5
    assert (source.images[0].mode, source.images[0].size) == ("RGB", (8, 6))


@pytest.mark.parametrize("line", ["000007 2", "000007", "000007 1 1", "000007 x"])
def test_a_broken_line_is_named_with_its_file_and_number(data: Path, line: str):
    path = data / "VOCdevkit/VOC2007/ImageSets/Main/cow_trainval.txt"
    path.write_text(f"000005 -1\n{line}\n000009 -1\n")
    with pytest.raises(UserError, match=r"cow_trainval.txt: line 2: "):
        find_dataset("voc", data).open()


def test_files_that_list_other_images_are_refused(data: Path):
    path = data / "VOCdevkit/VOC2007/ImageSets/Main/cow_trainval.txt"
    path.write_text("000005 -1\n000007 -1\n")
    with pytest.raises(UserError, match=r"cow_trainval.txt: image '000009' is not in all files of trainval"):
        find_dataset("voc", data).open()
    path.write_text("000005 -1\n000007 -1\n000007 -1\n")
    with pytest.raises(UserError, match="line 3: image '000007' is there twice"):
        find_dataset("voc", data).open()


def test_a_missing_file_is_told_with_the_way_to_get_it(data: Path):
    (data / "VOCdevkit/VOC2007/ImageSets/Main/cow_test.txt").unlink()
    with pytest.raises(MissingDataError, match=r"has no ImageSets/Main/cow_test.txt\); get it from http"):
        find_dataset("voc", data).open()
