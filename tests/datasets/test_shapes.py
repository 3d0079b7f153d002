import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.randomness import key, uniform
from pzsl_bench.data.source import Source, find_dataset
from pzsl_bench.datasets import shapes
from pzsl_bench.datasets.shapes import PER_CLASS, ShapeImages
from pzsl_bench.datasets.shapes.draw import BENCH, PRE, draw
from pzsl_bench.datasets.shapes.lexicon import COMBINATIONS, OPENINGS, class_name
from pzsl_bench.datasets.shapes.splits import describe
from pzsl_bench.encoding.encoder import EMBEDDED, find_encoder
from pzsl_bench.encoding.prompts import class_texts

SPECS = ["shapes", "shapes:split1", "shapes:split2"]


def images_of(source: Source) -> ShapeImages:
    assert isinstance(source.images, ShapeImages)
    return source.images


def test_importing_the_world_does_not_import_torch():
    code = "import sys, pzsl_bench.datasets.shapes as s; s.Shapes().open(); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.parametrize("spec", SPECS)
def test_a_split_has_forty_seen_and_twenty_unseen_classes_of_a_hundred_images(spec):
    source = find_dataset(spec).open()
    assert (len(source.seen), len(source.unseen), len(source.validation)) == (40, 20, 10)
    assert len(source.class_names) == len(set(source.class_names)) == 60
    train = np.bincount(source.labels[~source.is_test], minlength=60)
    test = np.bincount(source.labels[source.is_test], minlength=60)
    assert set(test) == {PER_CLASS} == {100}
    assert set(train[list(source.seen)]) == {100}
    assert set(train[list(source.unseen)]) == {0}
    assert len(images_of(source)) == len(source.labels) == len(source.is_test) == 10_000


def test_opening_draws_no_image(monkeypatch):
    monkeypatch.setattr("pzsl_bench.datasets.shapes.draw", lambda *_: 1 / 0)
    source = find_dataset("shapes:split2").open()
    with pytest.raises(ZeroDivisionError):
        source.images[0]


def test_naming_changes_names_and_nothing_else():
    plain, odd = find_dataset("shapes").open(), find_dataset("shapes:odd").open()
    assert set(plain.class_names).isdisjoint(odd.class_names)
    assert plain.checksum == odd.checksum
    assert (plain.labels == odd.labels).all()
    for i in (0, 4321, 9999):
        assert images_of(plain)[i].tobytes() == images_of(odd)[i].tobytes()


def test_splits_differ_in_checksum_names_and_images():
    sources = [find_dataset(spec).open() for spec in SPECS]
    assert len({s.checksum for s in sources}) == 3
    assert len({s.class_names for s in sources}) == 3
    assert len({images_of(s)[0].tobytes() for s in sources}) == 3


def test_variants_combine_in_any_order():
    a, b = find_dataset("shapes:odd:split1").open(), find_dataset("shapes:split1:odd").open()
    assert a.class_names == b.class_names
    assert a.checksum == b.checksum


@pytest.mark.parametrize("spec", ["shapes:split1:split2", "shapes:odd:odd", "shapes:splt1", "shapes:split3"])
def test_impossible_variants_are_refused_in_one_line(spec):
    with pytest.raises(UserError) as error:
        find_dataset(spec)
    assert "\n" not in str(error.value)


def test_names_are_the_frequent_words_or_the_odd_ones():
    combination = next(c for c in range(COMBINATIONS) if describe(c) == "dotted teal circle")
    assert class_name(combination) == "dotted teal circle"
    assert class_name(combination, "odd") == "speckled aqua round"


def test_prompts_begin_like_captions():
    for template in find_dataset("shapes").open().templates:
        assert template.removesuffix(" {}") in OPENINGS


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9999), min_size=1, max_size=70))
def test_an_image_does_not_depend_on_the_others_drawn_with_it(indices):
    images = images_of(find_dataset("shapes").open())
    together = images.many(indices)
    assert len(together) == len(indices)
    for index, image in list(zip(indices, together, strict=True))[:3]:
        assert images[index].tobytes() == image.tobytes()


def test_images_are_rgb_and_reading_past_the_end_is_an_index_error():
    images = images_of(find_dataset("shapes").open())
    assert images[0].mode == "RGB"
    assert images[0].size == (48, 48)
    assert images[-1].tobytes() == images[9999].tobytes()
    with pytest.raises(IndexError):
        images[10_000]


def test_no_two_images_of_a_class_are_alike():
    images = images_of(find_dataset("shapes").open())
    assert len({image.tobytes() for image in images.many(range(0, 10_000, 20))}) == 500


def test_many_images_are_drawn_at_once(monkeypatch):
    calls, draw = [], shapes.draw

    def counted(stream, ids, *rest):
        calls.append(len(ids))
        return draw(stream, ids, *rest)

    monkeypatch.setattr(shapes, "draw", counted)
    assert len(images_of(find_dataset("shapes").open()).many(range(1000))) == 1000
    assert calls == [1000]


def fingerprint(image: np.ndarray) -> list[int]:
    """Four sums of the pixels under random signs: another image moves them by thousands, rounding by a few."""
    signs = np.where(uniform(key("signs"), 4, image.size) < 0.5, -1, 1)
    return (signs @ image.ravel().astype(np.int64)).tolist()


FINGERPRINTS = {
    "bench 3": [-13781, -731, -4401, -9215],
    "bench 1000": [-17607, -6203, -13045, -5311],
    "bench 77777": [-5059, 281, 779, -7105],
    "pre 3": [-10926, -1638, -7228, -8738],
    "pre 1000": [-8372, -6046, -16660, -5270],
    "pre 77777": [-5626, -654, -1988, -7684],
    "first": [-2755, 2467, -1601, -6887],
    "last": [-4816, 156, -14, -9416],
}


def reference_images() -> dict[str, np.ndarray]:
    ids = np.array([3, 1000, 77_777])
    places = np.array([[5, -1, -1], [333, -1, -1], [690, 77, 401]])
    drawn = {
        f"{name} {i}": image
        for name, style in (("bench", BENCH), ("pre", PRE))
        for i, image in zip(ids.tolist(), draw(key("reference"), ids, places, style), strict=True)
    }
    first = images_of(find_dataset("shapes").open())
    return drawn | {"first": np.asarray(first[0]), "last": np.asarray(first[9999])}


def test_images_are_the_published_ones_but_for_rounding():
    drawn = reference_images()
    assert drawn.keys() == FINGERPRINTS.keys()
    for name, image in drawn.items():
        assert np.abs(np.subtract(fingerprint(image), FINGERPRINTS[name])).max() <= 40, name


def test_the_encoder_folder_holds_what_open_clip_reads():
    names = {"open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz"}
    assert names <= {file.name for file in EMBEDDED.iterdir()}


def test_similarities_of_names_rank_alike_on_any_machine():
    """The ambiguity `semantic` goes by these ranks; double precision (1e-16) must not swap two of them."""
    encode_texts = find_encoder("embedded").load("cpu").encode_texts
    for spec in [*SPECS, "shapes:odd", "shapes:odd:split1", "shapes:odd:split2"]:
        source = find_dataset(spec).open()
        names = [source.class_names[k] for k in source.seen]
        texts = class_texts(encode_texts, names, source.templates).astype(float)
        ranked = np.sort(texts @ texts.T, axis=1)
        assert np.diff(ranked[:, :-1], axis=1).min() > 1e-10, spec


def test_texts_do_not_depend_on_batches_or_threads():
    encode_texts = find_encoder("embedded").load("cpu").encode_texts
    names = find_dataset("shapes").open().class_names
    one_by_one = np.concatenate([class_texts(encode_texts, [name], ["a {}"]) for name in names])
    np.testing.assert_array_equal(one_by_one, class_texts(encode_texts, names, ["a {}"]))
