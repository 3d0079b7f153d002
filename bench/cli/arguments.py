"""Arguments that several commands share, with their help, and how they become a grid, a plan and options."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pzsl_bench.base.errors import UserError
from pzsl_bench.cli.progress import complain

if TYPE_CHECKING:
    from pzsl_bench.planning.grid import Grid
    from pzsl_bench.planning.options import Options
    from pzsl_bench.planning.plan import Plan

PROGRAM = "pzsl-bench"


class Kind(StrEnum):
    """What `list` can list."""

    METHODS = "methods"
    DATASETS = "datasets"
    GRIDS = "grids"
    AMBIGUITIES = "ambiguities"
    LANDMARKS = "landmarks"


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


class ComparisonFormat(StrEnum):
    """How `reproduce` can print."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"


def _complete_grid(incomplete: str) -> list[str]:
    from pzsl_bench.planning.grid_file import grid_names

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
Device = Annotated[str, option("--device", metavar="NAME", text="auto, cpu, cuda or cuda:1.")]
Jobs = Annotated[int, option("--jobs", "-j", metavar="N", text="Worker processes.", min=1)]
Memory = Annotated[
    str | None,
    option("--memory", metavar="SIZE", text="Budget for stacks, such as 4GB [half of what is free]."),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Compute failed cells again.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Compute every cell again.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failed cell.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be computed, and stop.")]
NoMlflow = Annotated[bool, typer.Option("--no-mlflow", help="Keep records only; `sync` catches up.")]
Download = Annotated[bool, typer.Option("--download", help="Allow weights to be downloaded.")]
Out = Annotated[Path | None, option("--out", "-o", metavar="FILE", text="Write to a file instead.")]
RESULTS = Path("results")


def load_plan(name: str, sets: list[str] | None, encoders: list[str] | None, options: Options) -> tuple[Grid, Plan]:
    """The grid of that name and its plan; prints a warning for each problem with the data."""
    from pzsl_bench.planning.grid import load_grid
    from pzsl_bench.planning.plan import make_plan

    overrides = list(sets or [])
    if encoders:
        # As JSON, because WEIGHTS may be a path, and a path may hold anything.
        overrides.append(f"encoders={json.dumps(encoders)}")
    grid = load_grid(name, overrides)
    plan = make_plan(grid, options)
    for problem in plan.problems:
        complain(f"warning: {problem}")
    return grid, plan


def run_options(*, results: Path, device: str, memory: str | None, **more: Any) -> Options:
    """The options of a run, checked before it starts: a misspelt size must not become a failure of every cell."""
    from pzsl_bench.planning.options import Options
    from pzsl_bench.training import memory as memory_budget

    options = Options(results=folder(results), device=device, memory=memory, **more)
    memory_budget.pick_device(device)
    if memory is not None:
        memory_budget.parse(memory)
    return options


def folder(results: Path) -> Path:
    """The results folder, refused if it is a file."""
    if results.exists() and not results.is_dir():
        raise UserError(f"--results {results} is a file, not a folder")
    return results
