from pathlib import Path

import numpy as np
import pytest

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.source import Source
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.reports.retrieve import Ranking, lines, names_of, retrieve

FEATURES = np.array([[1, 0, 0], [0, 1, 0], [0.8, 0.6, 0], [0.6, 0.8, 0], [np.nan, 0, 0], [1, 0, 0]], dtype=np.float32)
TAGS = np.array([[1, -1, 0], [-1, 1, 0], [-1, 1, 1], [0, 1, -1], [1, 1, 1], [1, 1, -1]], dtype=np.int8)


def tagged(**changes: object) -> Source:
    made = {
        "labels": None,
        "tags": TAGS,
        "is_test": np.array([False, True] * 3),
        "class_names": ("ant", "bee", "cat"),
        "seen": (0, 1),
        "unseen": (2,),
        "validation": (),
        "checksum": "retrieve",
        "features": FEATURES,
        "texts": np.eye(3, dtype=np.float32),
    }
    return Source(**(made | changes))


def found(source: Source, text: str, cache: Path, encoder: str = "none", **more: bool) -> Ranking:
    return retrieve(source, "toy", find_encoder(encoder, cache), text, top=4, cache=cache, **more)


def test_images_come_by_falling_cosine_and_equal_ones_in_their_order(tmp_path: Path):
    hits = found(tagged(), "ant", tmp_path).hits
    assert [hit.image for hit in hits] == [0, 5, 2, 3]
    np.testing.assert_allclose([hit.score for hit in hits], [1, 1, 0.8, 0.6], rtol=1e-6)


def test_images_that_cannot_be_read_are_not_ranked(tmp_path: Path):
    result = retrieve(tagged(), "toy", find_encoder("none", tmp_path), "ant", top=99, cache=tmp_path)
    assert [hit.image for hit in result.hits] == [0, 5, 2, 3, 1]
    assert result.images == 5


def test_an_image_is_right_wrong_or_not_looked_at(tmp_path: Path):
    result = found(tagged(), "ant", tmp_path)
    assert [hit.right for hit in result.hits] == [True, True, False, None]
    assert result.share == pytest.approx(2 / 4)
    assert result.verdict == "2 of these 3 are 'ant', as are 50 % of all 5"


def test_known_tags_are_shown_and_of_a_dataset_of_classes_the_class(tmp_path: Path):
    assert names_of(tagged(), 2) == ("bee", "cat")
    single = tagged(labels=np.array([0, 1, 1, 0, 2, 0]), tags=None)
    assert names_of(single, 4) == ("cat",)
    assert [hit.right for hit in found(single, "ant", tmp_path).hits] == [True, True, False, True]


def test_the_table_has_a_row_for_each_image(tmp_path: Path):
    table = lines(found(tagged(), "ant", tmp_path))
    assert table[0] == ("rank", "image", "score", "right", "known to show")
    assert table[3] == ("3", "2", "0.800", "no", "bee, cat")
    assert [row[3] for row in table[1:]] == ["yes", "yes", "no", ""]


def test_contrast_subtracts_what_all_class_texts_share(tmp_path: Path):
    texts = np.array([[1, 0, 0.2], [0, 1, 0.2], [0, 0, 1]], dtype=np.float32)
    unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    result = found(tagged(texts=texts), "bee", tmp_path, contrast=True)
    expected = FEATURES @ (unit[1] - unit.mean(0))
    np.testing.assert_allclose([hit.score for hit in result.hits], expected[[h.image for h in result.hits]], rtol=1e-5)


def test_free_words_need_an_encoder_and_are_compared_with_ready_features_by_it(tmp_path: Path):
    with pytest.raises(UserError, match="'a tall giraffe' is no class of dataset 'toy'; other words need an encoder"):
        found(tagged(), "a tall giraffe", tmp_path)
    with pytest.raises(UserError, match="did you mean 'bee'"):
        found(tagged(), "beee", tmp_path)
    encoder = find_encoder("embedded", tmp_path).load("cpu")
    query = encoder.encode_texts(["a red heart"])[0]
    features = np.stack([query, -query]).astype(np.float32)
    ready = tagged(
        features=features, tags=TAGS[:2], is_test=np.array([False, True]), texts=np.ones((3, 64), dtype=np.float32)
    )
    result = found(ready, "a red heart", tmp_path, "embedded")
    np.testing.assert_allclose([hit.score for hit in result.hits], [1, -1], rtol=1e-5)
    assert result.share is None
    assert result.verdict == ""
    assert {hit.right for hit in result.hits} == {None}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (tagged(texts=np.ones((3, 5), dtype=np.float32)), "class texts of another origin"),
        (tagged(aligned=False), "class texts of another origin"),
        (tagged(features=np.full((6, 3), np.nan, dtype=np.float32)), "has no image that can be read"),
    ],
)
def test_images_that_no_text_can_be_compared_with_are_refused(source: Source, reason: str, tmp_path: Path):
    with pytest.raises(UserError, match=reason):
        found(source, "ant", tmp_path)


def test_an_empty_text_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="the text to look for is empty"):
        found(tagged(), "  ", tmp_path)
