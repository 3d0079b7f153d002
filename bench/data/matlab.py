"""Reading fields of MATLAB files; what is wrong with a file is a one-line error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pzsl_bench.base.errors import UserError


def load(path: Path, needed: Sequence[str], layout: str, optional: Sequence[str] = ()) -> dict[str, Any]:
    """The needed fields, and the optional ones that are there, as scipy reads them.

    `layout` says in messages what a file needs.
    """
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
    fields = [*needed, *optional]
    try:
        content: dict[str, Any] = scipy.io.loadmat(path, variable_names=fields, appendmat=False)
        names = [name for name, _, _ in scipy.io.whosmat(path, appendmat=False)]
    # scipy's reader raises many kinds of errors, depending on how the file is damaged.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read as a MAT file, it may be cut off or another kind ({reason})") from None
    missing = [name for name in needed if name not in content]
    if missing:
        inside = ", ".join(sorted(names)) or "nothing"
        raise UserError(f"{path}: has no {' and no '.join(missing)}; it holds {inside}; needed is {layout}")
    return {name: content[name] for name in fields if name in content}
