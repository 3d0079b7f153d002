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


def search_ranges(method: type[Method], grid_settings: Collection[str] = ()) -> Ranges:
    """The settings that draws vary, with their ranges: floats with a search range that the grid does not set."""
    return {
        spec.name: spec.metadata["search"]
        for spec in fields(method)
        if spec.metadata.get("search") and may_vary(spec, spec.default) and spec.name not in grid_settings
    }


def configurations(method: Method, cell: Cell) -> list[Method]:
    """The configurations of a cell: the method as the grid has it, then its random draws.

    A draw is a function of (dataset, method, its number): the same at every rate and seed and whatever else is drawn.
    """
    ranges = search_ranges(type(method), dict(cell.settings)) if cell.tune else {}
    if not ranges:
        return [method]
    methods = [method]
    for number in range(1, cell.tune):
        values = {name: _draw_value(cell, number, name, *ends) for name, ends in ranges.items()}
        methods.append(replace(method, **values))
    return methods


def drop_idle_selection(cell: Cell) -> Cell:
    """The cell without the parts of its selection that choose nothing for its method.

    Draws are dropped where the method has no setting to search. Where neither draws nor epochs are left to choose
    from, the rule becomes `last`.
    """
    cls, rule = METHODS.get(cell.method), find_rule(cell.select)
    tune = cell.tune if rule.draws and search_ranges(cls, dict(cell.settings)) else 0
    by_epoch = issubclass(cls, Gradient) and (rule.epochs or rule.window > 1)
    return replace(cell, select=cell.select if tune or by_epoch else "last", tune=tune)


def _draw_value(cell: Cell, number: int, setting: str, low: float, high: float) -> float:
    """Log-uniform between the ends."""
    share = float(randomness.uniform(randomness.key("tune", cell.dataset, cell.method, number, setting), 1)[0])
    return float(low * (high / low) ** share)
