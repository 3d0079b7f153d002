"""Random draws of a method's settings: the configurations among which a rule of `select` chooses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace

from pzsl_bench.base import randomness
from pzsl_bench.contract import METHODS, Gradient, Method
from pzsl_bench.contract.settings import may_vary
from pzsl_bench.records.cell import Cell
from pzsl_bench.selecting.rules import find_rule

Ranges = dict[str, tuple[float, float]]


def searched(method: type[Method], given: Collection[str] = ()) -> Ranges:
    """The settings that draws differ in, with their ranges: floats that may be searched and were not given."""
    return {
        spec.name: spec.metadata["search"]
        for spec in fields(method)
        if spec.metadata.get("search") and may_vary(spec, spec.default) and spec.name not in given
    }


def configurations(method: Method, cell: Cell) -> list[Method]:
    """The configurations of a cell: the method as the grid has it, then its random draws.

    A draw is a function of (dataset, method, its number): the same at every rate and seed and whatever else is drawn.
    """
    ranges = searched(type(method), dict(cell.settings)) if cell.tune else {}
    if not ranges:
        return [method]
    made = [method]
    for number in range(1, cell.tune):
        values = {name: _drawn(cell, number, name, *ends) for name, ends in ranges.items()}
        made.append(replace(method, **values))
    return made


def settled(cell: Cell) -> Cell:
    """The cell without what chooses nothing for its method: draws where nothing is searched, epochs where none are."""
    cls, rule = METHODS.get(cell.method), find_rule(cell.select)
    tune = cell.tune if rule.draws and searched(cls, dict(cell.settings)) else 0
    by_epoch = issubclass(cls, Gradient) and (rule.epochs or rule.window > 1)
    return replace(cell, select=cell.select if tune or by_epoch else "last", tune=tune)


def _drawn(cell: Cell, number: int, setting: str, low: float, high: float) -> float:
    """Log-uniform between the ends."""
    share = float(randomness.uniform(randomness.key("tune", cell.dataset, cell.method, number, setting), 1)[0])
    return float(low * (high / low) ** share)
