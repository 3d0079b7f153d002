"""Run a plan and print what the user sees of it: progress, tables, a summary."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING

from pzsl_bench.base.errors import UserError
from pzsl_bench.cli.progress import complain, duration, tell, watch
from pzsl_bench.reports.run_files import main_metrics, old_tables, table_paths, write_grid, write_tables
from pzsl_bench.reports.weak_rows import weak_rows

if TYPE_CHECKING:
    from pzsl_bench.planning.grid import Grid
    from pzsl_bench.planning.options import Options
    from pzsl_bench.planning.plan import Plan
    from pzsl_bench.running.listener import Listener
    from pzsl_bench.running.run import Outcome


def compute(grid: Grid, plan: Plan, options: Options, *, again: str, view: str) -> int:
    """Compute the cells that are to do and show the results; returns the exit code.

    `again` is the command that goes on after an interruption, `view` the one that prints the table.
    """
    states = count_states(plan)
    if not plan.todo(options.retry_failed, options.fresh):
        return _nothing_to_do(grid, plan, options, states, view)
    from pzsl_bench.planning.plan import updated

    write_grid(grid, options.results)
    for path in old_tables(options.results, grid.name):
        # If this run is stopped, no table of an earlier state may be left.
        path.unlink(missing_ok=True)
    with watch(sys.stdout) as listener:
        outcome = carry_out(plan, options, listener)
    records = updated(plan, listener.records).records()
    if records:
        tell(f"\n{write_tables(grid, records, options.results)}\n")
    tell(summary(outcome))
    for remark in weak_rows(records, plan.classes):
        tell(f"note: {remark}")
    _where_to_look(options, view)
    if outcome.interrupted:
        complain(f"interrupted; every finished cell is kept. To go on: {again}")
        return 130
    without_result = outcome.failed + outcome.diverged
    if without_result:
        complain(f"{without_result} cells failed; their records under {options.results / 'records'} say why")
    lacking = sum(bool(planned.lack) for planned in plan.cells)
    if lacking:
        complain(f"{lacking} cells are left out, for the reasons given at the start")
    blocked = states.get("blocked", 0) - lacking + outcome.blocked
    if blocked:
        complain(f"{blocked} cells are blocked: their data or weights are not here (pzsl-bench doctor)")
    return 1 if without_result or blocked else 0


def carry_out(plan: Plan, options: Options, listener: Listener) -> Outcome:
    """Run a plan, with MLflow following unless the options say otherwise."""
    from pzsl_bench.reports.mlflow_thread import MirrorThread
    from pzsl_bench.running.run import execute

    if not options.mlflow:
        return execute(plan, options, listener)
    mlflow = MirrorThread(plan, options.results / "artifacts", listener.note)
    return execute(plan, options, listener, {"mlflow": mlflow})


def _nothing_to_do(grid: Grid, plan: Plan, options: Options, states: dict[str, int], view: str) -> int:
    if states.get("blocked") == len(plan.cells):
        why = next((planned.lack for planned in plan.cells if planned.lack), "")
        raise UserError(
            f"no cell of grid '{grid.name}' can run: {why or 'its data or weights are not on this machine'}"
        )
    tell(f"nothing to do: {', '.join(f'{number} {state}' for state, number in states.items())}")
    if states.get("failed"):
        tell("failed cells are computed again with --retry-failed")
    metrics = main_metrics(plan.records())
    missing = not all(path.exists() for path in table_paths(options.results, grid.name, metrics).values())
    if write_grid(grid, options.results) or missing:
        # An earlier run was killed, or ran another selection; pandas is imported in this case only.
        write_tables(grid, plan.records(), options.results)
    _where_to_look(options, view)
    return 0


def _where_to_look(options: Options, view: str) -> None:
    from pzsl_bench.reports.mlflow_mirror import runs_page

    tell(f"tables: {options.results / 'tables'}; again: {view}")
    if options.mlflow:
        elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
        tell(f"runs: {elsewhere}" if elsewhere else f"runs: mlflow ui, then {runs_page()}")


def describe_plan(plan: Plan, *, retry_failed: bool = False, fresh: bool = False) -> str:
    """Cells by state, what a run would compute, and how long that may take."""
    states = count_states(plan)
    todo = plan.todo(retry_failed, fresh)
    lines = [
        f"grid {plan.name}: {len(plan.cells)} cells",
        "  " + (" · ".join(f"{number} {state}" for state, number in states.items()) or "none"),
    ]
    if todo:
        from pzsl_bench.planning.plan import stacks, trainings

        lines.append(f"  a run would compute {len(todo)} of them, in {len(stacks(todo))} stacks")
        if draws := sum(trainings(planned.cell) - 1 for planned in todo if planned.cell.tune):
            lines.append(f"  settings are drawn and compared: {draws} trainings to choose from")
        if not retry_failed and not fresh:
            guess = plan.seconds
            lines.append(
                "  no estimate: not all of these methods have run on this data here"
                if guess is None
                else f"  about {duration(guess)} of computing, judged by the cells that are done"
            )
    elif states.get("blocked", 0) > (lacking := sum(bool(planned.lack) for planned in plan.cells)):
        lines.append("  nothing can run: data or weights are missing (pzsl-bench doctor)")
    elif lacking == len(plan.cells):
        why = next(planned.lack for planned in plan.cells if planned.lack)
        lines.append(f"  nothing can run: {why}")
    else:
        lines.append("  nothing to do")
    lines += [f"  {remark}" for remark in plan.remarks]
    return "\n".join(lines)


def count_states(plan: Plan) -> dict[str, int]:
    """How many cells are in each state, states without cells left out."""
    counts = Counter(str(planned.state) for planned in plan.cells)
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def summary(outcome: Outcome) -> str:
    """How the run ended and where the time went."""
    parts = [f"{outcome.done} done"]
    parts += [f"{outcome.failed} failed"] if outcome.failed else []
    parts += [f"{outcome.diverged} diverged"] if outcome.diverged else []
    phases = sorted(outcome.share.items(), key=lambda item: -item[1])
    times = ", ".join(f"{phase} {duration(seconds)}" for phase, seconds in phases if seconds >= 0.05)
    return f"{', '.join(parts)} in {duration(outcome.seconds)}" + (f" ({times})" if times else "")
