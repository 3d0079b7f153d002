"""Commands that only look: table, export, list, show, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pzsl_bench.base.errors import UserError
from pzsl_bench.cli.arguments import (
    PROGRAM,
    RESULTS,
    Cache,
    Data,
    Encoder,
    GridName,
    Kind,
    Out,
    Results,
    RowFormat,
    Set,
    TableFormat,
    folder,
    load_plan,
    option,
)
from pzsl_bench.cli.progress import complain

if TYPE_CHECKING:
    from pzsl_bench.planning.plan import Plan


def table(
    grid: GridName,
    metric: Annotated[
        str | None,
        option(
            "--metric",
            "-m",
            metavar="NAME",
            text="H, T1, accuracy, D, ...; of tags mAP_zsl, F1_at_3_gzsl, ... [H, else accuracy or mAP_zsl]",
        ),
    ] = None,
    fmt: Annotated[TableFormat, typer.Option("--format", "-f", help="How to print it.")] = TableFormat.TEXT,
    out: Out = None,
    sets: Set = None,
    encoder: Encoder = None,
    results: Results = RESULTS,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Print a paper-style table of a grid.

    Methods down, datasets and rates across, mean±std over seeds.

    \b
    Examples:
      pzsl-bench table --grid quick
      pzsl-bench table --grid quick --metric T1 --format latex --out tables/t1.tex
    """
    from pzsl_bench.planning.options import Options
    from pzsl_bench.records.frame import frame, gaps

    loaded, plan = load_plan(grid, sets, encoder, Options(results=folder(results), data=data, cache=cache))
    records = plan.records()
    if not records:
        raise UserError(f"no result of grid '{loaded.name}' under {results}; first: {PROGRAM} run --grid {grid}")
    _note_gaps(plan)
    from pzsl_bench.reports.run_files import main_metrics
    from pzsl_bench.reports.tables import table as table_of

    metric = metric or main_metrics(records)[0]
    seeds = len(loaded.axes.seeds)
    hand_over(table_of(frame(records), metric, fmt=fmt.value, seeds=seeds, gaps=gaps(records, metric)), out)


def export(
    grid: GridName,
    fmt: Annotated[RowFormat, typer.Option("--format", "-f", help="How to print it.")] = RowFormat.CSV,
    out: Out = None,
    sets: Set = None,
    encoder: Encoder = None,
    results: Results = RESULTS,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Print one tidy row per record.

    \b
    Examples:
      pzsl-bench export --grid quick --format csv > quick.csv
      pzsl-bench export --grid quick --format json --out quick.json
    """
    from pzsl_bench.planning.options import Options
    from pzsl_bench.records.frame import frame

    _, plan = load_plan(grid, sets, encoder, Options(results=folder(results), data=data, cache=cache))
    _note_gaps(plan)
    rows = frame(plan.records())
    if fmt is RowFormat.CSV:
        hand_over(rows.to_csv(index=False), out)
    else:
        hand_over(rows.to_json(orient="records", indent=1, double_precision=15), out)


def list_(
    kind: Annotated[Kind | None, typer.Argument(help="Leave it out to list everything.")] = None,
    family: Annotated[
        str | None, option("--family", metavar="NAME", text="Only methods of: pll, zsl, clip, tags, pzsl or bound.")
    ] = None,
) -> None:
    """List methods, datasets, grids, ambiguities or landmarks.

    \b
    Examples:
      pzsl-bench list methods
      pzsl-bench list methods --family pll
      pzsl-bench list
    """
    from pzsl_bench.reports.describe import broken, listing

    if family is not None:
        kind = kind or Kind.METHODS
    for shown in [kind] if kind else list(Kind):
        lines = listing(shown.value, family)
        typer.echo(lines if kind else f"{shown.value}\n{lines}")
    for reason in broken():
        complain(f"warning: {reason}")


def show(name: Annotated[str, typer.Argument(help="A method, dataset, ambiguity, grid or landmark.")]) -> None:
    """Show all that is known of a name.

    Citation, version, settings, search ranges, and what differs from the paper.

    \b
    Examples:
      pzsl-bench show proden
      pzsl-bench show semantic
      pzsl-bench show my.yaml
    """
    from pzsl_bench.reports.describe import description

    typer.echo(description(name))


def doctor(results: Results = RESULTS, data: Data = None, cache: Cache = None) -> None:
    """Check versions, device, data and weights.

    For everything that is missing it names the command that mends it.

    \b
    Examples:
      pzsl-bench doctor
    """
    from pzsl_bench.encoding.cache import cache_root
    from pzsl_bench.reports.doctor import checks

    problems = 0
    for check in checks(results, cache_root(cache), data):
        problems += not check.ok
        typer.echo(f"{'ok ' if check.ok else 'BAD'} {check.name}: {check.detail}")
        if not check.ok and check.fix:
            typer.echo(f"      {check.fix}")
    if problems:
        complain(f"{problems} of these need attention")
        raise typer.Exit(1)


def _note_gaps(plan: Plan) -> None:
    gaps = sum(planned.record is None and not planned.lack for planned in plan.cells)
    if gaps:
        complain(f"note: {gaps} of {len(plan.cells)} cells have no result yet")


def hand_over(text: str, out: Path | None) -> None:
    """Print a text, or write it where --out says."""
    if out is None:
        typer.echo(text.rstrip("\n"))
        return
    from pzsl_bench.reports.run_files import write

    write(out, text)
