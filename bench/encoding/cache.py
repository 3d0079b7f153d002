"""The cache, a folder of files that can be computed again: where it is, and how files are written into it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.files import write_whole

SMALL_FILE_BYTES = 2**24
"""Files below this many bytes are hashed each time: a remembered hash would save next to nothing."""


def cache_root(folder: Path | None = None) -> Path:
    """The given folder, else $PZSL_CACHE, else ~/.cache/pzsl-bench."""
    if folder is not None:
        return folder.expanduser()
    from_environment = os.environ.get("PZSL_CACHE")
    return Path(from_environment).expanduser() if from_environment else Path.home() / ".cache" / "pzsl-bench"


def write_cached(path: Path, content: bytes) -> None:
    """Write a file of the cache, whole or not at all; a failure becomes an error in the user's words."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path.parent, error) from error


def unwritable(folder: Path, error: OSError) -> UserError:
    """The error for a cache into which nothing can be written."""
    reason = error.strerror or str(error)
    return UserError(f"cannot write to the cache {folder}: {reason}; --cache DIR names another place")


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def file_hash(path: Path, cache: Path) -> str:
    """sha256 of a file. The hash of a large file is kept in the cache, under its path, size and time of change."""
    status = path.stat()
    if status.st_size < SMALL_FILE_BYTES:
        return _sha256(path)
    hash_file = cache / "hashes.json"
    hashes = read_json(hash_file)
    hashes = hashes if isinstance(hashes, dict) else {}
    size_and_time = [status.st_size, status.st_mtime_ns]
    entry = hashes.get(str(path.resolve()))
    if isinstance(entry, list) and entry[:2] == size_and_time and len(entry) == 3:
        return str(entry[2])
    digest = _sha256(path)
    hashes[str(path.resolve())] = [*size_and_time, digest]
    write_cached(hash_file, json.dumps(hashes, indent=1).encode())
    return digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
