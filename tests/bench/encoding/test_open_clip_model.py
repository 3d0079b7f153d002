"""A loaded model prepares images as open_clip does, and weights come from where they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_encoder import (
    SIZE,
    picture,
)

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.encoding import (
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding.encoder import Encoder, find_encoder


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


def test_weights_of_another_architecture_are_one_line(folder: Path, tmp_path: Path) -> None:
    encoder = find_encoder(f"RN50:{folder / 'open_clip_model.safetensors'}", tmp_path)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        encoder.load()
    assert "\n" not in str(caught.value)


def test_weights_are_not_fetched_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(MissingDataError, match="--download"):
        find_encoder("ViT-B-32:laion2b_s34b_b79k", tmp_path).load()
    assert before == constants.HF_HUB_OFFLINE


def test_weights_trained_with_the_fast_gelu_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}

    def fake(name: str, weights: str, preprocessing: Any, **more: Any) -> None:
        options.update(more)

    monkeypatch.setattr("pzsl_bench.encoding.open_clip_model.load_open_clip", fake)
    find_encoder("ViT-B-32:openai", tmp_path).load()
    assert options["quick_gelu"] is True and options["download"] is False
    find_encoder("ViT-B-32:laion2b_e16", tmp_path).load()
    assert options["quick_gelu"] is False
    with_tag = find_encoder("ViT-B-32:openai", tmp_path).fingerprint()
    assert with_tag != find_encoder("ViT-B-32:laion2b_e16", tmp_path).fingerprint()
    assert with_tag == find_encoder("ViT-B/32:openai", tmp_path).fingerprint()
