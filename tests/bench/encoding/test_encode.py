from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.data.source import Source
from pzsl_bench.encoding import cache as cache_module
from pzsl_bench.encoding import (
    crops,
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding import encode as encode_module
from pzsl_bench.encoding.cache import cache_root, file_hash
from pzsl_bench.encoding.crops import VIEWS, Augmentation
from pzsl_bench.encoding.encode import BLOCK, Encoded, encode
from pzsl_bench.encoding.encoder import CONFIG, Encoder, find_encoder
from pzsl_bench.encoding.open_clip_model import LoadedEncoder
from pzsl_bench.encoding.prompts import class_texts, fill

PARITY = Path(__file__).resolve().parents[2] / "parity"
SIZE = 16
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": SIZE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def save_weights(path: Path, seed: int) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    model = open_clip.CLIP(**ARCHITECTURE)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny open_clip model with random weights, in open_clip's own folder layout."""
    path = tmp_path_factory.mktemp("tiny")
    config = {"model_cfg": ARCHITECTURE, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.27] * 3}}
    (path / CONFIG).write_text(json.dumps(config))
    save_weights(path / "open_clip_model.safetensors", 0)
    return path


@pytest.fixture()
def tiny(folder: Path, tmp_path: Path) -> Encoder:
    return find_encoder(f"local-dir:{folder}", cache=tmp_path / "cache")


def picture(index: int, size: tuple[int, int] = (SIZE, SIZE), mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(index)
    raw = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(raw, "RGB").convert(mode)


class Folder:
    """Images by position; some are broken, some raise what a user's Ctrl-C or a full memory would."""

    def __init__(self, count: int, broken: tuple[int, ...] = (), stop_at: int | None = None):
        self.count, self.broken, self.stop_at = count, broken, stop_at
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Image.Image:
        if index == self.stop_at:
            raise KeyboardInterrupt
        self.read.append(index)
        if index in self.broken:
            raise OSError("image file is truncated")
        return picture(index)


def source(images: Any, checksum: str = "world 1", names: tuple[str, ...] = ("red dot", "blue_dot", "cat")) -> Source:
    count = len(images)
    return Source(
        labels=np.arange(count, dtype=np.int64) % 3,
        is_test=np.arange(count) % 2 == 0,
        class_names=names,
        seen=(0, 1),
        unseen=(2,),
        validation=(0,),
        checksum=checksum,
        templates=("a {}", "a photo of a {}."),
        images=images,
    )


def run(encoder: Encoder, given: Source, **more: Any) -> Encoded:
    return encode(given, more.pop("name", "dots"), encoder, cache=encoder.cache, **more)


def forbid_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("pzsl_bench.encoding.open_clip_model.load_open_clip", refuse)


def test_class_texts_are_clips_prompt_ensemble() -> None:
    fixture = json.loads((PARITY / "prompt_ensemble.json").read_text())
    given, expected = fixture["inputs"], fixture["expected"]
    names, templates = given["class_names"], given["templates"]
    assert fill(names, templates) == expected["prompts"]
    made = class_texts(lambda prompts: np.array(given["E"]), names, templates)
    np.testing.assert_allclose(made, expected["weights"], atol=1e-7)


def test_a_template_without_a_place_for_the_name_is_an_error() -> None:
    with pytest.raises(UserError, match="a photo"):
        fill(["cat"], ["a photo"])


def test_features_and_texts_are_unit_rows_of_the_model_itself(tiny: Encoder) -> None:
    made = run(tiny, source(Folder(10)))
    model = tiny.load()
    np.testing.assert_allclose(np.linalg.norm(made.features, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(made.features, model.encode_images([picture(i) for i in range(10)]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(made.texts, axis=1), 1, atol=1e-6)
    assert made.features.shape == (10, 12) and made.texts.shape == (3, 12)
    assert made.features.dtype == made.texts.dtype == np.float32
    assert made.scale == pytest.approx(float(model.model.logit_scale.detach().exp()))


def test_underscores_in_names_are_spaces(tiny: Encoder) -> None:
    made, model = run(tiny, source(Folder(4))), tiny.load()
    rows = model.encode_texts(["a blue dot", "a photo of a blue dot."]).mean(0)
    np.testing.assert_allclose(made.texts[1], rows / np.linalg.norm(rows), atol=1e-6)


@pytest.mark.parametrize("size", [(SIZE, SIZE), (40, 24), (9, 30)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_pixels_are_exactly_those_of_open_clips_own_transform(tiny: Encoder, size: tuple[int, int], mode: str) -> None:
    import torch

    model = tiny.load()
    images = [picture(i, size, mode) for i in range(4)]
    ours = model.pixels([model.prepare(image) for image in images])
    theirs = torch.stack([model.transform(image) for image in images])
    assert torch.equal(ours, theirs)


def test_images_of_mixed_sizes_share_a_batch(tiny: Encoder) -> None:
    import torch

    model = tiny.load()
    images = [picture(0), picture(1, (30, 20)), picture(2)]
    ours = model.pixels([model.prepare(image) for image in images])
    assert torch.equal(ours, torch.stack([model.transform(image) for image in images]))


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
        "given = Source(n % 3, n % 2 == 0, ('red dot', 'blue_dot', 'cat'), (0, 1), (2,), (0,), 'world 1',\n"
        "               ('a {}', 'a photo of a {}.'), images=list(n))\n"
        "cache = Path(sys.argv[2])\n"
        "made = encode(given, 'dots', find_encoder(sys.argv[3], cache), cache=cache)\n"
        "print(made.features.shape, [m for m in ('torch', 'open_clip', 'torchvision') if m in sys.modules])\n"
    )
    args = [sys.executable, "-c", code, str(tmp_path), str(tiny.cache), tiny.spec]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(20, 12) []", done.stderr


def test_an_interrupted_extraction_resumes_at_the_last_complete_block(tiny: Encoder) -> None:
    total = 4 * BLOCK + 10
    whole = run(tiny, source(Folder(total), "whole"))
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source(Folder(total, stop_at=2 * BLOCK + 5)))
    images = Folder(total)
    resumed = run(tiny, source(images))
    assert sorted(images.read) == list(range(2 * BLOCK, total))
    np.testing.assert_array_equal(resumed.features, whole.features)


def test_a_half_written_block_is_done_again(tiny: Encoder) -> None:
    total = 3 * BLOCK
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source(Folder(total, stop_at=2 * BLOCK + 5)))
    part = next(tiny.cache.glob("features/*/features.part"))
    with part.open("r+b") as file:
        file.truncate(part.stat().st_size - 30)
    images = Folder(total)
    resumed = run(tiny, source(images))
    assert sorted(images.read) == list(range(BLOCK, total))
    model = tiny.load()
    np.testing.assert_allclose(
        resumed.features[-3:], model.encode_images([picture(i) for i in range(total - 3, total)]), atol=1e-6
    )


def test_a_part_of_another_shape_is_not_resumed(tiny: Encoder) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source(Folder(3 * BLOCK, stop_at=2 * BLOCK + 5)))
    next(tiny.cache.glob("features/*/features.part")).write_bytes(b"\x93NUMPY rubbish")
    images = Folder(3 * BLOCK)
    run(tiny, source(images))
    assert len(images.read) == 3 * BLOCK


def test_a_killed_extraction_leaves_no_lock_and_loses_no_finished_block(tiny: Encoder, tmp_path: Path) -> None:
    total = 4 * BLOCK
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_encode_parts import Folder, source, run, find_encoder, BLOCK\n"
        "from pathlib import Path\n"
        "def die(what, done, total):\n"
        "    if done == 2 * BLOCK: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run(find_encoder(sys.argv[3], Path(sys.argv[2])), source(Folder(4 * BLOCK)), progress=die)\n"
    )
    (tmp_path / "test_encode_parts.py").write_text(Path(__file__).read_text())
    args = [sys.executable, "-c", code, str(tmp_path), str(tiny.cache), tiny.spec]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    images = Folder(total)
    run(tiny, source(images))
    assert sorted(images.read) == list(range(2 * BLOCK, total))


@pytest.mark.parametrize("harm", ["truncate", "header", "content", "marker", "meta", "remove"])
def test_a_damaged_cache_is_noticed_told_and_made_again(tiny: Encoder, harm: str) -> None:
    first = np.array(run(tiny, source(Folder(30))).features)
    place = next(tiny.cache.glob("features/*/done.json")).parent
    array = place / "features.npy"
    raw = bytearray(array.read_bytes())
    if harm == "truncate":
        array.write_bytes(raw[:-100])
    elif harm == "header":
        array.write_bytes(b"\0" * 80 + raw[80:])
    elif harm == "content":
        array.write_bytes(raw[:-64] + b"\0" * 64)
    elif harm == "marker":
        (place / "done.json").write_text("{")
    elif harm == "meta":
        (place / "meta.json").write_text('{"key": {}}')
    else:
        array.unlink()
    images = Folder(30)
    with pytest.warns(UserWarning, match="damaged"):
        again = run(tiny, source(images))
    assert len(images.read) == 30
    np.testing.assert_array_equal(again.features, first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tiny, source(Folder(30)))


def test_damaged_class_texts_are_made_again(tiny: Encoder) -> None:
    first = run(tiny, source(Folder(5)))
    path = next(tiny.cache.glob("texts/*.npz"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.warns(UserWarning, match="damaged"):
        again = run(tiny, source(Folder(5)))
    np.testing.assert_array_equal(first.texts, again.texts)


def test_an_unreadable_image_is_reported_and_harms_no_other(tiny: Encoder) -> None:
    with pytest.warns(UserWarning, match=r"2 of 12 images cannot be read \(numbers 3, 7\)"):
        made = run(tiny, source(Folder(12, broken=(3, 7))))
    assert made.unreadable == (3, 7)
    assert np.isnan(made.features[[3, 7]]).all()
    model = tiny.load()
    good = [i for i in range(12) if i not in (3, 7)]
    np.testing.assert_allclose(made.features[good], model.encode_images([picture(i) for i in good]), atol=1e-6)


def test_real_files_that_are_cut_or_no_images_are_isolated(tiny: Encoder, tmp_path: Path) -> None:
    for i in range(6):
        picture(i, (32, 32)).save(tmp_path / f"{i}.png")
    raw = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "4.png").write_text("not an image")
    (tmp_path / "5.png").unlink()

    class Files:
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int, /) -> Image.Image:
            return Image.open(tmp_path / f"{index}.png")

    with pytest.warns(UserWarning, match="3 of 6"):
        made = run(tiny, source(Files()))
    assert made.unreadable == (2, 4, 5)


def test_no_readable_image_at_all_is_still_no_crash(tiny: Encoder) -> None:
    with pytest.warns(UserWarning, match="3 of 3"):
        assert run(tiny, source(Folder(3, broken=(0, 1, 2)))).unreadable == (0, 1, 2)


def test_images_that_can_be_read_again_are_not_missing_for_ever(tiny: Encoder) -> None:
    with pytest.warns(UserWarning, match="cannot be read"):
        run(tiny, source(Folder(12, broken=tuple(range(12)))))
    with pytest.warns(UserWarning, match="can be read now"):
        made = run(tiny, source(Folder(12)))
    assert made.unreadable == () and not np.isnan(made.features).any()


def test_a_machine_out_of_memory_is_not_taken_for_broken_images(tiny: Encoder) -> None:
    class Hungry(Folder):
        def __getitem__(self, index: int, /) -> Image.Image:
            raise MemoryError

    with pytest.raises(MemoryError):
        run(tiny, source(Hungry(4)))


def test_images_that_are_drawn_together_give_the_same_features_one_by_one(tiny: Encoder) -> None:
    class Many(Folder):
        asked = 0

        def many(self, indices: list[int]) -> list[Image.Image]:
            self.asked += 1
            if len(self.broken) and set(self.broken) & set(indices):
                raise OSError("one of them is broken")
            return [picture(i) for i in indices]

    single, together = run(tiny, source(Folder(2 * BLOCK))), Many(2 * BLOCK)
    drawn = run(tiny, source(together, "drawn"))
    assert together.read == [] and together.asked == 2
    np.testing.assert_array_equal(drawn.features, single.features)
    with pytest.warns(UserWarning, match="1 of"):
        assert run(tiny, source(Many(2 * BLOCK, broken=(300,)), "half")).unreadable == (300,)


Change = Callable[[Source], Source]


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


def test_other_preprocessing_is_another_fingerprint(folder: Path, tiny: Encoder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / CONFIG).write_text(json.dumps({"model_cfg": ARCHITECTURE}))
    (other / "w.safetensors").write_bytes((folder / "open_clip_model.safetensors").read_bytes())
    assert find_encoder(f"local-dir:{other}", tiny.cache).fingerprint() != tiny.fingerprint()


def test_the_fingerprint_does_not_depend_on_where_the_weights_lie(folder: Path, tiny: Encoder, tmp_path: Path) -> None:
    other = tmp_path / "moved"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    assert find_encoder(f"local-dir:{other}", tiny.cache).fingerprint() == tiny.fingerprint()


def test_a_named_architecture_takes_a_checkpoint_of_yours(folder: Path, tmp_path: Path) -> None:
    import open_clip

    (tmp_path / "tiny-test-arch.json").write_text(json.dumps(ARCHITECTURE))
    open_clip.add_model_config(tmp_path / "tiny-test-arch.json")
    encoder = find_encoder(f"tiny-test-arch:{folder / 'open_clip_model.safetensors'}", tmp_path)
    assert encoder.preprocessing["mean"][0] == pytest.approx(0.4815, abs=1e-4)
    made = run(encoder, source(Folder(4)))
    assert made.features.shape == (4, 12)
    assert encoder.fingerprint().startswith("tiny-test-arch@")


def test_weights_of_another_architecture_are_one_line(folder: Path, tmp_path: Path) -> None:
    encoder = find_encoder(f"RN50:{folder / 'open_clip_model.safetensors'}", tmp_path)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        encoder.load()
    assert "\n" not in str(caught.value)


def test_the_statically_known_preprocessing_is_what_the_model_uses(tiny: Encoder) -> None:
    model = tiny.load()
    text = str(model.transform)
    assert "size=16" in text and "bicubic" in text and "0.27" in text
    assert tiny.preprocessing["size"] == model.height == model.width == SIZE


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ViT-B-33:openai", "did you mean 'ViT-B-32'"),
        ("embeded", "did you mean 'embedded'"),
        ("qqqqqqqq", "NAME:WEIGHTS"),
        ("ViT-B-32:opnai", "did you mean 'openai'.*laion2b_e16"),
        ("ViT-B-32", "needs weights.*laion2b_e16"),
        ("ViT-B-32:no/such/file.pt", "no/such/file.pt does not exist"),
        ("local-dir:/no/such/folder", "no folder /no/such/folder"),
    ],
)
def test_a_wrong_encoder_is_told_with_the_right_one(spec: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as caught:
        find_encoder(spec, tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_are_not_fetched_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(MissingDataError, match="--download"):
        find_encoder("ViT-B-32:laion2b_s34b_b79k", tmp_path).load()
    assert before == constants.HF_HUB_OFFLINE


def test_weights_trained_with_the_fast_gelu_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def fake(name: str, weights: str, preprocessing: Any, **more: Any) -> None:
        asked.update(more)

    monkeypatch.setattr("pzsl_bench.encoding.open_clip_model.load_open_clip", fake)
    find_encoder("ViT-B-32:openai", tmp_path).load()
    assert asked["quick_gelu"] is True and asked["download"] is False
    find_encoder("ViT-B-32:laion2b_e16", tmp_path).load()
    assert asked["quick_gelu"] is False
    with_tag = find_encoder("ViT-B-32:openai", tmp_path).fingerprint()
    assert with_tag != find_encoder("ViT-B-32:laion2b_e16", tmp_path).fingerprint()
    assert with_tag == find_encoder("ViT-B/32:openai", tmp_path).fingerprint()


def test_checking_a_known_encoder_imports_no_torch(tmp_path: Path) -> None:
    find_encoder("ViT-B-32:openai", tmp_path).fingerprint()
    code = (
        "import sys; from pathlib import Path; from pzsl_bench.encoding.encoder import find_encoder\n"
        "for spec in ('embedded', 'ViT-B-32:openai'): find_encoder(spec, Path(sys.argv[1])).fingerprint()\n"
        "print([m for m in ('torch', 'open_clip') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def by_hand(encoder: Encoder, images: list[int]) -> Any:
    """(V, n, d) the views of `dots`, image by image."""
    model, forms = encoder.load(), Augmentation.suiting(encoder.preprocessing, "world 1")
    return np.stack([model.encode_images(forms(picture(i), i)) for i in images], axis=1)


def test_views_are_the_augmented_training_images_of_seen_classes(tiny: Encoder) -> None:
    images = Folder(30)
    made = run(tiny, source(images), views=True)
    # Odd numbers are training images, every third class is unseen.
    rows = [i for i in range(30) if i % 2 and i % 3 != 2]
    assert made.views is not None and made.views.shape == (VIEWS, len(rows), 12)
    assert sorted(images.read) == sorted([*range(30), *rows])
    np.testing.assert_allclose(made.views, by_hand(tiny, rows), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(made.views, axis=-1), 1, atol=1e-6)


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


def all_train(images: Any) -> Source:
    """Every image is a training image of a seen class."""
    count = len(images)
    return replace(source(images), labels=np.arange(count) % 2, is_test=np.zeros(count, dtype=bool))


def test_interrupted_views_resume_at_the_last_complete_block(tiny: Encoder) -> None:
    total = 3 * BLOCK + 10
    run(tiny, all_train(Folder(total)))
    with pytest.raises(KeyboardInterrupt):
        run(tiny, all_train(Folder(total, stop_at=2 * BLOCK + 5)), views=True)
    part = next(tiny.cache.glob("views/*/features.part"))
    assert part.stat().st_size >= 4 * 12 * VIEWS * 2 * BLOCK
    images, told = Folder(total), []
    made = run(tiny, all_train(images), views=True, progress=lambda *said: told.append(said))
    assert sorted(images.read) == list(range(2 * BLOCK, total))
    assert told[0] == ("encoding 4 views of dots", 2 * BLOCK, total)
    assert told[-1] == ("encoding 4 views of dots", total, total)
    some = [0, 2 * BLOCK - 1, 2 * BLOCK, total - 1]
    assert made.views is not None
    np.testing.assert_allclose(made.views[:, some], by_hand(tiny, some), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*cannot be read")
def test_an_unreadable_image_has_neither_features_nor_views(tiny: Encoder) -> None:
    made = run(tiny, all_train(Folder(12, broken=(3, 7))), views=True)
    good = [i for i in range(12) if i not in (3, 7)]
    assert made.unreadable == (3, 7) and made.views is not None
    np.testing.assert_allclose(made.views, by_hand(tiny, good), atol=1e-5)


def test_an_image_that_broke_since_is_its_own_view_and_is_told(tiny: Encoder) -> None:
    plain = run(tiny, all_train(Folder(12)))
    with pytest.warns(UserWarning, match="1 image can no longer be read"):
        made = run(tiny, all_train(Folder(12, broken=(3,))), views=True)
    assert made.unreadable == () and made.views is not None
    np.testing.assert_array_equal(made.views[:, 3], np.stack([plain.features[3]] * VIEWS))
    np.testing.assert_allclose(made.views[:, [2, 4]], by_hand(tiny, [2, 4]), atol=1e-5)
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
    made = run(none, replace(ready(), views=lambda: looks), views=True)
    assert made.views is not None
    np.testing.assert_allclose(made.views, looks / np.linalg.norm(looks, axis=-1, keepdims=True), atol=1e-6)
    some = replace(ready(), is_test=np.zeros(9, dtype=bool), views=lambda: np.ones((2, 6, 5), np.float32))
    made = run(none, some, views=True)
    assert made.unreadable == (4,) and made.views is not None and made.views.shape == (2, 5, 5)


def ready(texts: bool = True) -> Source:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(9, 5)).astype(np.float32)
    features[4] = np.nan
    return replace(
        source(Folder(9)),
        images=None,
        features=features,
        texts=rng.normal(size=(3, 7)).astype(np.float32) if texts else None,
        scale=30.0,
    )


def test_ready_features_pass_through_as_unit_rows_without_a_cache(tmp_path: Path) -> None:
    given = ready()
    made = run(find_encoder("none", tmp_path / "c"), given)
    assert made.unreadable == (4,) and made.scale == 30.0
    good = [i for i in range(9) if i != 4]
    np.testing.assert_allclose(np.linalg.norm(made.features[good], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(made.texts, axis=1), 1, atol=1e-6)
    assert not made.features.flags.writeable and not (tmp_path / "c").exists()


def test_ready_features_without_texts_take_them_from_an_encoder(tiny: Encoder) -> None:
    wide = np.ones((9, 12), np.float32)
    made = run(tiny, replace(ready(texts=False), features=wide))
    assert made.features.shape == (9, 12) and made.texts.shape == (3, 12)
    with pytest.raises(UserError, match=r"did not make the features .* 12 numbers .* have 5"):
        run(tiny, ready(texts=False))


def test_rows_may_keep_their_lengths_and_a_single_column_of_semantics_does(tmp_path: Path) -> None:
    given = replace(ready(), unit=False, texts=np.array([[0.0], [2.0], [-3.0]], np.float32))
    made = run(find_encoder("none", tmp_path), given)
    np.testing.assert_array_equal(made.features, given.features)
    np.testing.assert_array_equal(made.texts, given.texts)
    assert made.unreadable == (4,)


def test_features_that_no_encoder_made_keep_their_lengths_and_need_no_texts(tiny: Encoder) -> None:
    given = replace(ready(texts=False), standardise=True, unseen=())
    none = find_encoder("none", tiny.cache)
    made = run(none, given)
    np.testing.assert_array_equal(made.features, given.features)
    assert made.texts.shape == (3, 0) and made.unreadable == (4,)
    assert given.features is not None and not made.features.flags.writeable and given.features.flags.writeable
    with pytest.raises(UserError, match="use encoder 'none'"):
        run(tiny, given)


def test_encoders_that_make_no_sense_for_a_dataset_are_refused(tiny: Encoder) -> None:
    none = find_encoder("none", tiny.cache)
    with pytest.raises(UserError, match="needs an encoder"):
        run(none, source(Folder(4)))
    with pytest.raises(UserError, match="use 'none'"):
        run(tiny, ready())
    with pytest.raises(UserError, match="brings no class texts"):
        run(none, ready(texts=False))


def test_two_processes_that_extract_at_once_end_with_one_sound_array(tiny: Encoder, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_encode_parts import Folder, source, run, find_encoder, BLOCK\n"
        "from pathlib import Path\n"
        "images = Folder(6 * BLOCK)\n"
        "run(find_encoder(sys.argv[3], Path(sys.argv[2])), source(images))\n"
        "print(len(images.read))\n"
    )
    (tmp_path / "test_encode_parts.py").write_text(Path(__file__).read_text())
    args = [sys.executable, "-c", code, str(tmp_path), str(tiny.cache), tiny.spec]
    workers = [subprocess.Popen(args, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = sorted(int(w.communicate()[0]) for w in workers)
    assert counts == [0, 6 * BLOCK]
    images = Folder(6 * BLOCK)
    made = run(tiny, source(images))
    assert images.read == [] and not np.isnan(made.features).any()


def test_progress_counts_up_to_all_images(tiny: Encoder) -> None:
    seen: list[tuple[str, int, int]] = []
    run(tiny, source(Folder(BLOCK + 1)), progress=lambda what, done, total: seen.append((what, done, total)))
    assert seen == [("encoding dots", n, BLOCK + 1) for n in (0, BLOCK, BLOCK + 1)]


def test_a_cache_that_takes_no_files_is_one_line(tiny: Encoder, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UserError, match="cannot write to the cache"):
        encode(source(Folder(4)), "dots", tiny, cache=blocked)


def test_the_cache_folder_is_the_given_one_then_the_environments_then_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PZSL_CACHE", "/env/cache")
    assert cache_root(Path("/given")) == Path("/given")
    assert cache_root() == Path("/env/cache")
    monkeypatch.delenv("PZSL_CACHE")
    assert cache_root() == Path.home() / ".cache" / "pzsl-bench"


def test_hashes_of_large_files_are_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SMALL", 4)
    file = tmp_path / "weights"
    file.write_bytes(b"abcdef")
    first = file_hash(file, tmp_path)
    assert first == hashlib.sha256(b"abcdef").hexdigest()
    monkeypatch.setattr(cache_module, "_sha256", lambda path: "computed again")
    assert file_hash(file, tmp_path) == first
    file.write_bytes(b"abcdefg")
    assert file_hash(file, tmp_path) == "computed again"


def test_the_embedded_encoder_loads_and_its_names_stay_apart(tmp_path: Path) -> None:
    encoder = find_encoder("embedded", tmp_path)
    model = encoder.load()
    assert isinstance(model, LoadedEncoder)
    texts = model.encode_texts(["a dotted teal circle", "a striped red heart"])
    images = model.encode_images([picture(0, (48, 48)), picture(1, (48, 48))])
    assert texts.shape == images.shape and np.isfinite(images).all()
    assert float(texts[0] @ texts[1]) < 0.99
    assert encoder.fingerprint().startswith("embedded@")


def test_a_missing_embedded_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pzsl_bench.encoding.encoder.EMBEDDED", tmp_path / "gone")
    with pytest.raises(MissingDataError, match="missing"):
        find_encoder("embedded", tmp_path).fingerprint()
