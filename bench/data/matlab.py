"""Reading MATLAB files: the fields that are asked for, or one line that says what is wrong with the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pzsl_bench.base.errors import UserError


def load(path: Path, needed: Sequence[str], layout: str, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """The needed fields, and those of the wanted ones that are there, as scipy reads them."""
    import scipy.io

    try:
        with path.open("rb") as file:
            head = file.read(520)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{path}: is a Git LFS pointer, not the data; fetch it with: git lfs pull")
    if head.startswith(b"MATLAB 7.3") or b"\x89HDF\r\n\x1a\n" in head:
        raise UserError(f"{path}: is a MATLAB 7.3 (HDF5) file; in MATLAB or Octave, save it again with -v7")
    fields = [*needed, *wanted]
    try:
        found: dict[str, Any] = scipy.io.loadmat(path, variable_names=fields, appendmat=False)
        names = [name for name, _, _ in scipy.io.whosmat(path, appendmat=False)]
    # scipy's reader fails in as many ways as a file can be damaged.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read as a MAT file, it may be cut off or another kind ({reason})") from None
    missing = [name for name in needed if name not in found]
    if missing:
        inside = ", ".join(sorted(names)) or "nothing"
        raise UserError(f"{path}: has no {' and no '.join(missing)}; it holds {inside}; needed is {layout}")
    return {name: found[name] for name in fields if name in found}
