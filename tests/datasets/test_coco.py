import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.data.source import find_dataset
from pzsl_bench.datasets.coco import LEFT_OUT, UNSEEN

# fmt: off
SEEN = [
    "person", "bicycle", "car", "motorcycle", "train", "truck", "boat", "bench", "bird", "horse", "sheep", "bear",
    "zebra", "giraffe", "backpack", "handbag", "suitcase", "frisbee", "skis", "kite", "surfboard", "bottle", "fork",
    "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "pizza", "donut", "chair",
    "bed", "toilet", "tv", "laptop", "mouse", "remote", "microwave", "oven", "toaster", "refrigerator", "book",
    "clock", "vase", "toothbrush",
]
# fmt: on
NAMES = [*SEEN, *UNSEEN, *sorted(LEFT_OUT)]


def content(part: str, ids: list[int], pairs: list[tuple[int, int]]) -> dict[str, Any]:
    """A file of instances; categories have numbers with gaps and come in another order, as in the true files."""
    categories = [{"id": 2 * k + 1, "name": name} for k, name in enumerate(NAMES)]
    return {
        "images": [{"id": i, "file_name": f"COCO_{part}_{i:012}.jpg"} for i in ids],
        "annotations": [{"image_id": i, "category_id": 2 * k + 1, "iscrowd": 0} for i, k in pairs],
        "categories": categories[::-1],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    save(folder, "train2014", content("train2014", [9, 3], [(9, 0), (9, 0), (9, 50), (3, 1)]))
    save(folder, "val2014", content("val2014", [42, 7, 8], [(42, 64), (7, 47), (7, 79)]))
    for name in ("train2014/COCO_train2014_000000000009.jpg", "val2014/COCO_val2014_000000000042.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 6)).save(folder / name)
    return tmp_path


def save(folder: Path, part: str, content: Any) -> None:
    (folder / f"annotations/instances_{part}.json").write_text(json.dumps(content))


def test_the_zero_shot_split_has_48_seen_and_17_unseen_categories(data: Path):
    assert len(NAMES) == 80
    source = find_dataset("coco:48_17", data).open()
    assert [source.class_names[k] for k in source.seen] == SEEN
    assert [source.class_names[k] for k in source.unseen] == list(UNSEEN)
    assert (len(SEEN), len(UNSEEN), source.tags.shape) == (48, 17, (5, 65))


def test_all_80_categories_are_seen_in_the_track_of_partial_annotations(data: Path):
    source = find_dataset("coco:80", data).open()
    assert source.class_names == tuple(NAMES)
    assert (len(source.seen), source.unseen, source.tags.shape) == (80, (), (5, 80))


def test_an_image_has_the_tags_of_its_annotated_objects(data: Path):
    source = find_dataset("coco:80", data).open()
    assert [np.flatnonzero(row > 0).tolist() for row in source.tags] == [[0, 50], [1], [64], [47, 79], []]
    assert set(np.unique(source.tags)) == {-1, 1}
    assert source.is_test.tolist() == [False, False, True, True, True]


def test_one_of_the_tracks_must_be_named(data: Path):
    with pytest.raises(UserError, match="coco:48_17 or coco:80"):
        find_dataset("coco", data)
    with pytest.raises(UserError, match="did you mean '48_17'"):
        find_dataset("coco:48-17", data)


def test_an_annotation_of_nothing_is_named_by_its_position(data: Path):
    save(data / "coco", "val2014", content("val2014", [42], [(42, 0), (99, 0)]))
    with pytest.raises(UserError, match=r"instances_val2014.json: annotations\[1\] is about image 99"):
        find_dataset("coco:80", data).open()


@pytest.mark.parametrize("content", [[], {"images": []}, {"images": [], "categories": [], "annotations": [3]}])
def test_another_json_file_is_refused_in_one_line(data: Path, content: Any):
    save(data / "coco", "train2014", content)
    with pytest.raises(UserError, match=r"instances_train2014.json: is no file of COCO instances") as error:
        find_dataset("coco:80", data).open()
    assert "\n" not in str(error.value)


def test_a_file_that_is_cut_off_is_named_with_its_line(data: Path):
    path = data / "coco/annotations/instances_train2014.json"
    path.write_text('{"images": [\n{"id":')
    with pytest.raises(UserError, match=r"instances_train2014.json: line 2: "):
        find_dataset("coco:80", data).open()


def test_without_images_and_without_features_there_is_nothing_to_open(data: Path):
    for image in data.rglob("*.jpg"):
        image.unlink()
    with pytest.raises(MissingDataError, match="none of its 5 images is there"):
        find_dataset("coco:80", data).open()


def test_members_are_both_tracks_where_the_folder_is(data: Path, tmp_path: Path):
    coco = type(find_dataset("coco:80"))
    assert coco.members(data) == ("coco:48_17", "coco:80")
    assert coco.members(data / "coco") == ()
    assert coco.members(None) == ()
