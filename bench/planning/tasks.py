"""What is asked of images, and which methods, ambiguities and rules of selection go with which question.

`classes`: every image is of one class. `tags`: an image may be of several. A grid may hold datasets of both; where a
method or an ambiguity does not go with a dataset, their cells are left out and the reason is told. What goes with no
dataset of the grid at all is a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import METHODS
from pzsl_bench.data.ambiguity import AMBIGUITIES
from pzsl_bench.records.cell import Cell
from pzsl_bench.selecting.rules import find_rule

KINDS = {"classes": "images of one class each", "tags": "images with several tags"}


def task_titles(tasks: Iterable[str]) -> str:
    """What something is for, or what a dataset has."""
    return " and ".join(KINDS[task] for task in sorted(tasks))


def misfit(cell: Cell, task: str) -> str:
    """Why the cell's method or ambiguity cannot go with a dataset of this task; empty where they can."""
    ambiguity = AMBIGUITIES.get(cell.ambiguity)
    if ambiguity.task != task:
        return f"ambiguity '{cell.ambiguity}' is for {KINDS[ambiguity.task]}; {cell.dataset} has {KINDS[task]}"
    if task not in METHODS.get(cell.method).tasks:
        return f"{cell.method} is for {task_titles(METHODS.get(cell.method).tasks)}; {cell.dataset} has {KINDS[task]}"
    return ""


def check_tasks(cells: Iterable[Cell], tasks: Mapping[str, str]) -> None:
    """Refuse methods and ambiguities that go with no dataset of the grid, and rules of selection that tags lack."""
    here = sorted(set(tasks.values()))
    has = f"the datasets of this grid have {task_titles(here)}"
    for cell in cells:
        ambiguity, method = AMBIGUITIES.get(cell.ambiguity), METHODS.get(cell.method)
        if ambiguity.task not in here:
            able = ", ".join(name for name in AMBIGUITIES.names() if AMBIGUITIES.get(name).task in here)
            raise UserError(
                f"ambiguity '{cell.ambiguity}' is for {KINDS[ambiguity.task]}, but {has}: use one of {able}"
            )
        if not method.tasks & set(here):
            raise UserError(
                f"method '{cell.method}' is for {task_titles(method.tasks)}, but {has};"
                " which methods go with them is told by: pzsl-bench list methods"
            )
        rule = find_rule(cell.select)
        if tasks[cell.dataset] == "tags" and (rule.draws or rule.epochs) and not misfit(cell, "tags"):
            raise UserError(
                f"select: {cell.select} compares classes, and {cell.dataset} has {KINDS['tags']}:"
                " write select: last, or mean10 for the mean over the last ten epochs"
            )
