from pathlib import Path

import numpy as np
import pytest

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.data.source import find_dataset
from pzsl_bench.datasets import nus_wide

TAGS = ("nature", "sky", "blue", "water", "explore")
CONCEPTS = ("airport", "sky", "water")
PATHS = (r"actor\0001_21244.jpg", r"actor\0002_174.jpg", r"zoo\0001_33.jpg", r"zoo\0002_34.jpg")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A look-alike with four images, five tags and three concepts."""
    folder = tmp_path / "nus_wide"
    for place in ("ImageList", "NUS_WID_Tags", "ConceptsList", "Groundtruth/AllLabels", "Flickr/zoo"):
        (folder / place).mkdir(parents=True)
    (folder / "ImageList/ImageList.txt").write_text("".join(f"{p}\n" for p in PATHS))
    (folder / "ImageList/TrainImagelist.txt").write_text("".join(f"{PATHS[i]}\n" for i in (2, 0)))
    (folder / "ImageList/TestImagelist.txt").write_text("".join(f"{PATHS[i]}\r\n" for i in (1, 3)))
    (folder / "NUS_WID_Tags/TagList1k.txt").write_text("\n".join(TAGS) + "\n")
    (folder / "NUS_WID_Tags/AllTags1k.txt").write_text("1\t0\t0\t1\t0\t\n0 1 0 0 1\n0 0 0 0 0\n1 1 1 1 1")
    (folder / "ConceptsList/Concepts81.txt").write_text("\n".join(CONCEPTS) + "\n")
    for concept, column in zip(CONCEPTS, ("1000", "0100", "0011"), strict=True):
        (folder / f"Groundtruth/AllLabels/Labels_{concept}.txt").write_text("\n".join(column) + "\n")
    (folder / "Flickr/zoo/0002_34.jpg").write_bytes(b"")
    return tmp_path


def test_seen_are_the_tags_that_are_no_concepts_and_unseen_the_concepts(data: Path):
    source = find_dataset("nus_wide", data).open()
    assert [source.class_names[k] for k in source.seen] == ["nature", "blue", "explore"]
    assert [source.class_names[k] for k in source.unseen] == list(CONCEPTS)


def test_tags_come_from_flickr_and_concepts_from_the_ground_truth(data: Path):
    source = find_dataset("nus_wide", data).open()
    expected = [[1, -1, -1, 1, -1, -1], [-1, -1, 1, -1, 1, -1], [-1, -1, -1, -1, -1, 1], [1, 1, 1, -1, -1, 1]]
    assert source.tags.tolist() == expected
    assert source.tags.dtype == np.int8


def test_the_lists_say_what_is_for_training_and_what_for_the_test(data: Path):
    assert find_dataset("nus_wide", data).open().is_test.tolist() == [False, True, False, True]


def test_an_image_in_neither_list_is_named(data: Path):
    (data / "nus_wide/ImageList/TrainImagelist.txt").write_text(PATHS[0] + "\n")
    with pytest.raises(UserError, match=r"TestImagelist.txt: 'zoo/0001_33.jpg' is in neither of the lists"):
        find_dataset("nus_wide", data).open()


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("1 0 0 1 0\n0 1 0 0\n0 0 0 0 0 0\n1 1 1 1 1\n", 2),
        ("1 0 0 1 0\n0 1 0 0 1\n0 0 0 0 7\n1 1 1 1 1\n", 3),
        ("10 0 0 1\n0 1 0 0 1\n0 0 0 0 0\n1 1 1 1 1\n", 1),
        ("1 0 0 1 0\n\n\n0 1 0 0 1\n0 -1 0 0 0\n1 1 1 1 1\n", 5),
    ],
)
@pytest.mark.parametrize("block", [4, 15, 10**6])
def test_a_broken_row_is_named_with_its_file_and_line(
    data: Path, table: str, line: int, block: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nus_wide, "BLOCK", block)
    (data / "nus_wide/NUS_WID_Tags/AllTags1k.txt").write_text(table)
    with pytest.raises(UserError, match=f"AllTags1k.txt: line {line}: needed are 5 of the digits 0 and 1"):
        find_dataset("nus_wide", data).open()


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_tables_are_the_same_however_much_is_read_at_once(data: Path, block: int, monkeypatch: pytest.MonkeyPatch):
    known = find_dataset("nus_wide", data).open()
    monkeypatch.setattr(nus_wide, "BLOCK", block)
    assert find_dataset("nus_wide", data).open().checksum == known.checksum


@pytest.mark.parametrize("rows", [3, 5])
def test_a_table_with_too_few_or_too_many_rows_is_refused(data: Path, rows: int):
    (data / "nus_wide/Groundtruth/AllLabels/Labels_sky.txt").write_text("0\n" * rows)
    with pytest.raises(UserError, match=f"Labels_sky.txt: has {rows} rows, but the list of images has 4"):
        find_dataset("nus_wide", data).open()


def test_a_missing_concept_is_told_with_the_way_to_get_it(data: Path):
    (data / "nus_wide/Groundtruth/AllLabels/Labels_sky.txt").unlink()
    with pytest.raises(MissingDataError, match=r"Labels_sky.txt.*https://lms.comp.nus.edu.sg"):
        find_dataset("nus_wide", data).open()


def test_a_large_table_is_read_in_few_blocks(tmp_path: Path):
    rows, columns = 20_000, 1000
    digits = np.full((rows, 2 * columns), ord("\t"), dtype=np.uint8)
    digits[:, ::2] = ord("0") + (np.arange(rows * columns).reshape(rows, columns) % 7 == 0)
    digits[:, -1] = ord("\n")
    (tmp_path / "table.txt").write_bytes(digits.tobytes())
    sums = [int(block.sum()) for _, block in nus_wide.read_table(tmp_path / "table.txt", rows, columns)]
    assert sum(sums) == -(-rows * columns // 7)
    # Whole blocks, not lines, are what Python sees of it.
    assert len(sums) <= 1 + 2 * rows * columns // nus_wide.BLOCK
