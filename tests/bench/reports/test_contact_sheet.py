from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pzsl_bench.base.errors import UserError
from pzsl_bench.reports.contact_sheet import COLUMNS, FRAMES, MARGIN, PICTURE, TITLE_HEIGHT, Tile, draw, save


def tiles(count: int, right: bool | None = True) -> list[Tile]:
    return [Tile(Image.new("RGB", (48, 24), (10, 20, 250)), (f"{i}. a caption",), right) for i in range(count)]


def test_a_sheet_has_five_pictures_in_a_row():
    one, five, six = (draw("title", tiles(count)) for count in (1, 5, 6))
    assert COLUMNS == 5
    assert one.size == five.size
    assert six.height > five.height
    assert six.width == five.width


@pytest.mark.parametrize("right", [True, False, None])
def test_the_frame_says_whether_a_picture_is_right(right: bool | None):
    sheet = draw("title", tiles(1, right))
    assert sheet.getpixel((MARGIN, TITLE_HEIGHT)) == FRAMES[right]


def test_pictures_keep_their_proportions_and_fill_the_width():
    blue = (np.asarray(draw("title", tiles(1))) == (10, 20, 250)).all(-1)
    rows, columns = np.flatnonzero(blue.any(1)), np.flatnonzero(blue.any(0))
    assert len(columns) == PICTURE
    assert len(rows) == PICTURE // 2


def test_a_picture_that_cannot_be_read_leaves_its_place_empty():
    sheet = draw("title", [Tile(None, ("gone",), None), *tiles(1)])
    blue = np.flatnonzero((np.asarray(sheet) == (10, 20, 250)).all(-1).any(0))
    assert blue.min() > PICTURE


def test_long_captions_are_wrapped_and_cut_off():
    long = Tile(None, ("word " * 200,), None)
    assert draw("title", [long]).height <= draw("title", [Tile(None, ("word " * 30,), None)]).height


@pytest.mark.parametrize("name", ["sheet.png", "deep/down/sheet.JPG"])
def test_a_sheet_is_written_as_its_name_says(tmp_path: Path, name: str):
    save(tmp_path / name, "title", tiles(2))
    with Image.open(tmp_path / name) as written:
        assert written.format == ("PNG" if name.endswith("png") else "JPEG")


def test_a_sheet_that_cannot_be_written_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match=r"must end in .png or .jpg"):
        save(tmp_path / "sheet.gif", "title", tiles(1))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save(tmp_path / "file/sheet.png", "title", tiles(1))
