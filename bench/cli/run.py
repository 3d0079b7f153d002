"""Commands that compute or start something: run, plan, sync, ui."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from pzsl_bench.base.errors import UserError
from pzsl_bench.cli.arguments import (
    PROGRAM,
    RESULTS,
    Cache,
    Data,
    Device,
    Download,
    DryRun,
    Encoder,
    FailFast,
    Fresh,
    GridName,
    Jobs,
    Memory,
    NoMlflow,
    Results,
    RetryFailed,
    Set,
    folder,
    load_plan,
    option,
    run_options,
)


def run(
    context: typer.Context,
    grid: GridName,
    sets: Set = None,
    encoder: Encoder = None,
    device: Device = "auto",
    jobs: Jobs = 1,
    memory: Memory = None,
    retry_failed: RetryFailed = False,
    fresh: Fresh = False,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    no_mlflow: NoMlflow = False,
    download: Download = False,
    results: Results = RESULTS,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Compute the missing cells and print tables.

    A run that was stopped goes on where it was: finished cells are never computed twice.

    \b
    Examples:
      pzsl-bench run --grid quick
      pzsl-bench run --grid quick --set seeds=0-9 --set rates=[0.1,0.7]
      pzsl-bench run --grid my.yaml --set methods.proden.lr=[0.001,0.01] --jobs 4
      pzsl-bench run --grid quick --encoder ViT-B-32:laion2b_s34b_b79k --download
    """
    from pzsl_bench.cli.run_report import compute, describe_plan

    options = run_options(
        results=results,
        device=device,
        jobs=jobs,
        memory=memory,
        retry_failed=retry_failed,
        fresh=fresh,
        fail_fast=fail_fast,
        mlflow=not no_mlflow,
        data=data,
        cache=cache,
        download=download,
    )
    loaded, grid_plan = load_plan(grid, sets, encoder, options)
    if dry_run:
        typer.echo(describe_plan(grid_plan, retry_failed=retry_failed, fresh=fresh))
        return
    # --fresh would compute the finished cells once more.
    again = [PROGRAM, *(word for word in context.obj if word != "--fresh")]
    grid_file = options.results / "grids" / f"{loaded.name}.yaml"
    view = [PROGRAM, "table", "--grid", str(grid_file) if sets or encoder else grid]
    for name, value, default in (("results", results, RESULTS), ("data", data, None), ("cache", cache, None)):
        view += [f"--{name}", str(value)] if value != default else []
    code = compute(loaded, grid_plan, options, again=shlex.join(again), view=shlex.join(view))
    if code:
        raise typer.Exit(code)


def plan(
    grid: GridName,
    sets: Set = None,
    encoder: Encoder = None,
    cells: Annotated[bool, typer.Option("--cells", help="List every cell with its state.")] = False,
    results: Results = RESULTS,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Say what a run would compute.

    Which cells are done, missing or stale, and how long the rest may take.

    \b
    Examples:
      pzsl-bench plan --grid quick
      pzsl-bench plan --grid paper --set seeds=1 --cells
    """
    from pzsl_bench.cli.run_report import describe_plan
    from pzsl_bench.planning.options import Options

    _, grid_plan = load_plan(grid, sets, encoder, Options(results=folder(results), data=data, cache=cache))
    typer.echo(describe_plan(grid_plan))
    if cells:
        for planned in grid_plan.cells:
            typer.echo(f"  {planned.state:8} {planned.cell}")


def sync(
    grid: Annotated[
        str | None,
        option("--grid", "-g", metavar="NAME|FILE", text="One grid; otherwise every grid that was run here."),
    ] = None,
    sets: Set = None,
    encoder: Encoder = None,
    results: Results = RESULTS,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Rebuild MLflow's runs from the records.

    Runs that are there and right are left alone. To begin anew, delete mlflow.db first.

    \b
    Examples:
      pzsl-bench sync
      pzsl-bench sync --grid quick
    """
    from pzsl_bench.planning.options import Options
    from pzsl_bench.reports import mlflow_mirror

    options = Options(results=folder(results), data=data, cache=cache)
    names = [grid] if grid else sorted(str(path) for path in (results / "grids").glob("*.yaml"))
    if not names:
        raise UserError(f"no grid was run under {results}; first: {PROGRAM} run --grid quick")
    for name in names:
        loaded, grid_plan = load_plan(name, sets, encoder, options)
        records = grid_plan.records()
        written = mlflow_mirror.sync(records, uri=None, grid=loaded.name, artifacts=results / "artifacts")
        typer.echo(f"{loaded.name}: {len(records)} records; {written} runs written to {mlflow_mirror.tracking_uri()}")


def ui(
    port: Annotated[int, option("--port", "-p", metavar="N", text="Port of the page.", min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow on the runs of this folder.

    The same as a bare `mlflow ui` here.

    \b
    Examples:
      pzsl-bench ui
      pzsl-bench ui --port 5001
    """
    from pzsl_bench.reports.mlflow_mirror import runs_page, tracking_uri

    uri = tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise UserError(f"no mlflow.db in this folder; in a folder with results, {PROGRAM} sync makes it")
    typer.echo(f"MLflow: {runs_page(port)} (Ctrl-C ends it)")
    sys.stdout.flush()
    words = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port)]
    os.execv(sys.executable, words)
