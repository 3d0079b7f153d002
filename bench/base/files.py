"""Writing files so that they appear whole or not at all, even if the program is stopped while it writes."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEFTOVER_SECONDS = 3600
"""Age at which a temporary file counts as left behind by a killed program; a younger one may be in use."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file and create its folders; nobody ever reads half of it. It has the permissions of any new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with part_of(path) as part:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    sync_folder(path.parent)


@contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """A new path in the same folder, to write to and then to rename to `path`; removed when the block fails."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp*"):
        try:
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink()
        except FileNotFoundError:
            continue
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield part
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut, on systems where folders can be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)
