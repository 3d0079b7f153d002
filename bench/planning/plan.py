"""The plan of a run: the state of every cell of a grid, and the stacks of cells that are trained together."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from pzsl_bench.base.identity import identity_hash
from pzsl_bench.contract import METHODS, Method, configure
from pzsl_bench.contract.settings import may_vary
from pzsl_bench.data.source import find_dataset
from pzsl_bench.planning.grid import Grid
from pzsl_bench.planning.identity import Facts, dataset_facts, head_identity, names_identity, result_identity
from pzsl_bench.planning.offers import lack_of, no_choice
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.tasks import check_tasks
from pzsl_bench.records.cell import Cell
from pzsl_bench.records.record import Record, Status
from pzsl_bench.records.store import Records
from pzsl_bench.selecting.rules import find_rule


class State(StrEnum):
    """The state of a cell."""

    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    """Only records of another identity are there: an older version, other data, other weights."""
    FAILED = "failed"
    DIVERGED = "diverged"
    BLOCKED = "blocked"
    """Its data or weights are not on this machine, or the dataset lacks what the method needs."""


@dataclass(frozen=True)
class Planned:
    """A cell with its identity and state."""

    cell: Cell
    method: Method
    identity: dict[str, Any]
    hash: str
    state: State
    record: Record | None = None
    lack: str = ""
    """A sentence about what its dataset cannot give, if that blocks the cell; such a cell will never run."""


@dataclass(frozen=True)
class Classes:
    """How many classes a dataset has."""

    seen: int
    unseen: int


@dataclass(frozen=True)
class Plan:
    """All cells of a grid."""

    name: str
    cells: list[Planned]
    problems: list[str]
    seconds_planning: float
    """What making this plan took."""
    costs: dict[tuple[str, str], float] = field(default_factory=dict)
    """Median seconds that one training of (dataset, method) took in the past."""
    remarks: tuple[str, ...] = ()
    """Which metrics cannot be had on which dataset, and why."""
    classes: dict[str, Classes] = field(default_factory=dict)
    """The classes of datasets whose images are of one each."""

    def todo(self, retry_failed: bool = False, fresh: bool = False) -> list[Planned]:
        """The cells to compute now."""
        states = {State.MISSING, State.STALE}
        if retry_failed:
            states.add(State.FAILED)
        if fresh:
            states |= {State.DONE, State.FAILED, State.DIVERGED}
        return [p for p in self.cells if p.state in states]

    @property
    def stacks(self) -> list[list[Planned]]:
        """The cells to compute, as they will be trained together."""
        return stacks(self.todo())

    @property
    def seconds(self) -> float | None:
        """Estimated seconds for the cells to compute; None if some (dataset, method) among them has no record yet."""
        todo = self.todo()
        costs = [(self.costs.get((p.cell.dataset, p.cell.method)), trainings(p.cell)) for p in todo]
        if not todo or any(cost is None for cost, _ in costs):
            return None if todo else 0.0
        return sum(cost * number for cost, number in costs if cost is not None)

    def records(self) -> list[Record]:
        """The current records of the grid's cells."""
        return [p.record for p in self.cells if p.record is not None]


def trainings(cell: Cell) -> int:
    """How many trainings a cell takes: its draws, in every fold, and the rehearsal of the chosen one."""
    return max(1, cell.tune) * max(1, find_rule(cell.select).folds) + 1


def stacks(cells: Iterable[Planned]) -> list[list[Planned]]:
    """The cells in stacks: same problem, method and selection, same settings except for floats that may vary."""
    groups: dict[tuple[Any, ...], list[Planned]] = defaultdict(list)
    for planned in cells:
        cell, method = planned.cell, planned.method
        fixed = tuple((f.name, v) for f in fields(method) if not may_vary(f, v := getattr(method, f.name)))
        groups[(cell.dataset, cell.encoder, cell.method, fixed, cell.select, cell.tune)].append(planned)
    return list(groups.values())


def make_plan(grid: Grid, options: Options) -> Plan:
    """Look up every cell of the grid among the records."""
    started = time.perf_counter()
    records = Records(options.results / "records")
    problems: list[str] = []
    lacks: dict[tuple[str, str, str], str] = {}
    cells: list[Planned] = []
    facts: dict[tuple[str, str], Facts | None] = {}
    tasks: dict[str, str] = {}
    fingerprints: dict[str, str] = {}
    remarks: dict[str, str] = {}
    classes: dict[str, Classes] = {}
    for cell in grid.cells():
        place = (cell.dataset, cell.encoder)
        if place not in facts:
            facts[place] = place_facts = dataset_facts(cell, options, problems)
            tasks[cell.dataset] = place_facts.task if place_facts else find_dataset(cell.dataset).task
        method, place_facts = configure(cell.method, dict(cell.settings)), facts[place]
        data_identity: dict[str, Any] = {}
        if place_facts:
            names = names_identity(cell, method, place_facts, options, fingerprints)
            data_identity = {**place_facts.identity, **names, **head_identity(method, place_facts)}
        identity = result_identity(cell, method, data_identity)
        result_hash = identity_hash(identity)
        lack = ""
        if place_facts:
            lack = lack_of(cell, method, place_facts.task, place_facts.offers, lacks)
            lack = lack or no_choice(cell, place_facts.roles, place_facts.untunable, lacks)
            if place_facts.task == "classes":
                classes[cell.dataset] = Classes(place_facts.seen, place_facts.unseen)
            if place_facts.roles and (why := place_facts.roles.lack()):
                remarks[cell.dataset] = f"{cell.dataset}: no calibrated metric, since no rehearsal can be held: {why}"
        record = None if lack else records.find(cell, result_hash)
        state = State.BLOCKED if lack or not place_facts else _state(cell, result_hash, record, records)
        cells.append(Planned(cell, method, identity, result_hash, state, record, lack))
    check_tasks(grid.cells(), tasks)
    problems += lacks.values()
    problems += records.problems
    problems += [f"plug-in left out: {reason}" for reason in METHODS.broken.values()]
    seconds, costs = time.perf_counter() - started, _costs(cells)
    return Plan(grid.name, cells, problems, seconds, costs, tuple(remarks.values()), classes)


def _state(cell: Cell, result_hash: str, record: Record | None, records: Records) -> State:
    if record is None:
        return State.STALE if records.others(cell, result_hash) else State.MISSING
    return {
        Status.DONE: State.DONE,
        Status.FAILED: State.FAILED,
        Status.DIVERGED: State.DIVERGED,
    }[record.status]


def _costs(cells: list[Planned]) -> dict[tuple[str, str], float]:
    seconds_of: dict[tuple[str, str], list[float]] = defaultdict(list)
    for planned in cells:
        if planned.record is not None:
            seconds = planned.record.seconds / trainings(planned.cell)
            seconds_of[(planned.cell.dataset, planned.cell.method)].append(seconds)
    return {dataset_method: statistics.median(seconds) for dataset_method, seconds in seconds_of.items()}


def updated(plan: Plan, records: Sequence[Record]) -> Plan:
    """The plan with fresh records in place of the old ones."""
    by_hash = {r.hash: r for r in records}
    return replace(plan, cells=[replace(p, record=by_hash.get(p.hash, p.record)) for p in plan.cells])
