"""Reading named arrays from one .npz file or from a folder of .npy files, with checks and one-line errors."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError, unknown


@dataclass(frozen=True)
class Arrays:
    """Arrays of a file by key. Each method checks one array and returns it in the form that is needed."""

    path: Path
    arrays: dict[str, NDArray[Any]]

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def bad(self, key: str, reason: str) -> UserError:
        """The error for the array of a key."""
        return UserError(f"{self.path}: {key}: {reason}")

    def matrix(self, key: str, rows: int | None = None, per: str = "") -> NDArray[np.float32]:
        """(rows, any width) finite numbers; `per` says in messages what has a row each."""
        value = self.arrays[key]
        if value.ndim != 2 or value.dtype.kind not in "buif" or 0 in value.shape:
            raise self.bad(key, f"is not a matrix of numbers (it is {_shape(value)} of {value.dtype})")
        if rows is not None and len(value) != rows:
            hint = "; transpose it" if value.shape[1] == rows else ""
            raise self.bad(key, f"is {_shape(value)}, but there are {rows} {per}, each of which needs a row{hint}")
        return self._finite(key)

    def matrices(self, key: str, number: int, per: str, width: int) -> NDArray[np.float32]:
        """(number, any, width) finite numbers; `per` says in messages what has a matrix each."""
        value = self.arrays[key]
        if value.ndim != 3 or value.dtype.kind not in "buif" or (len(value), value.shape[-1]) != (number, width):
            raise self.bad(
                key,
                f"is not {number} x any number x {width}, a matrix for each of the {per}"
                f" (it is {_shape(value)} of {value.dtype})",
            )
        return self._finite(key)

    def _finite(self, key: str) -> NDArray[np.float32]:
        value = self.arrays[key]
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(value, dtype=np.float32)
        wrong = np.argwhere(~np.isfinite(numbers))
        if len(wrong):
            place = tuple(wrong[0].tolist())
            more = f" ({len(wrong)} such numbers)" if len(wrong) > 1 else ""
            raise self.bad(key, f"[{', '.join(map(str, place))}] is {value[place]}{more}")
        return numbers

    def whole(self, key: str) -> NDArray[np.int64]:
        """(n,) whole numbers, given as a row, a column or a list of them."""
        value = self.arrays[key]
        if value.size != max(value.shape, default=0):
            raise self.bad(key, f"is not a list of numbers (it is {_shape(value)})")
        value = value.ravel()
        if not value.size:
            return np.empty(0, dtype=np.int64)
        if value.dtype.kind not in "uif" or (wrong := ~(np.isfinite(value) & (value == np.floor(value)))).any():
            what = value[wrong][0] if value.dtype.kind == "f" else f"{value.dtype} values"
            raise self.bad(key, f"holds {what}, where only whole numbers belong")
        return value.astype(np.int64)

    def number(self, key: str) -> float:
        """One finite number."""
        value = self.arrays[key]
        if value.size != 1 or value.dtype.kind not in "buif" or not np.isfinite(value).all():
            raise self.bad(key, "is not one number")
        return float(value.ravel()[0])

    def words(self, key: str) -> tuple[str, ...]:
        """A list of words, none of them empty and none of them there twice."""
        value = self.arrays[key]
        if value.ndim != 1 or value.dtype.kind not in "US" or not value.size:
            raise self.bad(key, f"is not a list of words (it is {_shape(value)} of {value.dtype})")
        try:
            words = [str(w.decode() if isinstance(w, bytes) else w).strip() for w in value.tolist()]
        except UnicodeDecodeError:
            raise self.bad(key, "holds bytes that are not UTF-8; save the words as text") from None
        known: set[str] = set()
        for position, word in enumerate(words):
            if not word:
                raise self.bad(key, f"[{position}] is empty")
            if word in known:
                raise self.bad(key, f"'{word}' is there twice")
            known.add(word)
        return tuple(words)

    def classes(self, key: str, names: Sequence[str]) -> tuple[int, ...]:
        """Numbers of the classes that the array lists by number or by name, in ascending order."""
        if self.arrays[key].dtype.kind in "US":
            words = self.words(key) if self.arrays[key].size else ()
            for word in words:
                if word not in names:
                    raise UserError(f"{self.path}: {unknown(f'class in {key}', word, names)}")
            return tuple(sorted(names.index(word) for word in words))
        numbers = self.whole(key)
        for number in numbers[(numbers < 0) | (numbers >= len(names))]:
            raise self.bad(key, f"class {number} does not exist; the {len(names)} classes are 0 to {len(names) - 1}")
        if len(set(numbers.tolist())) < len(numbers):
            twice = next(n for n in numbers if (numbers == n).sum() > 1)
            raise self.bad(key, f"class {twice} ('{names[twice]}') is there twice")
        return tuple(sorted(numbers.tolist()))


def read(path: Path, keys: Sequence[str]) -> Arrays:
    """The arrays of these keys, as far as the .npz file or the folder has them."""
    if path.is_dir():
        return Arrays(path, {key: _folder_array(path / f"{key}.npy", key) for key in keys if _npy(path, key)})
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path}: is not an .npz file (as numpy.savez writes it), or is cut off")
        with np.load(path, allow_pickle=False) as file:
            return Arrays(path, {key: _member(path, file, key) for key in keys if key in file.files})
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def keys_of(path: Path) -> list[str]:
    """All keys of an .npz file or a folder; none where it cannot be read."""
    if path.is_dir():
        return sorted(file.stem for file in path.glob("*.npy"))
    try:
        with zipfile.ZipFile(path) as file:
            return sorted(name.removesuffix(".npy") for name in file.namelist())
    except (OSError, zipfile.BadZipFile):
        return []


def _npy(folder: Path, key: str) -> bool:
    return (folder / f"{key}.npy").is_file()


def _folder_array(path: Path, key: str) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise _unreadable(path.parent, key, error) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _member(path: Path, file: Any, key: str) -> NDArray[Any]:
    try:
        return np.asarray(file[key])
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, key, error) from None


def _unreadable(path: Path, key: str, error: Exception) -> UserError:
    if "allow_pickle" in str(error):
        return UserError(f"{path}: {key}: holds Python objects; save plain numbers, or words as np.array(words)")
    return UserError(f"{path}: {key}: is damaged ({str(error).splitlines()[0]})")


def _shape(value: NDArray[Any]) -> str:
    return " x ".join(map(str, value.shape)) or "a single value"
