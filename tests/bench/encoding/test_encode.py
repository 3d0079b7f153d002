"""A dataset through an encoder: features, texts and views, made once and remembered."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_encoder import (
    Change,
    Folder,
    all_train,
    by_hand,
    forbid_loading,
    picture,
    ready,
    run,
    save_weights,
    source,
)

from pzsl_bench.base.errors import UserError
from pzsl_bench.encoding import (
    crops,
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding import encode as encode_module
from pzsl_bench.encoding.crops import VIEWS
from pzsl_bench.encoding.encode import BLOCK
from pzsl_bench.encoding.encoder import CONFIG, Encoder, find_encoder


def test_features_and_texts_are_unit_rows_of_the_model_itself(tiny: Encoder) -> None:
    encoded = run(tiny, source(Folder(10)))
    model = tiny.load()
    np.testing.assert_allclose(np.linalg.norm(encoded.features, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(encoded.features, model.encode_images([picture(i) for i in range(10)]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(encoded.texts, axis=1), 1, atol=1e-6)
    assert encoded.features.shape == (10, 12) and encoded.texts.shape == (3, 12)
    assert encoded.features.dtype == encoded.texts.dtype == np.float32
    assert encoded.scale == pytest.approx(float(model.model.logit_scale.detach().exp()))


def test_a_second_run_reads_no_image_and_loads_no_model(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tiny, source(Folder(20)))
    forbid_loading(monkeypatch)
    images = Folder(20)
    again = run(find_encoder(tiny.spec, tiny.cache), source(images))
    assert images.read == []
    assert again.key == first.key and again.scale == first.scale
    np.testing.assert_array_equal(again.features, first.features)
    np.testing.assert_array_equal(again.texts, first.texts)
    assert isinstance(again.features, np.memmap) and not again.features.flags.writeable


def test_a_second_run_imports_neither_torch_nor_open_clip(tiny: Encoder, tmp_path: Path) -> None:
    run(tiny, source(Folder(20)))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from pzsl_bench.encoding.encode import encode\n"
        "from pzsl_bench.encoding.encoder import find_encoder\n"
        "from pzsl_bench.data.source import Source\n"
        "n = np.arange(20)\n"
        "dots = Source(n % 3, n % 2 == 0, ('red dot', 'blue_dot', 'cat'), (0, 1), (2,), (0,), 'world 1',\n"
        "              ('a {}', 'a photo of a {}.'), images=list(n))\n"
        "cache = Path(sys.argv[2])\n"
        "encoded = encode(dots, 'dots', find_encoder(sys.argv[3], cache), cache=cache)\n"
        "print(encoded.features.shape, [m for m in ('torch', 'open_clip', 'torchvision') if m in sys.modules])\n"
    )
    args = [sys.executable, "-c", code, str(tmp_path), str(tiny.cache), tiny.spec]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(20, 12) []", done.stderr


def test_damaged_class_texts_are_made_again(tiny: Encoder) -> None:
    first = run(tiny, source(Folder(5)))
    path = next(tiny.cache.glob("texts/*.npz"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.warns(UserWarning, match="damaged"):
        again = run(tiny, source(Folder(5)))
    np.testing.assert_array_equal(first.texts, again.texts)


@pytest.mark.parametrize(
    ("change", "images_again"),
    [
        (lambda s: replace(s, class_names=("red dot", "blue dot", "dog")), False),
        (lambda s: replace(s, templates=("a {}",)), False),
        (lambda s: replace(s, checksum="world 2"), True),
    ],
    ids=["names", "templates", "checksum"],
)
def test_the_key_changes_with_what_the_numbers_depend_on(tiny: Encoder, change: Change, images_again: bool) -> None:
    first = run(tiny, source(Folder(6)))
    images = Folder(6)
    second = run(tiny, change(source(images)))
    assert second.key != first.key
    assert bool(images.read) == images_again


def test_a_variant_with_other_names_reuses_the_images(tiny: Encoder) -> None:
    run(tiny, source(Folder(6)), name="dots")
    images = Folder(6)
    run(tiny, source(images, names=("a", "b", "c")), name="dots:odd")
    assert images.read == []


def test_other_weights_are_another_key(folder: Path, tiny: Encoder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / CONFIG).write_text((folder / CONFIG).read_text())
    save_weights(other / "open_clip_model.safetensors", 1)
    encoder = find_encoder(f"local-dir:{other}", tiny.cache)
    assert encoder.fingerprint() != tiny.fingerprint()
    assert run(encoder, source(Folder(4))).key != run(tiny, source(Folder(4))).key


def test_views_are_the_augmented_training_images_of_seen_classes(tiny: Encoder) -> None:
    images = Folder(30)
    encoded = run(tiny, source(images), views=True)
    # Odd numbers are training images, every third class is unseen.
    rows = [i for i in range(30) if i % 2 and i % 3 != 2]
    assert encoded.views is not None and encoded.views.shape == (VIEWS, len(rows), 12)
    assert sorted(images.read) == sorted([*range(30), *rows])
    np.testing.assert_allclose(encoded.views, by_hand(tiny, rows), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(encoded.views, axis=-1), 1, atol=1e-6)


def test_nobody_asks_nothing_is_augmented(tiny: Encoder) -> None:
    images = Folder(10)
    assert run(tiny, source(images)).views is None
    assert sorted(images.read) == list(range(10)) and not (tiny.cache / "views").exists()


def test_views_come_mapped_from_the_cache_the_second_time(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tiny, source(Folder(20)), views=True)
    forbid_loading(monkeypatch)
    images = Folder(20)
    again = run(find_encoder(tiny.spec, tiny.cache), source(images), views=True)
    assert images.read == []
    assert isinstance(again.views, np.memmap) and not again.views.flags.writeable
    np.testing.assert_array_equal(again.views, np.asarray(first.views))


def test_views_leave_the_plain_features_alone_and_do_not_depend_on_them(tiny: Encoder) -> None:
    run(tiny, source(Folder(20)))
    images = Folder(20)
    later = run(tiny, source(images), views=True)
    assert set(images.read) == {i for i in range(20) if i % 2 and i % 3 != 2}
    fresh = run(find_encoder(tiny.spec, tiny.cache / "other"), source(Folder(20)), views=True)
    np.testing.assert_array_equal(later.features, fresh.features)
    np.testing.assert_array_equal(later.views, fresh.views)


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda s: replace(s, class_names=("red dot", "blue dot", "dog")), False),
        (lambda s: replace(s, checksum="world 2"), True),
        (lambda s: replace(s, seen=(0, 2), unseen=(1,)), True),
        (lambda s: replace(s, is_test=~s.is_test), True),
    ],
    ids=["names", "checksum", "seen classes", "training images"],
)
def test_the_key_of_views_changes_with_what_they_depend_on(tiny: Encoder, change: Change, again: bool) -> None:
    run(tiny, source(Folder(12)), views=True)
    images = Folder(12)
    run(tiny, change(source(images)))
    images.read.clear()
    run(tiny, change(source(images)), views=True)
    assert bool(images.read) == again


def test_another_recipe_is_another_key(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tiny, source(Folder(12)), views=True)
    monkeypatch.setattr(encode_module, "RECIPE", {**crops.RECIPE, "version": crops.RECIPE["version"] + 1})
    images = Folder(12)
    run(tiny, source(images), views=True)
    assert set(images.read) == {1, 3, 7, 9}
    assert len(list(tiny.cache.glob("views/*/done.json"))) == 2


@pytest.mark.filterwarnings("ignore:.*cannot be read")
def test_an_unreadable_image_has_neither_features_nor_views(tiny: Encoder) -> None:
    encoded = run(tiny, all_train(Folder(12, broken=(3, 7))), views=True)
    good = [i for i in range(12) if i not in (3, 7)]
    assert encoded.unreadable == (3, 7) and encoded.views is not None
    np.testing.assert_allclose(encoded.views, by_hand(tiny, good), atol=1e-5)


def test_an_image_that_broke_since_is_its_own_view_and_is_told(tiny: Encoder) -> None:
    plain = run(tiny, all_train(Folder(12)))
    with pytest.warns(UserWarning, match="1 image can no longer be read"):
        encoded = run(tiny, all_train(Folder(12, broken=(3,))), views=True)
    assert encoded.unreadable == () and encoded.views is not None
    np.testing.assert_array_equal(encoded.views[:, 3], np.stack([plain.features[3]] * VIEWS))
    np.testing.assert_allclose(encoded.views[:, [2, 4]], by_hand(tiny, [2, 4]), atol=1e-5)
    with pytest.warns(UserWarning, match="can be read now"):
        healed = run(tiny, all_train(Folder(12)), views=True)
    np.testing.assert_allclose(healed.views, by_hand(tiny, list(range(12))), atol=1e-5)


def test_images_that_are_drawn_together_have_the_same_views(tiny: Encoder) -> None:
    class Many(Folder):
        def many(self, indices: list[int]) -> list[Image.Image]:
            return [picture(i) for i in indices]

    single, together = run(tiny, source(Folder(60)), views=True), Many(60)
    elsewhere = find_encoder(tiny.spec, tiny.cache / "other")
    np.testing.assert_array_equal(run(elsewhere, source(together), views=True).views, single.views)
    assert together.read == []


def test_ready_features_have_views_if_they_bring_them(tmp_path: Path) -> None:
    none = find_encoder("none", tmp_path)
    with pytest.raises(UserError, match="views: noise works there"):
        run(none, ready(), views=True)
    # Training images of seen classes are 1, 3, 7; the features of 4 are missing.
    looks = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5) + 1
    encoded = run(none, replace(ready(), views=lambda: looks), views=True)
    assert encoded.views is not None
    np.testing.assert_allclose(encoded.views, looks / np.linalg.norm(looks, axis=-1, keepdims=True), atol=1e-6)
    all_training = replace(ready(), is_test=np.zeros(9, dtype=bool), views=lambda: np.ones((2, 6, 5), np.float32))
    encoded = run(none, all_training, views=True)
    assert encoded.unreadable == (4,) and encoded.views is not None and encoded.views.shape == (2, 5, 5)


def test_ready_features_pass_through_as_unit_rows_without_a_cache(tmp_path: Path) -> None:
    dataset = ready()
    encoded = run(find_encoder("none", tmp_path / "c"), dataset)
    assert encoded.unreadable == (4,) and encoded.scale == 30.0
    good = [i for i in range(9) if i != 4]
    np.testing.assert_allclose(np.linalg.norm(encoded.features[good], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(encoded.texts, axis=1), 1, atol=1e-6)
    assert not encoded.features.flags.writeable and not (tmp_path / "c").exists()


def test_ready_features_without_texts_take_them_from_an_encoder(tiny: Encoder) -> None:
    wide = np.ones((9, 12), np.float32)
    encoded = run(tiny, replace(ready(texts=False), features=wide))
    assert encoded.features.shape == (9, 12) and encoded.texts.shape == (3, 12)
    with pytest.raises(UserError, match=r"did not make the features .* 12 numbers .* have 5"):
        run(tiny, ready(texts=False))


def test_rows_may_keep_their_lengths_and_a_single_column_of_semantics_does(tmp_path: Path) -> None:
    dataset = replace(ready(), unit=False, texts=np.array([[0.0], [2.0], [-3.0]], np.float32))
    encoded = run(find_encoder("none", tmp_path), dataset)
    np.testing.assert_array_equal(encoded.features, dataset.features)
    np.testing.assert_array_equal(encoded.texts, dataset.texts)
    assert encoded.unreadable == (4,)


def test_features_that_no_encoder_made_keep_their_lengths_and_need_no_texts(tiny: Encoder) -> None:
    dataset = replace(ready(texts=False), standardise=True, unseen=())
    none = find_encoder("none", tiny.cache)
    encoded = run(none, dataset)
    np.testing.assert_array_equal(encoded.features, dataset.features)
    assert encoded.texts.shape == (3, 0) and encoded.unreadable == (4,)
    assert dataset.features is not None and not encoded.features.flags.writeable and dataset.features.flags.writeable
    with pytest.raises(UserError, match="use encoder 'none'"):
        run(tiny, dataset)


def test_encoders_that_make_no_sense_for_a_dataset_are_refused(tiny: Encoder) -> None:
    none = find_encoder("none", tiny.cache)
    with pytest.raises(UserError, match="needs an encoder"):
        run(none, source(Folder(4)))
    with pytest.raises(UserError, match="use 'none'"):
        run(tiny, ready())
    with pytest.raises(UserError, match="brings no class texts"):
        run(none, ready(texts=False))


def test_progress_counts_up_to_all_images(tiny: Encoder) -> None:
    seen: list[tuple[str, int, int]] = []
    run(tiny, source(Folder(BLOCK + 1)), progress=lambda what, done, total: seen.append((what, done, total)))
    assert seen == [("encoding dots", n, BLOCK + 1) for n in (0, BLOCK, BLOCK + 1)]
