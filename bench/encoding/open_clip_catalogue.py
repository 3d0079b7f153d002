"""What open_clip offers: architectures and pretrained tags, read without importing it where that can be avoided."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pzsl_bench.base.errors import UserError
from pzsl_bench.encoding.cache import read_json, write_cached


def architectures() -> set[str]:
    """Names of open_clip's architectures; read from its folder unless it is imported already."""
    if "open_clip" in sys.modules:
        return set(sys.modules["open_clip"].list_models())
    return {f.stem for f in _open_clip_folder().glob("model_configs/*.json")}


def architecture(name: str) -> dict[str, Any]:
    """open_clip's config of an architecture."""
    if "open_clip" in sys.modules:
        return dict(sys.modules["open_clip"].get_model_config(name))
    return dict(json.loads((_open_clip_folder() / "model_configs" / f"{name}.json").read_text(encoding="utf-8")))


def pretrained(cache: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Architecture -> tag -> facts, from open_clip; cached for each version, because importing it takes seconds."""
    cache_file = cache / f"open_clip-{version('open_clip_torch')}-tags.json"
    cached = read_json(cache_file)
    if isinstance(cached, dict):
        return cached
    from pzsl_bench.encoding.open_clip_model import pretrained_table

    table = pretrained_table()
    write_cached(cache_file, json.dumps(table).encode())
    return table


def _open_clip_folder() -> Path:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise UserError("open_clip is not installed; pip install open_clip_torch")
    return Path(spec.origin).parent
