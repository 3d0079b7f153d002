"""Where the cache is, and what it remembers of large files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pzsl_bench.encoding import cache as cache_module
from pzsl_bench.encoding import (
    torchvision_shim,  # noqa: F401
)
from pzsl_bench.encoding.cache import cache_root, file_hash


def test_the_cache_folder_is_the_given_one_then_the_environments_then_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PZSL_CACHE", "/env/cache")
    assert cache_root(Path("/given")) == Path("/given")
    assert cache_root() == Path("/env/cache")
    monkeypatch.delenv("PZSL_CACHE")
    assert cache_root() == Path.home() / ".cache" / "pzsl-bench"


def test_hashes_of_large_files_are_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SMALL_FILE_BYTES", 4)
    file = tmp_path / "weights"
    file.write_bytes(b"abcdef")
    first = file_hash(file, tmp_path)
    assert first == hashlib.sha256(b"abcdef").hexdigest()
    monkeypatch.setattr(cache_module, "_sha256", lambda path: "computed again")
    assert file_hash(file, tmp_path) == first
    file.write_bytes(b"abcdefg")
    assert file_hash(file, tmp_path) == "computed again"
