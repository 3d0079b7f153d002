"""A tiny open_clip model with random weights, images for it, and a dataset of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pzsl_bench.data.source import Source
from pzsl_bench.encoding import (
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding.crops import Augmentation
from pzsl_bench.encoding.encode import Encoded, encode
from pzsl_bench.encoding.encoder import Encoder

SUPPORT = str(Path(__file__).parent)
"""The folder of this file, for processes that import it."""
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


def run(encoder: Encoder, dataset: Source, **more: Any) -> Encoded:
    return encode(dataset, more.pop("name", "dots"), encoder, cache=encoder.cache, **more)


def forbid_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("pzsl_bench.encoding.open_clip_model.load_open_clip", refuse)


Change = Callable[[Source], Source]


def by_hand(encoder: Encoder, images: list[int]) -> Any:
    """(V, n, d) the views of `dots`, image by image."""
    model, forms = encoder.load(), Augmentation.suiting(encoder.preprocessing, "world 1")
    return np.stack([model.encode_images(forms(picture(i), i)) for i in images], axis=1)


def all_train(images: Any) -> Source:
    """Every image is a training image of a seen class."""
    count = len(images)
    return replace(source(images), labels=np.arange(count) % 2, is_test=np.zeros(count, dtype=bool))


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
