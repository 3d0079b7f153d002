"""Which encoder a word means, what identifies it, and what is said when it is not here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import (
    ARCHITECTURE,
    SIZE,
    Folder,
    picture,
    run,
    source,
)

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.encoding import (
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding.encoder import CONFIG, Encoder, find_encoder
from pzsl_bench.encoding.open_clip_model import LoadedEncoder


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
    encoded = run(encoder, source(Folder(4)))
    assert encoded.features.shape == (4, 12)
    assert encoder.fingerprint().startswith("tiny-test-arch@")


def test_the_statically_known_preprocessing_is_what_the_model_uses(tiny: Encoder) -> None:
    model = tiny.load()
    text = str(model.transform)
    assert "size=16" in text and "bicubic" in text and "0.27" in text
    assert tiny.preprocessing["size"] == model.height == model.width == SIZE


@pytest.mark.parametrize(
    ("spec", "message"),
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
def test_a_wrong_encoder_is_told_with_the_right_one(spec: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        find_encoder(spec, tmp_path)
    assert "\n" not in str(caught.value)


def test_checking_a_known_encoder_imports_no_torch(tmp_path: Path) -> None:
    find_encoder("ViT-B-32:openai", tmp_path).fingerprint()
    code = (
        "import sys; from pathlib import Path; from pzsl_bench.encoding.encoder import find_encoder\n"
        "for spec in ('embedded', 'ViT-B-32:openai'): find_encoder(spec, Path(sys.argv[1])).fingerprint()\n"
        "print([m for m in ('torch', 'open_clip') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


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
