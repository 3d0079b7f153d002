"""The two tasks, and which methods, ambiguities and rules of selection go with which of them.

`classes`: every image is of one class. `tags`: an image may have several. A grid may hold datasets of both tasks. Where
a method or an ambiguity does not go with a dataset, their cells are left out and the reason is reported. A method or an
ambiguity that goes with no dataset of the grid is a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import METHODS
from pzsl_bench.data.ambiguity import AMBIGUITIES
from pzsl_bench.records.cell import Cell
from pzsl_bench.selecting.rules import find_rule

TITLES = {"classes": "images of one class each", "tags": "images with several tags"}


def task_titles(tasks: Iterable[str]) -> str:
    """The tasks in words."""
    return " and ".join(TITLES[task] for task in sorted(tasks))


def misfit(cell: Cell, task: str) -> str:
    """Why the cell's method or ambiguity cannot go with a dataset of this task; empty where they can."""
    ambiguity = AMBIGUITIES.get(cell.ambiguity)
    if ambiguity.task != task:
        return f"ambiguity '{cell.ambiguity}' is for {TITLES[ambiguity.task]}; {cell.dataset} has {TITLES[task]}"
    if task not in METHODS.get(cell.method).tasks:
        return f"{cell.method} is for {task_titles(METHODS.get(cell.method).tasks)}; {cell.dataset} has {TITLES[task]}"
    return ""


def check_tasks(cells: Iterable[Cell], tasks: Mapping[str, str]) -> None:
    """Refuse methods and ambiguities that go with no dataset of the grid, and rules of selection that tags lack."""
    grid_tasks = sorted(set(tasks.values()))
    grid_has = f"the datasets of this grid have {task_titles(grid_tasks)}"
    for cell in cells:
        ambiguity, method = AMBIGUITIES.get(cell.ambiguity), METHODS.get(cell.method)
        if ambiguity.task not in grid_tasks:
            fitting = ", ".join(name for name in AMBIGUITIES.names() if AMBIGUITIES.get(name).task in grid_tasks)
            raise UserError(
                f"ambiguity '{cell.ambiguity}' is for {TITLES[ambiguity.task]}, but {grid_has}: use one of {fitting}"
            )
        if not method.tasks & set(grid_tasks):
            raise UserError(
                f"method '{cell.method}' is for {task_titles(method.tasks)}, but {grid_has};"
                " which methods go with them is told by: pzsl-bench list methods"
            )
        rule = find_rule(cell.select)
        if tasks[cell.dataset] == "tags" and (rule.draws or rule.epochs) and not misfit(cell, "tags"):
            raise UserError(
                f"select: {cell.select} compares classes, and {cell.dataset} has {TITLES['tags']}:"
                " write select: last, or mean10 for the mean over the last ten epochs"
            )
