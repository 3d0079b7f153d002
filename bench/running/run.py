"""Run a plan: encode what is missing, train the stacks, save and report a record of every cell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.timing import PhaseTimes
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.plan import Plan, Planned, stacks
from pzsl_bench.records.record import Record, Status
from pzsl_bench.running.listener import Follower, Listener
from pzsl_bench.running.pool import in_workers, spread
from pzsl_bench.running.preparation import Place, encode_all, place_of
from pzsl_bench.running.worker import run_stack


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    done: int
    failed: int
    diverged: int
    seconds: float
    share: dict[str, float]
    """Wall seconds by phase, as the driver and its workers measured them."""
    blocked: int = 0
    """Cells whose data or weights turned out not to be here."""
    interrupted: bool = False


def execute(
    plan: Plan, options: Options, listener: Listener, followers: Mapping[str, Follower] | None = None
) -> Outcome:
    """Compute the cells that are to do; every record is on disk before the listener and the followers get it.

    The time spent waiting for a follower at the end is a phase of its own, under the follower's name.
    """
    started = time.perf_counter()
    todo = plan.todo(options.retry_failed, options.fresh)
    blocked: set[Place] = set()
    times = PhaseTimes()
    times.add({"planning": plan.seconds_planning})
    counts: Counter[Status] = Counter()
    interrupted = False
    listener.started(len(todo), len(stacks(todo)))
    try:
        with times.timed("encoding"):
            blocked = encode_all(todo, options, listener)
        runnable = [p for p in todo if place_of(p) not in blocked]
        for records, phases in _results(stacks(runnable), options, listener):
            times.add(phases.seconds)
            for record in records:
                counts[record.status] += 1
                listener.record(record)
                for follower in (followers or {}).values():
                    follower.record(record)
            if options.fail_fast and counts[Status.FAILED]:
                listener.note("stopped at the first failure (--fail-fast)")
                break
    except KeyboardInterrupt:
        interrupted = True
    for name, follower in (followers or {}).items():
        with times.timed(name):
            follower.finish(interrupted)
    return Outcome(
        done=counts[Status.DONE],
        failed=counts[Status.FAILED],
        diverged=counts[Status.DIVERGED],
        seconds=time.perf_counter() - started,
        share=dict(times.seconds),
        blocked=sum(place_of(p) in blocked for p in todo),
        interrupted=interrupted,
    )


def _results(
    work: list[list[Planned]], options: Options, listener: Listener
) -> Iterator[tuple[list[Record], PhaseTimes]]:
    if options.jobs < 1:
        raise UserError(f"--jobs {options.jobs} is not at least 1")
    if options.jobs == 1:
        for cells in work:
            listener.stack(cells[0].cell.row, len(cells))
            yield from run_stack(cells, options, say=listener.note, epochs=listener.epochs)
        return
    yield from in_workers(spread(work, options.jobs), options, listener)
