"""A tiny encoder for the tests of this room."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_encoder import ARCHITECTURE, save_weights

from pzsl_bench.encoding import (
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding.encoder import CONFIG, Encoder, find_encoder


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
