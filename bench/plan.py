"""What a grid asks for, what is already there, and which cells are trained together."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pzsl_bench import chance
from pzsl_bench.ambiguity import AMBIGUITIES
from pzsl_bench.cell import PROTOCOL, Cell, identity_hash
from pzsl_bench.contract import METHODS, Method, configure
from pzsl_bench.encode import cache_root, find_encoder
from pzsl_bench.errors import MissingDataError
from pzsl_bench.feeds import REFINER
from pzsl_bench.records import Record, Records, Status
from pzsl_bench.source import find_dataset

if TYPE_CHECKING:
    from pzsl_bench.grid import Grid
    from pzsl_bench.run import Options


class State(StrEnum):
    """Where a cell stands."""

    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    """Only records of another identity are there: an older version, other data, other weights."""
    FAILED = "failed"
    DIVERGED = "diverged"
    BLOCKED = "blocked"
    """Its data or weights are not on this machine."""


@dataclass(frozen=True)
class Planned:
    """A cell with its identity and state."""

    cell: Cell
    method: Method
    identity: dict[str, Any]
    hash: str
    state: State
    record: Record | None = None


@dataclass(frozen=True)
class Plan:
    """All cells of a grid."""

    name: str
    cells: list[Planned]
    problems: list[str]
    spent: float
    """Seconds that planning took."""
    costs: dict[tuple[str, str], float] = field(default_factory=dict)
    """Median seconds a cell of (dataset, method) took in the past."""

    def todo(self, retry_failed: bool = False, fresh: bool = False) -> list[Planned]:
        """The cells to compute now."""
        wanted = {State.MISSING, State.STALE}
        if retry_failed:
            wanted.add(State.FAILED)
        if fresh:
            wanted |= {State.DONE, State.FAILED, State.DIVERGED}
        return [p for p in self.cells if p.state in wanted]

    @property
    def stacks(self) -> list[list[Planned]]:
        """The cells to compute, as they will be trained together."""
        return stacks(self.todo())

    @property
    def seconds(self) -> float | None:
        """Estimate for what is to do; None while nothing like it has run."""
        todo = self.todo()
        known = [self.costs.get((p.cell.dataset, p.cell.method)) for p in todo]
        if not todo or any(k is None for k in known):
            return None if todo else 0.0
        return sum(k for k in known if k is not None)

    def records(self) -> list[Record]:
        """The current records of the grid's cells."""
        return [p.record for p in self.cells if p.record is not None]


def stacks(cells: Iterable[Planned]) -> list[list[Planned]]:
    """Cells that can be trained together: same problem, same method, same settings but for floats."""
    together: dict[tuple[Any, ...], list[Planned]] = defaultdict(list)
    for planned in cells:
        cell, method = planned.cell, planned.method
        fixed = tuple((f.name, v) for f in fields(method) if not isinstance(v := getattr(method, f.name), float))
        together[(cell.dataset, cell.encoder, cell.method, fixed)].append(planned)
    return list(together.values())


def make_plan(grid: Grid, options: Options) -> Plan:
    """Look up every cell of the grid among the records."""
    started = time.perf_counter()
    records = Records(options.results / "records")
    problems: list[str] = []
    cells: list[Planned] = []
    facts: dict[tuple[str, str], dict[str, Any] | None] = {}
    for cell in grid.cells():
        place = (cell.dataset, cell.encoder)
        if place not in facts:
            facts[place] = _facts(cell, options, problems)
        method = configure(cell.method, dict(cell.settings))
        identity = _identity(cell, method, facts[place] or {})
        name = identity_hash(identity)
        record = records.find(cell, name)
        cells.append(Planned(cell, method, identity, name, _state(cell, name, record, records, facts), record))
    problems += records.problems
    problems += [f"plug-in left out: {reason}" for reason in METHODS.broken.values()]
    return Plan(grid.name, cells, problems, time.perf_counter() - started, _costs(cells))


def cell_key(cell: Cell) -> str:
    """The name from which all random numbers of a cell's training come.

    The settings are not in it: two settings of a method are compared on the same initialisation and batches.
    """
    return f"{draw_key(cell)}|{cell.encoder}|{cell.method}"


def draw_key(cell: Cell) -> str:
    """The name that all methods share at one (dataset, ambiguity, rate, seed)."""
    return f"{cell.dataset}|{cell.ambiguity}|{cell.rate!r}|{cell.seed}"


def _facts(cell: Cell, options: Options, problems: list[str]) -> dict[str, Any] | None:
    """What identifies the data and the encoding of a (dataset, encoder); None when one of them is not here."""
    try:
        data = find_dataset(cell.dataset, options.data)
        source = data.open()
        encoder = find_encoder(cell.encoder, cache=cache_root(options.cache))
        names = (source.class_names, source.templates, source.seen, source.unseen, source.validation)
        return {
            "dataset_version": data.info.version,
            "dataset_checksum": source.checksum,
            "classes": f"{chance.key(*names):016x}",
            "encoder_fingerprint": encoder.fingerprint(),
        }
    except MissingDataError as missing:
        problems.append(str(missing))
        return None


def _identity(cell: Cell, method: Method, facts: dict[str, Any]) -> dict[str, Any]:
    identity = {
        "protocol": PROTOCOL,
        "dataset": cell.dataset,
        "encoder": cell.encoder,
        **facts,
        "ambiguity": cell.ambiguity,
        "ambiguity_version": AMBIGUITIES.get(cell.ambiguity).version,
        "rate": cell.rate,
        "method": cell.method,
        "method_version": method.info.version,
        "settings": {f.name: getattr(method, f.name) for f in fields(method)},
        "seed": cell.seed,
    }
    if method.feed == "refined":
        identity["refiner"] = [REFINER, METHODS.get(REFINER).info.version]
    return identity


def _state(
    cell: Cell,
    name: str,
    record: Record | None,
    records: Records,
    facts: dict[tuple[str, str], dict[str, Any] | None],
) -> State:
    if facts[(cell.dataset, cell.encoder)] is None:
        return State.BLOCKED
    if record is None:
        return State.STALE if records.others(cell, name) else State.MISSING
    return {
        Status.DONE: State.DONE,
        Status.FAILED: State.FAILED,
        Status.DIVERGED: State.DIVERGED,
    }[record.status]


def _costs(cells: list[Planned]) -> dict[tuple[str, str], float]:
    past: dict[tuple[str, str], list[float]] = defaultdict(list)
    for planned in cells:
        if planned.record is not None:
            past[(planned.cell.dataset, planned.cell.method)].append(planned.record.seconds)
    return {where: statistics.median(seconds) for where, seconds in past.items()}
