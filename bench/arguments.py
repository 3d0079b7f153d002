"""The arguments that several commands share, with their help, and what they lead to."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pzsl_bench.errors import UserError
from pzsl_bench.live import complain

if TYPE_CHECKING:
    from pzsl_bench.grid import Grid
    from pzsl_bench.plan import Plan
    from pzsl_bench.run import Options

PROGRAM = "pzsl-bench"


class Kind(StrEnum):
    """What `list` can list."""

    METHODS = "methods"
    DATASETS = "datasets"
    GRIDS = "grids"
    AMBIGUITIES = "ambiguities"


class TableFormat(StrEnum):
    """How `table` can print."""

    TEXT = "text"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"


class RowFormat(StrEnum):
    """How `export` can print."""

    CSV = "csv"
    JSON = "json"


def _complete_grid(incomplete: str) -> list[str]:
    from pzsl_bench.gridfile import grid_names

    return [name for name in grid_names() if name.startswith(incomplete)]


def option(*names: str, metavar: str, text: str, **more: Any) -> Any:
    """An option with a value."""
    return typer.Option(*names, metavar=metavar, help=text, **more)


GRID_TEXT = "A shipped grid (see `list grids`) or your own YAML file."
GridName = Annotated[str, option("--grid", "-g", metavar="NAME|FILE", text=GRID_TEXT, autocompletion=_complete_grid)]
Set = Annotated[
    list[str] | None,
    option("--set", "-s", metavar="KEY=VALUE", text="Change the grid: rates=[0.1,0.3], methods.proden.lr=0.01."),
]
Encoder = Annotated[
    list[str] | None,
    option("--encoder", metavar="NAME[:WEIGHTS]", text="Short for --set encoders=...; open_clip names."),
]
Results = Annotated[Path, option("--results", metavar="DIR", text="Where records and tables lie.")]
Data = Annotated[Path | None, option("--data", metavar="DIR", text="Where datasets on disk lie.")]
Cache = Annotated[
    Path | None,
    option("--cache", metavar="DIR", text="Where encoded features are kept [~/.cache/pzsl-bench]."),
]
Out = Annotated[Path | None, option("--out", "-o", metavar="FILE", text="Write to a file instead.")]
RESULTS = Path("results")


def planned(name: str, sets: list[str] | None, encoders: list[str] | None, options: Options) -> tuple[Grid, Plan]:
    """The grid and where it stands; what is wrong with the data is told at once."""
    from pzsl_bench.grid import load_grid
    from pzsl_bench.plan import make_plan

    overrides = list(sets or [])
    if encoders:
        # As JSON, because WEIGHTS may be a path, and a path may hold anything.
        overrides.append(f"encoders={json.dumps(encoders)}")
    grid = load_grid(name, overrides)
    found = make_plan(grid, options)
    for problem in found.problems:
        complain(f"warning: {problem}")
    return grid, found


def folder(results: Path) -> Path:
    """A results folder that can be one."""
    if results.exists() and not results.is_dir():
        raise UserError(f"--results {results} is a file, not a folder")
    return results
