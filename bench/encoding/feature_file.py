"""One array of features on disk: written block by block, resumed where it stopped, checked before it is read.

While it grows it is called features.part, and its length tells how much is written. When it is complete, it is renamed
to features.npy. The marker done.json is written last, with the length and a checksum of both ends.
"""

from __future__ import annotations

import json
import os
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.encoding.cache import read_json, unwritable, write_cached

END_BYTES = 2**20
"""Bytes at either end that the checksum covers; to read all features of ImageNet would take seconds."""


@dataclass(frozen=True)
class FeatureFile:
    """The features of one key, in one folder. Rows that are NaN belong to images that could not be read."""

    folder: Path
    key: dict[str, Any]
    rows: int

    @property
    def done(self) -> Path:
        """The marker, which is there when the array is complete."""
        return self.folder / "done.json"

    @property
    def array(self) -> Path:
        """The complete array."""
        return self.folder / "features.npy"

    @property
    def part(self) -> Path:
        """The array while it grows."""
        return self.folder / "features.part"

    def open(self) -> tuple[NDArray[np.float32], tuple[int, ...]] | None:
        """The array, read-only and memory-mapped, and its unreadable rows; None when it has to be encoded."""
        if not self.done.exists():
            return None
        marker, meta = read_json(self.done), read_json(self.folder / "meta.json")
        damage = self._damage(marker, meta)
        if damage:
            warnings.warn(f"feature cache {self.folder} is damaged ({damage}); encoding again", stacklevel=2)
            self.forget()
            return None
        return np.load(self.array, mmap_mode="r"), tuple(marker["unreadable"])

    def forget(self) -> None:
        """Remove the marker, so that the array is encoded again."""
        try:
            self.done.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def _damage(self, marker: Any, meta: Any) -> str:
        """What is wrong with a finished file, in a few words; empty when nothing is."""
        if not isinstance(marker, dict) or not {"bytes", "ends", "unreadable"} <= set(marker):
            return "done.json is broken"
        if not isinstance(meta, dict) or meta.get("key") != self.key:
            return "meta.json does not match"
        try:
            if self.array.stat().st_size != marker["bytes"]:
                return f"features.npy has {self.array.stat().st_size} bytes, not {marker['bytes']}"
            if _ends(self.array) != marker["ends"]:
                return "the content of features.npy has changed"
            array = np.load(self.array, mmap_mode="r")
        except (OSError, ValueError) as error:
            return str(error)
        if array.dtype != np.float32 or array.ndim != 2 or len(array) != self.rows:
            return f"features.npy holds {array.dtype} {array.shape}"
        return ""

    def make(
        self,
        dim: int,
        block: int,
        blocks: Callable[[int], Any],
        information: dict[str, Any],
        progress: Callable[[int], None],
    ) -> None:
        """Write what is missing; `blocks(start)` yields the rows from that one on, `block` of them at a time."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.done.unlink(missing_ok=True)
            self.array.unlink(missing_ok=True)
            write_cached(self.folder / "meta.json", json.dumps({"key": self.key, **information}, indent=1).encode())
            start = self._resume(dim, block)
            with self.part.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                progress(start)
                for rows in blocks(start):
                    file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())
                    file.flush()
                    start += len(rows)
                    progress(start)
                os.fsync(file.fileno())
            self.part.replace(self.array)
            self._finish()
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def _resume(self, dim: int, block: int) -> int:
        """Cut the part to its complete blocks, or begin a new one; return the number of rows that it has."""
        header = {"descr": "<f4", "fortran_order": False, "shape": (self.rows, dim)}
        try:
            with self.part.open("r+b") as file:
                if np.lib.format.read_magic(file) == (1, 0):
                    old_header = np.lib.format.read_array_header_1_0(file)
                    if old_header == (header["shape"], False, np.dtype("<f4")):
                        data_start = file.tell()
                        rows_written = (self.part.stat().st_size - data_start) // (4 * dim)
                        rows_complete = self.rows if rows_written >= self.rows else rows_written // block * block
                        file.truncate(data_start + rows_complete * 4 * dim)
                        return rows_complete
        except (FileNotFoundError, ValueError):
            pass
        with self.part.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
        return 0

    def _finish(self) -> None:
        array = np.load(self.array, mmap_mode="r")
        unreadable = np.flatnonzero(np.isnan(array[:, 0])).tolist()
        marker = {"bytes": self.array.stat().st_size, "ends": _ends(self.array), "unreadable": unreadable}
        write_cached(self.done, json.dumps(marker).encode())


def _ends(path: Path) -> int:
    """Checksum of the first and the last bytes of a file."""
    with path.open("rb") as file:
        value = zlib.crc32(file.read(END_BYTES))
        file.seek(max(0, path.stat().st_size - END_BYTES))
        return zlib.crc32(file.read(END_BYTES), value)
