"""The folder of things that can be made again: where it is, and how files get into it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.files import write_whole

SMALL = 2**24
"""Files below this many bytes are hashed faster than a remembered hash is worth."""


def cache_root(given: Path | None = None) -> Path:
    """The given folder, else $PZSL_CACHE, else ~/.cache/pzsl-bench."""
    if given is not None:
        return given.expanduser()
    named = os.environ.get("PZSL_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "pzsl-bench"


def write_cached(path: Path, content: bytes) -> None:
    """Write a file of the cache whole; a cache that takes no files is told in the user's words."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path.parent, error) from error


def unwritable(folder: Path, error: OSError) -> UserError:
    """The error for a cache that takes no files."""
    reason = error.strerror or str(error)
    return UserError(f"cannot write to the cache {folder}: {reason}; --cache DIR names another place")


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def file_hash(path: Path, cache: Path) -> str:
    """sha256 of a file; for a large one remembered by (path, size, time of change)."""
    facts = path.stat()
    if facts.st_size < SMALL:
        return _sha256(path)
    memory = cache / "hashes.json"
    known = read_json(memory)
    known = known if isinstance(known, dict) else {}
    state = [facts.st_size, facts.st_mtime_ns]
    entry = known.get(str(path.resolve()))
    if isinstance(entry, list) and entry[:2] == state and len(entry) == 3:
        return str(entry[2])
    digest = _sha256(path)
    known[str(path.resolve())] = [*state, digest]
    write_cached(memory, json.dumps(known, indent=1).encode())
    return digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
