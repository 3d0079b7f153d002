"""Run a landmark and compare the results with its numbers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pzsl_bench.base.errors import MissingDataError
from pzsl_bench.cli.progress import complain, watch
from pzsl_bench.cli.run_report import carry_out, summary
from pzsl_bench.planning.plan import Plan, State, make_plan, updated
from pzsl_bench.reports.comparison import Comparison, compare
from pzsl_bench.reports.run_files import write_grid

if TYPE_CHECKING:
    from pzsl_bench.planning.options import Options
    from pzsl_bench.reports.landmark import Landmark


def plan_landmark(landmark: Landmark, options: Options) -> Plan:
    """The plan of the landmark's grid; a landmark of which no cell can run is refused."""
    plan = make_plan(landmark.grid, options)
    if all(p.state is State.BLOCKED for p in plan.cells) and plan.problems:
        raise MissingDataError(f"landmark '{landmark.name}' cannot run: {'; '.join(plan.problems)}")
    for problem in plan.problems:
        complain(f"warning: {problem}")
    return plan


def reproduce(landmark: Landmark, plan: Plan, options: Options) -> list[Comparison] | None:
    """Compute what is missing and compare; None when the run was interrupted.

    Progress goes to stderr, so that the table can be piped.
    """
    write_grid(landmark.grid, options.results)
    if plan.todo(options.retry_failed, options.fresh):
        with watch(sys.stderr) as listener:
            outcome = carry_out(plan, options, listener)
        complain(summary(outcome))
        if outcome.interrupted:
            return None
        plan = updated(plan, listener.records)
    return compare(landmark, plan)
