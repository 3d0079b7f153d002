"""The command that checks the harness against known tables."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from pzsl_bench.cli.arguments import (
    PROGRAM,
    RESULTS,
    Cache,
    ComparisonFormat,
    Data,
    Device,
    Download,
    DryRun,
    FailFast,
    Fresh,
    Jobs,
    Memory,
    NoMlflow,
    Out,
    Results,
    RetryFailed,
    option,
    run_options,
)
from pzsl_bench.cli.progress import complain
from pzsl_bench.cli.read import hand_over


def _complete(incomplete: str) -> list[str]:
    from pzsl_bench.reports.landmark import LANDMARKS

    return [name for name in LANDMARKS.names() if name.startswith(incomplete)]


NAME_TEXT = "A shipped landmark (see `list landmarks`) or your own YAML file; leave it out to list them."


def reproduce(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help=NAME_TEXT, autocompletion=_complete)] = None,
    rows: Annotated[
        list[str] | None, option("--row", "-r", metavar="ROW", text="Only this row; may be given again.")
    ] = None,
    encoder: Annotated[
        str | None,
        option(
            "--encoder", metavar="NAME[:WEIGHTS]", text="For datasets of images and features without texts; as in run."
        ),
    ] = None,
    fmt: Annotated[ComparisonFormat, typer.Option("--format", "-f", help="How to print it.")] = ComparisonFormat.TEXT,
    out: Out = None,
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
    """Run a table whose numbers are known and compare.

    Every row shows their mean±std (runs), ours, and the difference in standard errors. A difference of more than two
    needs a reason: the exit code is 0 when every row agrees or has a note that explains it, else 1; of rows without a
    known number only a result is asked. The records are ordinary ones, so a run that was stopped goes on where it was.

    \b
    Examples:
      pzsl-bench reproduce
      pzsl-bench reproduce msrcv2-linear --data data
      pzsl-bench reproduce msrcv2-linear --data data --row proden --row rc
      pzsl-bench reproduce nus-wide-tags --data data --encoder ViT-B-32:laion2b_s34b_b79k
      pzsl-bench reproduce my-landmark.yaml --format markdown --out comparison.md
    """
    if name is None:
        from pzsl_bench.reports.describe import listing

        typer.echo(listing("landmarks"))
        return
    from pzsl_bench.cli.landmark_run import plan_landmark
    from pzsl_bench.cli.landmark_run import reproduce as run_and_compare
    from pzsl_bench.cli.run_report import describe_plan
    from pzsl_bench.reports.comparison import verdict
    from pzsl_bench.reports.comparison_formats import render
    from pzsl_bench.reports.landmark import load_landmark

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
    landmark = load_landmark(name, encoder)
    if rows:
        landmark = landmark.only(rows)
    plan = plan_landmark(landmark, options)
    if dry_run:
        typer.echo(describe_plan(plan, retry_failed=retry_failed, fresh=fresh))
        return
    comparisons = run_and_compare(landmark, plan, options)
    if comparisons is None:
        # --fresh would compute the finished cells once more.
        again = [PROGRAM, *(word for word in context.obj if word != "--fresh")]
        complain(f"interrupted; every finished cell is kept. To go on: {shlex.join(again)}")
        raise typer.Exit(130)
    hand_over(render(landmark, comparisons, fmt.value), out)
    if not all(comparison.sound for comparison in comparisons):
        if out is not None or fmt is not ComparisonFormat.TEXT:
            complain(verdict(comparisons))
        if any(comparison.ours is None and not comparison.sound for comparison in comparisons):
            complain(f"why: {options.results / 'records'}; failed cells are computed again with --retry-failed")
        raise typer.Exit(1)
