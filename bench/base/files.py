"""Files that appear whole or not at all, whatever stops the program that writes them."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEFTOVER_SECONDS = 3600
"""Age at which a part is taken for what a killed program left; a younger one may belong to a living process."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, its folders included, so that nobody ever reads half of it; it has the rights of any new file."""
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
    """The path of a new neighbour that can take the place of this file; nothing of it stays when the block fails."""
    for left in path.parent.glob(f".{path.name}.*.tmp*"):
        try:
            if time.time() - left.stat().st_mtime > LEFTOVER_SECONDS:
                left.unlink()
        except FileNotFoundError:
            continue
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield part
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system lets folders be opened."""
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
