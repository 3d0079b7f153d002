"""The outcome of a cell as one JSON file: the only thing a run must not lose."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.files import write_whole
from pzsl_bench.records.cell import Cell
from pzsl_bench.records.metric_names import of_tags
from pzsl_bench.records.trial import Trial

if TYPE_CHECKING:
    from pandas import DataFrame

SLUG_LENGTH = 60
PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9._=,+-]*[a-z0-9_=+-])?")
# Names that Windows keeps for devices, whatever the extension.
DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")

HEAD = ("dataset", "encoder", "ambiguity", "rate", "method", "seed", "status")
METRICS = ("T1", "U", "S", "H", "seen_acc", "accuracy", "D")
TAG_METRICS = ("mAP_zsl", "mAP_gzsl", "mAP_seen", "mAP_train")
COST = ("seconds", "candidates_hash")
CHOICE = ("select", "tune", "draw", "epoch")
MARKS = ("reveals_truth", "transductive")
FACTS = ("mean_candidates", "stack", "peak_mb", "title", "family", *MARKS, *CHOICE, "hash", "finished")


class Status(StrEnum):
    """How a cell ended."""

    DONE = "done"
    FAILED = "failed"
    DIVERGED = "diverged"


class Record(BaseModel):
    """One finished cell."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    hash: str
    """identity_hash(identity)."""
    identity: dict[str, Any]
    """Everything that determines the result."""
    dataset: str
    encoder: str
    ambiguity: str
    rate: float
    method: str
    """Name in the registry."""
    row: str
    """Method with the settings of the grid: the row of a table."""
    title: str
    """Method as a paper writes it."""
    family: str
    reveals_truth: bool
    transductive: bool = False
    """Scored the images of the exam together."""
    settings: dict[str, Any]
    """All hyper-parameters of the result, defaults and what was chosen included."""
    seed: int
    status: Status
    metrics: dict[str, float | None]
    """T1, U, S, H, seen_acc, accuracy, D, H_cal, ... as fractions; None where a method cannot have it.

    Where images have tags: mAP_zsl, F1_at_3_gzsl, ... as `pzsl_bench.judging.tag_metrics` names them.
    """
    curves: dict[str, list[float]]
    """One value per epoch."""
    candidates_hash: str
    mean_candidates: float
    """Mean size of the candidate sets."""
    seconds: float
    """This cell's share of its stack's time."""
    stack: int
    """How many cells were trained together."""
    peak_mb: float
    environment: dict[str, str]
    finished: str
    """UTC, ISO 8601."""
    select: str = "last"
    """The rule that chose the epoch and the draw of the settings."""
    tune: int = 0
    """How many draws there were; 0 where settings were left as they are."""
    draw: int = 0
    """The chosen one; 0 has the settings of the grid."""
    epoch: int | None = None
    """The chosen epoch; None for the end of the training."""
    trials: list[Trial] = []
    """Every draw with what it changes, its best epoch and the criterion there."""
    error: str | None = None
    """The traceback of a failed cell."""

    @property
    def headline(self) -> str | None:
        """One line of the error: the message of a traceback, or the first line of anything else."""
        lines = (self.error or "").strip().splitlines()
        if not lines:
            return None
        return lines[-1 if lines[0].startswith("Traceback") else 0].strip()


def slug(text: str) -> str:
    """The text as one path component; different texts give different ones, also where case is ignored.

    A text that is already safe stays as it is. Any other is made safe and gets `~` and its own hash; no safe
    text holds a `~`, so the two kinds cannot meet.
    """
    if len(text) <= SLUG_LENGTH and PLAIN.fullmatch(text) and not DEVICES.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    words = re.sub(r"[^a-z0-9._=,+]+", "-", text.lower()).strip("-.")
    return f"{words[: SLUG_LENGTH - 13] or 'x'}~{digest}"


class Records:
    """All records under one folder. What could not be read is told in `problems`."""

    def __init__(self, root: Path):
        self.root = root
        self.problems: list[str] = []

    def path(self, cell: Cell | Record, hash: str) -> Path:  # noqa: A002
        """Where the result of that name belongs; readable, and safe on any file system."""
        return self._folder(cell) / f"seed{cell.seed}-{slug(hash[:12])}.json"

    def save(self, record: Record) -> Path:
        """Write it whole or not at all, also when the machine stops in the middle."""
        path = self.path(record, record.hash)
        write_whole(path, record.model_dump_json(indent=1).encode())
        return path

    def load(self, path: Path) -> Record | None:
        """The record in that file; a damaged file is set aside, told in `problems` and taken as missing."""
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
        """The result of exactly that name, if there is one."""
        record = self.load(self.path(cell, hash))
        return record if record is not None and record.hash == hash else None

    def others(self, cell: Cell | Record, hash: str) -> list[Path]:  # noqa: A002
        """Results at the same place of the grid under another name: stale ones."""
        mine = self.path(cell, hash)
        return sorted(p for p in self._folder(cell).glob(f"seed{cell.seed}-*.json") if p != mine)

    def all(self) -> Iterator[Record]:
        """Every readable record, in the order of paths."""
        for path in sorted(self.root.rglob("*.json")):
            record = self.load(path)
            if record is not None:
                yield record

    def _folder(self, cell: Cell | Record) -> Path:
        ambiguity = slug(f"{cell.ambiguity}-{float(cell.rate)!r}")
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


def frame(records: Iterable[Record]) -> DataFrame:
    """One tidy row per record: coordinates, status, usual metrics, cost, then all other metrics and facts."""
    import pandas

    rows: list[dict[str, Any]] = []
    extra: set[str] = set()
    for record in records:
        fixed = {name: getattr(record, name) for name in (*HEAD, *COST, *FACTS)}
        fixed |= {"method": record.row, "status": record.status.value, "error": record.headline or ""}
        clash = record.metrics.keys() & fixed.keys()
        if clash:
            raise UserError(f"a metric of {record.row} takes the name of a column: {', '.join(sorted(clash))}")
        extra |= record.metrics.keys()
        rows.append(fixed | record.metrics)
    usual = _usual(extra)
    others = sorted(extra - set(usual))
    table = pandas.DataFrame(rows, columns=[*HEAD, *usual, *COST, *others, *FACTS, "error"])
    numbers = [*usual, *others]
    table[numbers] = table[numbers].astype("float64")
    table["epoch"] = table["epoch"].astype("Int64")
    return table


def _usual(found: set[str]) -> tuple[str, ...]:
    """The columns that are there in any case: those of classes, unless all that was found is of tags."""
    tags = {name for name in found if of_tags(name)}
    if not tags:
        return METRICS
    return TAG_METRICS if tags == found else (*METRICS, *TAG_METRICS)


def metric_columns(frame: DataFrame) -> list[str]:
    """The columns of a tidy frame that are measured: metrics and cost."""
    facts = {*HEAD, *FACTS, "candidates_hash", "error"} - {"mean_candidates", "stack", "peak_mb"}
    return [str(name) for name in frame.columns if name not in facts]
