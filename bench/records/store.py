"""Records on disk, one JSON file each. They are the only files that a run must not lose."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pzsl_bench.base.files import write_whole
from pzsl_bench.records.cell import Cell
from pzsl_bench.records.record import Record

SLUG_LENGTH = 60
SAFE = re.compile(r"[a-z0-9](?:[a-z0-9._=,+-]*[a-z0-9_=+-])?")
# Names that Windows keeps for devices, whatever the extension.
DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")


def slug(text: str) -> str:
    """The text as one path component; different texts give different ones, also where case is ignored.

    A text that is already safe stays as it is. Any other is made safe and gets `~` and its own hash; no safe
    text holds a `~`, so the two kinds cannot meet.
    """
    if len(text) <= SLUG_LENGTH and SAFE.fullmatch(text) and not DEVICES.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    words = re.sub(r"[^a-z0-9._=,+]+", "-", text.lower()).strip("-.")
    return f"{words[: SLUG_LENGTH - 13] or 'x'}~{digest}"


class Records:
    """All records under one folder. `problems` lists what could not be read."""

    def __init__(self, root: Path):
        self.root = root
        self.problems: list[str] = []

    def path(self, cell: Cell | Record, hash: str) -> Path:  # noqa: A002
        """Where the record of a cell with that hash belongs; readable, and safe on any file system."""
        return self._folder(cell) / f"seed{cell.seed}-{slug(hash[:12])}.json"

    def save(self, record: Record) -> Path:
        """Write a record whole or not at all, even if the machine stops in the middle."""
        path = self.path(record, record.hash)
        write_whole(path, record.model_dump_json(indent=1).encode())
        return path

    def load(self, path: Path) -> Record | None:
        """The record in that file; a damaged file is renamed, listed in `problems` and taken as missing."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.problems.append(f"cannot read the record {path}: {error.strerror}; taken as missing")
            return None
        try:
            return Record.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "file"
            self._set_aside(path, f"{where}: {first['msg']}")
            return None

    def find(self, cell: Cell | Record, hash: str) -> Record | None:  # noqa: A002
        """The record of a cell with exactly that hash, if there is one."""
        record = self.load(self.path(cell, hash))
        return record if record is not None and record.hash == hash else None

    def others(self, cell: Cell | Record, hash: str) -> list[Path]:  # noqa: A002
        """Paths of records of the same cell with another hash: stale ones."""
        mine = self.path(cell, hash)
        return sorted(p for p in self._folder(cell).glob(f"seed{cell.seed}-*.json") if p != mine)

    def all(self) -> Iterator[Record]:
        """Every readable record, in the order of paths."""
        for path in sorted(self.root.rglob("*.json")):
            record = self.load(path)
            if record is not None:
                yield record

    def _folder(self, cell: Cell | Record) -> Path:
        noise = f"-noise{float(cell.noise)!r}" if cell.noise else ""
        ambiguity = slug(f"{cell.ambiguity}-{float(cell.rate)!r}{noise}")
        return self.root / slug(cell.dataset) / slug(cell.encoder) / ambiguity / slug(cell.row)

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = path.with_name(f"{path.name}.corrupt")
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{path.name}.{number}.corrupt")
        try:
            path.rename(aside)
        except OSError as error:
            self.problems.append(f"damaged record {path} ({reason}); it could not be set aside: {error.strerror}")
        else:
            self.problems.append(f"damaged record {path} ({reason}); set aside as {aside.name}")
