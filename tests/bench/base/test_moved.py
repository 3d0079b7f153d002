"""Names of one version ago still lead where they should, with a word about the new place."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("pzsl_bench.source", "pzsl_bench.data.source", ["Dataset", "Source", "dataset", "find_dataset"]),
        ("pzsl_bench.clip_space", "pzsl_bench.blocks.clip_space", ["InClipSpace", "Tuned", "check_space"]),
        ("pzsl_bench.tags.heads", "pzsl_bench.blocks.tag_heads", ["TagHead", "Tagger", "is_present"]),
    ],
)
def test_an_old_place_warns_and_gives_the_same_things(old: str, new: str, names: list[str]) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} has moved to {new}"):
        module = importlib.import_module(old)
    for name in names:
        assert getattr(module, name) is getattr(importlib.import_module(new), name)
