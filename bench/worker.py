"""What one worker does with one stack of cells: study, fit, rehearse, judge, and a record for every cell."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pzsl_bench import memory
from pzsl_bench.ambiguity import Mask, draw_candidates, mask_hash
from pzsl_bench.cell import Cell
from pzsl_bench.contract import Method
from pzsl_bench.encode import cache_root, encode, find_encoder
from pzsl_bench.environment import allow_tf32, environment
from pzsl_bench.judge import best_biases, judge
from pzsl_bench.plan import Planned, cell_key, draw_key
from pzsl_bench.problem import Problem, build_problem
from pzsl_bench.records import Record, Records, Status
from pzsl_bench.source import find_dataset
from pzsl_bench.spent import Spent
from pzsl_bench.stack import Fitted, cut, fit, replica_bytes

if TYPE_CHECKING:
    from pzsl_bench.run import Options

Say = Callable[[str], None]
Epochs = Callable[[int, int], None]


@lru_cache(maxsize=2)
def load_problem(dataset: str, encoder: str, data: Path | None, cache: Path, device: str) -> Problem:
    """A problem from the feature cache, on its device; kept for the next stack."""
    source = find_dataset(dataset, data).open()
    made = encode(source, dataset, find_encoder(encoder, cache=cache), cache=cache, device=device)
    problem = build_problem(dataset, source, made.features, made.texts, made.scale, made.unreadable)
    return problem.to(torch.device(device))


@lru_cache(maxsize=256)
def candidate_sets(
    dataset: str,
    encoder: str,
    data: Path | None,
    cache: Path,
    device: str,
    ambiguity: str,
    rate: float,
    seed: int,
) -> Mask:
    """(N, K) the candidate sets of a draw; all methods of a grid ask for the same ones."""
    problem = load_problem(dataset, encoder, data, cache, device)
    return draw_candidates(ambiguity, problem.labelled, rate, dataset, seed)


def run_stack(
    cells: Sequence[Planned], options: Options, say: Say | None = None, epochs: Epochs | None = None
) -> Iterator[tuple[list[Record], Spent]]:
    """Train and judge the cells together, in pieces that fit into memory; records are on disk when they are yielded."""
    device = memory.pick_device(options.device)
    allow_tf32(device)
    store = Records(options.results / "records")
    waiting = [list(cells)]
    first, spent = cells[0].cell, Spent()
    place = (first.dataset, first.encoder, options.data, cache_root(options.cache), str(device))
    try:
        with spent.on("encoding"):
            problem = load_problem(*place)
        width = _width(cells, problem, options, device)
        waiting = [list(piece) for piece in cut(cells, width)]
    except Exception:
        yield failures(cells, store, device, traceback.format_exc()), spent
        return
    while waiting:
        piece, spent = waiting.pop(0), Spent()
        try:
            masks = [candidate_sets(*place, p.cell.ambiguity, p.cell.rate, p.cell.seed) for p in piece]
            records = _train_and_judge(piece, masks, problem, device, spent, epochs)
        except Exception as error:
            if memory.is_out_of_memory(error) and len(piece) > 1:
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                if say is not None:
                    say(f"out of memory with {len(piece)} cells of {first.row} at once; going on with half as many")
                waiting = [list(half) for half in cut(piece, -(-len(piece) // 2))] + waiting
                continue
            records = failures(piece, store, device, traceback.format_exc(), save=False)
        with spent.on("records"):
            for record in records:
                store.save(record)
        yield records, spent


def _width(cells: Sequence[Planned], problem: Problem, options: Options, device: torch.device) -> int:
    """How many cells the memory budget allows at once."""
    empty = torch.zeros(1, len(problem.train), problem.seen, dtype=torch.bool)
    one = replica_bytes(cells[0].method, problem.studies(empty, ["one"], ["one"]))
    return max(1, memory.budget(options.memory, device, options.jobs) // one)


def _train_and_judge(
    cells: Sequence[Planned],
    masks: Sequence[Mask],
    problem: Problem,
    device: torch.device,
    spent: Spent,
    epochs: Epochs | None,
) -> list[Record]:
    started = time.perf_counter()
    methods = [p.method for p in cells]
    candidates = torch.from_numpy(np.stack(masks)).to(device)
    small, rows, classes = problem.rehearsal()
    rehearsed = candidates[:, torch.from_numpy(rows).to(device)][:, :, torch.from_numpy(classes).to(device)]
    with spent.on("training"):
        fitted = _fit(methods, problem, candidates, cells, epochs)
        rehearsal = _fit(methods, small, rehearsed, cells, None)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    with spent.on("judging"):
        biases = best_biases(rehearsal, small.exam())
        metrics = judge(fitted, problem.exam(), problem.train, candidates, biases)
        alive = fitted.alive.tolist()
        curves = {name: values.cpu().tolist() for name, values in fitted.curves.items()}
    seconds = time.perf_counter() - started
    return [
        _record(
            planned,
            device,
            status=Status.DONE if alive[i] else Status.DIVERGED,
            metrics=metrics[i] if alive[i] else {},
            curves={name: values[i] for name, values in curves.items()},
            candidates_hash=mask_hash(masks[i]),
            mean_candidates=float(masks[i].sum(1).mean()),
            seconds=seconds / len(cells),
            stack=len(cells),
        )
        for i, planned in enumerate(cells)
    ]


def _fit(
    methods: Sequence[Method],
    problem: Problem,
    candidates: torch.Tensor,
    cells: Sequence[Planned],
    epochs: Epochs | None,
) -> Fitted:
    if methods[0].info.reveals_truth:
        # The side door of the bounds: candidate sets that are the truth itself.
        truth = torch.from_numpy(problem.labelled.truth_mask()).to(candidates.device)
        candidates = truth.expand(len(cells), -1, -1)
    keys, draws = [cell_key(p.cell) for p in cells], [draw_key(p.cell) for p in cells]
    return fit(methods, problem.studies(candidates, keys, draws), epochs)


def failures(
    cells: Sequence[Planned], store: Records, device: torch.device, error: str, save: bool = True
) -> list[Record]:
    """Records that say why these cells have no result."""
    records = [_record(p, device, status=Status.FAILED, error=error, stack=len(cells)) for p in cells]
    if save:
        for record in records:
            store.save(record)
    return records


def _record(
    planned: Planned,
    device: torch.device,
    *,
    status: Status,
    stack: int,
    metrics: dict[str, float | None] | None = None,
    curves: dict[str, list[float]] | None = None,
    candidates_hash: str = "",
    mean_candidates: float = float("nan"),
    seconds: float = 0.0,
    error: str | None = None,
) -> Record:
    cell: Cell = planned.cell
    info = planned.method.info
    return Record(
        hash=planned.hash,
        identity=planned.identity,
        dataset=cell.dataset,
        encoder=cell.encoder,
        ambiguity=cell.ambiguity,
        rate=cell.rate,
        method=cell.method,
        row=cell.row,
        title=info.title,
        family=info.family,
        reveals_truth=info.reveals_truth,
        settings=asdict(planned.method),
        seed=cell.seed,
        status=status,
        metrics=metrics or {},
        curves=curves or {},
        candidates_hash=candidates_hash,
        mean_candidates=mean_candidates,
        seconds=seconds,
        stack=stack,
        peak_mb=memory.peak_mb(device),
        environment=environment(str(device)),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        error=error,
    )
