"""Stacks in worker processes: each is handed out whole, and a killed worker is survived."""

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

LIVES = 2
"""How often a stack may be in flight when a worker is killed before it is run alone."""


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
    """Stacks in worker processes; a killed worker costs the stacks in flight one life and nothing else."""
    from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

    lives = {p.hash: LIVES for cells in work for p in cells}
    left = {p.hash: p for cells in work for p in cells}
    groups = [[p.hash for p in cells] for cells in work]
    while left:
        pending = [cells for g in groups if (cells := [left[h] for h in g if h in left])]
        doomed = next((cells for cells in pending if all(lives[p.hash] <= 0 for p in cells)), None)
        try:
            for records, times in _parallel([doomed] if doomed else pending, options, listener):
                for record in records:
                    left.pop(record.hash, None)
                yield records, times
        except (BrokenProcessPool, TerminatedWorkerError):
            if doomed is not None:
                yield _killed(doomed, options)
                for planned in doomed:
                    left.pop(planned.hash, None)
                continue
            listener.note("a worker process was killed; going on with what is missing")
            for cells in pending:
                for planned in cells:
                    lives[planned.hash] -= 1


def _parallel(
    work: Sequence[list[Planned]], options: Options, listener: Listener
) -> Iterator[tuple[list[Record], PhaseTimes]]:
    from joblib import Parallel, delayed, parallel_config

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // options.jobs)
    with parallel_config("loky", inner_max_num_threads=threads):
        pool = Parallel(n_jobs=options.jobs, return_as="generator_unordered", batch_size=1)
        for outcomes in pool(delayed(_work)(cells, options, threads) for cells in work):
            for notes, records, times in outcomes:
                for note in notes:
                    listener.note(note)
                yield records, times


def _work(cells: list[Planned], options: Options, threads: int) -> list[tuple[list[str], list[Record], PhaseTimes]]:
    """One stack in a worker process: its records are on disk before it returns."""
    torch.set_num_threads(threads)
    notes: list[str] = []
    return [(list(notes), records, times) for records, times in run_stack(cells, options, say=notes.append)]


def _killed(cells: list[Planned], options: Options) -> tuple[list[Record], PhaseTimes]:
    reason = "the worker process was killed each time it ran this stack (out of memory?)"
    store = Records(options.results / "records")
    return failures(cells, store, pick_device(options.device), reason), PhaseTimes()
