"""Run stacks in worker processes. A worker gets a stack as a whole; when a worker is killed, the run goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import torch

from pzsl_bench.base.timing import PhaseTimes
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.plan import Planned
from pzsl_bench.records.record import Record
from pzsl_bench.records.store import Records
from pzsl_bench.running.listener import Listener
from pzsl_bench.running.worker import failures, run_stack
from pzsl_bench.training.memory import cut, pick_device

KILLS_BEFORE_ALONE = 2
"""How often a stack may be in flight when a worker is killed. After that it runs alone, and fails if killed again."""


def spread(work: list[list[Planned]], jobs: int) -> list[list[Planned]]:
    """Halve the largest stacks until every worker has one."""
    pieces = list(work)
    while len(pieces) < jobs and max(map(len, pieces), default=1) > 1:
        pieces.sort(key=len)
        largest = pieces.pop()
        pieces += [list(half) for half in cut(largest, -(-len(largest) // 2))]
    return pieces


def in_workers(
    work: list[list[Planned]], options: Options, listener: Listener
) -> Iterator[tuple[list[Record], PhaseTimes]]:
    """Run stacks in worker processes. A killed worker counts against every stack in flight; those are run again."""
    from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

    kills_left = {p.hash: KILLS_BEFORE_ALONE for cells in work for p in cells}
    unfinished = {p.hash: p for cells in work for p in cells}
    groups = [[p.hash for p in cells] for cells in work]
    while unfinished:
        pending = [cells for group in groups if (cells := [unfinished[h] for h in group if h in unfinished])]
        suspect = next((cells for cells in pending if all(kills_left[p.hash] <= 0 for p in cells)), None)
        try:
            for records, times in _parallel([suspect] if suspect else pending, options, listener):
                for record in records:
                    unfinished.pop(record.hash, None)
                yield records, times
        except (BrokenProcessPool, TerminatedWorkerError):
            if suspect is not None:
                yield _failed_by_kills(suspect, options)
                for planned in suspect:
                    unfinished.pop(planned.hash, None)
                continue
            listener.note("a worker process was killed; going on with what is missing")
            for cells in pending:
                for planned in cells:
                    kills_left[planned.hash] -= 1


def _parallel(
    work: Sequence[list[Planned]], options: Options, listener: Listener
) -> Iterator[tuple[list[Record], PhaseTimes]]:
    from joblib import Parallel, delayed, parallel_config

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // options.jobs)
    with parallel_config("loky", inner_max_num_threads=threads):
        pool = Parallel(n_jobs=options.jobs, return_as="generator_unordered", batch_size=1)
        for outcomes in pool(delayed(_run_in_worker)(cells, options, threads) for cells in work):
            for notes, records, times in outcomes:
                for note in notes:
                    listener.note(note)
                yield records, times


def _run_in_worker(
    cells: list[Planned], options: Options, threads: int
) -> list[tuple[list[str], list[Record], PhaseTimes]]:
    """One stack in a worker process: its records are on disk before it returns."""
    torch.set_num_threads(threads)
    notes: list[str] = []
    return [(list(notes), records, times) for records, times in run_stack(cells, options, say=notes.append)]


def _failed_by_kills(cells: list[Planned], options: Options) -> tuple[list[Record], PhaseTimes]:
    reason = "the worker process was killed each time it ran this stack (out of memory?)"
    store = Records(options.results / "records")
    return failures(cells, store, pick_device(options.device), reason), PhaseTimes()
