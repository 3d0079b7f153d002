import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.base.randomness import key, uniform
from pzsl_bench.data.source import Source, find_dataset
from pzsl_bench.datasets.scenes import TAGS, UNSEEN, phrases, scenes, tags_of
from pzsl_bench.datasets.shapes import ShapeImages
from pzsl_bench.datasets.shapes.lexicon import COLOURS, SHAPES, TEXTURES, parts, vocabulary
from pzsl_bench.encoding.encode import encode
from pzsl_bench.encoding.encoder import find_encoder


@pytest.fixture(scope="module")
def source() -> Source:
    return find_dataset("scenes").open()


def images_of(source: Source) -> ShapeImages:
    assert isinstance(source.images, ShapeImages)
    return source.images


def tags_in(source: Source) -> np.ndarray:
    assert source.tags is not None
    return source.tags


def test_opening_scenes_imports_no_torch_and_draws_no_image(monkeypatch):
    code = "import sys, pzsl_bench.datasets.scenes as s; s.Scenes().open(); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
    monkeypatch.setattr("pzsl_bench.datasets.shapes.draw", lambda *_: 1 / 0)
    source = find_dataset("scenes").open()
    with pytest.raises(ZeroDivisionError):
        source.images[0]


def test_29_tags_of_which_8_are_unseen_on_2000_images_to_train_on_and_1000_to_test(source):
    assert (len(source.class_names), len(source.seen), len(source.unseen)) == (29, 21, 8)
    assert {source.class_names[k] for k in source.unseen} == set(UNSEEN)
    assert (~source.is_test).sum() == 2000
    assert source.is_test.sum() == 1000
    assert source.task == "tags"


@given(st.integers(0, 2**63), st.integers(1, 40))
def test_a_scene_has_two_to_five_objects_and_does_not_depend_on_how_many_are_drawn(stream, count):
    objects = scenes(stream, count)
    assert set((objects >= 0).sum(1)) <= {2, 3, 4, 5}
    assert (np.diff((objects >= 0).astype(int), axis=1) <= 0).all()
    np.testing.assert_array_equal(scenes(stream, count + 7)[:count], objects)


def test_tags_are_the_shapes_colours_and_textures_of_the_objects(source):
    objects = images_of(source).combinations
    for row, tags in zip(objects[:200], tags_in(source)[:200], strict=True):
        objects = [parts(c) for c in row.tolist() if c >= 0]
        expected = {name for t, c, s in objects for name in (TEXTURES[t], COLOURS[c], SHAPES[s])}
        assert {tag for tag, mark in zip(TAGS, tags, strict=True) if mark == 1} == expected
    assert set(np.unique(tags_in(source))) == {-1, 1}


def test_tags_of_a_scene_do_not_depend_on_the_order_of_its_objects():
    objects = scenes(5, 50)
    np.testing.assert_array_equal(tags_of(objects[:, ::-1]), tags_of(objects))


def test_training_and_test_images_have_tags_equally_often(source):
    share = (tags_in(source) > 0).astype(float)
    assert np.abs(share[~source.is_test].mean(0) - share[source.is_test].mean(0)).max() < 0.05
    assert share.mean(0).min() > 0.15
    assert share.mean(0).max() < 0.6


def test_a_tag_is_read_in_every_phrase_of_three_words_that_holds_it():
    assert [len(phrases(tag)) for tag in ("heart", "teal", "dotted")] == [50, 70, 140]
    for tag in TAGS:
        for phrase in phrases(tag):
            words = phrase.format(tag).split()
            assert len(words) == 4
            assert tag in words
            assert set(words) <= set(vocabulary())


def fingerprint(image: np.ndarray) -> list[int]:
    """Four sums of the pixels under random signs: another image moves them by thousands, rounding by a few."""
    signs = np.where(uniform(key("signs"), 4, image.size) < 0.5, -1, 1)
    return (signs @ image.ravel().astype(np.int64)).tolist()


FINGERPRINTS = {
    0: [-9914, -4202, -8128, -21700],
    1: [1628, 4100, -1698, -11422],
    1999: [-10010, -3576, -7820, -4738],
    2000: [-13117, 401, -5451, -4937],
    2999: [-9515, -2755, -3379, -4411],
}


def test_images_are_the_published_ones_but_for_rounding(source):
    for index, known in FINGERPRINTS.items():
        drawn = fingerprint(np.asarray(images_of(source)[index]))
        assert np.abs(np.subtract(drawn, known)).max() <= 40, index


def test_the_tags_are_the_published_ones(source):
    counts = (tags_in(source) > 0).sum(0)
    assert counts.tolist() == [
        677,
        709,
        701,
        706,
        694,
        668,
        671,
        651,
        674,
        703,
        663,
        666,
        658,
        658,
        898,
        939,
        917,
        945,
        879,
        899,
        904,
        924,
        912,
        946,
        1567,
        1625,
        1572,
        1638,
        1569,
    ]
    assert source.checksum == "86ec0128bbc273d2c080c590c3914c48d4f3ae83b7bf84f3ef367d7f86e1385b"


def test_every_scene_is_an_image_of_its_own(source):
    assert len({image.tobytes() for image in images_of(source).many(range(0, 3000, 10))}) == 300


@pytest.mark.slow
def test_the_text_of_a_tag_is_the_mean_of_its_phrases(source, tmp_path: Path):
    few = [0, 14, 24]
    small = Source(
        labels=None,
        tags=tags_in(source)[:4][:, few],
        is_test=np.array([False, True, False, True]),
        class_names=tuple(TAGS[k] for k in few),
        seen=(0, 1),
        unseen=(2,),
        validation=(),
        checksum="four scenes",
        templates=source.templates,
        contexts=tuple(source.contexts[k] for k in few),
        images=images_of(source).many(range(4)),
    )
    encoder = find_encoder("embedded", tmp_path)
    made = encode(small, "scenes", encoder, cache=tmp_path)
    text = encoder.load("cpu").encode_texts([phrase.format(TAGS[24]) for phrase in phrases(TAGS[24])]).mean(0)
    np.testing.assert_allclose(made.texts[2], text / np.linalg.norm(text), atol=1e-6)
    again = encode(small, "scenes", encoder, cache=tmp_path)
    np.testing.assert_array_equal(again.texts, made.texts)
    np.testing.assert_array_equal(again.features, made.features)
