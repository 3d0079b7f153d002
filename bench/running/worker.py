"""What one worker does with one stack of cells: build the studies, train, rehearse, judge, write every record."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np
import torch
from torch import Tensor

from pzsl_bench.base.timing import PhaseTimes
from pzsl_bench.contract import Method
from pzsl_bench.data.ambiguity import AMBIGUITIES, LabelSets, allowed, mask_hash
from pzsl_bench.encoding.cache import cache_root
from pzsl_bench.judging.disambiguation import DisambiguationCurve
from pzsl_bench.judging.judge import CALIBRATED, judge
from pzsl_bench.judging.tag_judge import judge_tags
from pzsl_bench.planning.draws import configurations
from pzsl_bench.planning.identity import cell_key, draw_key
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.plan import Planned
from pzsl_bench.problem.exam import Exam
from pzsl_bench.problem.folds import Problems, size
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.rehearsal_sets import sets_among
from pzsl_bench.problem.studies import Studies
from pzsl_bench.records.cell import Cell
from pzsl_bench.records.record import Record, Status
from pzsl_bench.records.store import Records
from pzsl_bench.running.environment import allow_tf32, environment
from pzsl_bench.running.opened import Opened, candidate_sets, load_problem, open_dataset
from pzsl_bench.selecting.rules import Rule, find_rule
from pzsl_bench.selecting.selection import Rehearsal, Task, averaged, select
from pzsl_bench.selecting.trials import Choice
from pzsl_bench.training import memory
from pzsl_bench.training.fitted import Fitted
from pzsl_bench.training.memory import cut, replica_bytes

Say = Callable[[str], None]
Epochs = Callable[[int, int], None]


def run_stack(
    cells: Sequence[Planned], options: Options, say: Say | None = None, epochs: Epochs | None = None
) -> Iterator[tuple[list[Record], PhaseTimes]]:
    """Train and judge the cells together, in pieces that fit into memory; records are on disk when they are yielded."""
    device = memory.pick_device(options.device)
    allow_tf32(device)
    store = Records(options.results / "records")
    waiting, width = [list(cells)], 1
    first, times = cells[0].cell, PhaseTimes()
    place = (first.dataset, first.encoder, options.data, cache_root(options.cache), str(device))
    needs = cells[0].method.needs
    try:
        with times.timed("encoding"):
            sizes = [size(load_problem(*place, p.cell.seed, needs)) for p in cells]
        width = _width(cells, open_dataset(*place), options, device)
        alike = [
            [p for p, cell_size in zip(cells, sizes, strict=True) if cell_size == group_size]
            for group_size in dict.fromkeys(sizes)
        ]
        # A cell's draws stay together as long as they fit.
        cells_at_once = max(1, width // max(1, first.tune))
        waiting = [list(piece) for group in alike for piece in cut(group, cells_at_once)]
    except Exception:
        yield failures(cells, store, device, traceback.format_exc()), times
        return
    while waiting:
        piece, times = waiting.pop(0), PhaseTimes()
        try:
            problems, masks = [], []
            for cell in (p.cell for p in piece):
                problems.append(load_problem(*place, cell.seed, needs))
                masks.append(candidate_sets(*place, cell.ambiguity, cell.rate, cell.seed, cell.noise))
            records = train_and_judge(piece, masks, Problems(tuple(problems)), device, width, times, epochs)
        except Exception as error:
            if memory.is_out_of_memory(error) and len(piece) > 1:
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                if say is not None:
                    say(f"out of memory with {len(piece)} cells of {first.row} at once; going on with half as many")
                waiting = [list(half) for half in cut(piece, -(-len(piece) // 2))] + waiting
                continue
            records = failures(piece, store, device, traceback.format_exc(), save=False)
        with times.timed("records"):
            for record in records:
                store.save(record)
        yield records, times


def _width(cells: Sequence[Planned], opened: Opened, options: Options, device: torch.device) -> int:
    """How many runs the memory budget allows at once."""
    problem = opened.problem(cells[0].cell.seed, cells[0].method.needs)
    dtype = torch.bool if problem.train_tags is None else torch.int8
    candidates = torch.zeros(1, len(problem.train), problem.seen, dtype=dtype)
    studies = problem.studies(candidates, ["one"], ["one"])
    run_bytes = 0
    if opened.source.split is not None:
        studies = replace(studies, features=studies.features[None])
        run_bytes += problem.test.numel() * problem.test.element_size()
    rule = find_rule(cells[0].cell.select)
    run_bytes += replica_bytes(cells[0].method, studies, snapshots=rule.window if rule.window > 1 else 2 * rule.epochs)
    return max(1, memory.budget(options.memory, device, options.jobs) // run_bytes)


def train_and_judge(
    cells: Sequence[Planned],
    masks: Sequence[LabelSets],
    problems: Problems,
    device: torch.device,
    width: int,
    times: PhaseTimes,
    epochs: Epochs | None,
) -> list[Record]:
    """Train a piece of a stack that fits into memory, and judge it; one record for every cell, not yet on disk."""
    started = time.perf_counter()
    keys, draws = [cell_key(p.cell) for p in cells], [draw_key(p.cell) for p in cells]
    studies, exam = problems.studies(torch.from_numpy(np.stack(masks)), keys, draws), problems.exam()
    rule, method = find_rule(cells[0].cell.select), cells[0].method
    reasons = [no_rehearsal(problem, rule) for problem in problems.each]
    task = Task(
        dataset=cells[0].cell.dataset,
        studies=_truth_for_bounds(method, studies, problems.truths),
        candidates=studies.candidates,
        truth=torch.from_numpy(exam.train_truth).to(device) if rule.reveals_truth else None,
        rehearsals=lambda fold: rehearsals_of(method, rule, problems, studies, fold),
        no_rehearsal=next(filter(None, reasons), ""),
        observer=lambda runs: _observer(cells[0].cell.dataset, runs, studies, exam),
    )
    with times.timed("training"):
        selected = select(rule, [configurations(p.method, p.cell) for p in cells], task, width, epochs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    with times.timed("judging"):
        judged = zip(selected.states, selected.biases, strict=True)
        metrics = averaged([_judge(s, exam, studies, biases) for s, biases in judged])
        metrics = [_noisy_metrics(p.cell) | of_run for p, of_run in zip(cells, metrics, strict=True)]
        alive = selected.states[-1].alive.tolist()
        curves = {name: values.cpu().tolist() for name, values in selected.states[-1].curves.items()}
    seconds = time.perf_counter() - started
    return [
        _record(
            planned,
            device,
            status=Status.DONE if alive[i] else Status.DIVERGED,
            metrics=metrics[i] if alive[i] else {},
            curves={name: values[i] for name, values in curves.items()},
            candidates_hash=mask_hash(masks[i]),
            mean_candidates=float(allowed(masks[i]).sum(1).mean()),
            seconds=seconds / len(cells),
            stack=len(cells),
            choice=selected.choices[i],
            absent=why_absent(metrics[i], exam.of(i), problems.each[i]) if alive[i] else {},
        )
        for i, planned in enumerate(cells)
    ]


def _observer(dataset: str, cells: Tensor, studies: Studies, exam: Exam) -> DisambiguationCurve | None:
    """The observer that records how well runs of these cells identify labels; None where an image has several."""
    if studies.marks is not None:
        return None
    truth = exam.train_truth if exam.train_truth.ndim == 1 else exam.train_truth[cells.numpy()]
    sets = studies.candidates[cells.to(studies.candidates.device)]
    return DisambiguationCurve(dataset, studies.of_runs(cells), sets, truth)


def rehearsals_of(method: Method, rule: Rule, problems: Problems, studies: Studies, fold: int) -> list[Rehearsal]:
    """The rehearsals of a fold, with seen classes only: one for the runs of each problem that can rehearse."""
    device, rehearsals = studies.candidates.device, []
    for problem, runs in problems.groups():
        if no_rehearsal(problem, rule):
            continue
        rehearsal_problem, rows, classes = problem.rehearsal(fold)
        keys, draws = [studies.keys[r] for r in runs], [studies.draws[r] for r in runs]
        candidates = studies.candidates[torch.tensor(runs, device=device)]
        candidates = sets_among(candidates, rows, classes, rehearsal_problem.train_truth, draws)
        rehearsal_studies = _truth_for_bounds(
            method,
            rehearsal_problem.studies(candidates, keys, draws),
            Problems((rehearsal_problem,) * len(runs)).truths,
        )
        ratio = problem.seen / problem.unseen
        rehearsals.append(Rehearsal(runs, rehearsal_studies, rehearsal_problem.exam(), ratio))
    return rehearsals


def no_rehearsal(problem: Problem, rule: Rule) -> str:
    """Why the rehearsals of a problem cannot be held that a rule needs, or that calibrate; empty if they can."""
    if problem.roles is None:
        return "there are no unseen classes"
    return problem.roles.lack(max(1, rule.folds), rule.one_sided)


def why_absent(metrics: Mapping[str, float | None], exam: Exam, problem: Problem) -> dict[str, str]:
    """For every metric without a value, the reason as the end of a sentence."""
    if exam.tags is not None:
        return {}
    from_seen = exam.truth < exam.seen
    sides = "" if from_seen.any() else "no test image is of a seen class"
    sides = sides or ("no test image is of an unseen class" if from_seen.all() else "")
    reasons: dict[str, str] = {}
    for name in (name for name, value in metrics.items() if value is None):
        if name == "recovered":
            reasons[name] = "where no true label is missing there is nothing to recover"
            continue
        lack = problem.roles.lack() if problem.roles is not None and name in CALIBRATED else ""
        if why := sides or (lack and f"no rehearsal can be held, since {lack}"):
            reasons[name] = why
    return reasons


def _noisy_metrics(cell: Cell) -> dict[str, float | None]:
    """The metric of cells with noise, which the judge gives where a label is missing: absent for the others."""
    return {"recovered": None} if AMBIGUITIES.get(cell.ambiguity).noisy else {}


def _truth_for_bounds(method: Method, studies: Studies, truths: Callable[[], LabelSets]) -> Studies:
    """The studies; a method marked as a bound gets the true labels, or tags, as its candidate sets (R, N, K)."""
    if not method.info.reveals_truth:
        return studies
    truth = torch.from_numpy(truths()).to(studies.candidates.device)
    return studies.with_candidates(truth.expand_as(studies.candidates))


def _judge(
    fitted: Fitted, exam: Exam, studies: Studies, biases: Sequence[float | None]
) -> list[dict[str, float | None]]:
    """The metrics of every run, by the judge of its task."""
    if exam.tags is not None:
        return judge_tags(fitted, exam, studies.features)
    return judge(fitted, exam, studies.features, studies.candidates, biases)


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
    choice: Choice | None = None,
    absent: dict[str, str] | None = None,
    error: str | None = None,
) -> Record:
    cell: Cell = planned.cell
    info = planned.method.info
    choice = choice or Choice(planned.method)
    return Record(
        hash=planned.hash,
        identity=planned.identity,
        dataset=cell.dataset,
        encoder=cell.encoder,
        ambiguity=cell.ambiguity,
        rate=cell.rate,
        noise=cell.noise,
        method=cell.method,
        row=cell.row,
        title=info.title,
        family=info.family,
        reveals_truth=info.reveals_truth or find_rule(cell.select).reveals_truth,
        transductive=planned.method.transductive,
        settings=asdict(choice.method),
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
        select=cell.select,
        tune=cell.tune,
        draw=choice.draw,
        epoch=choice.epoch,
        trials=list(choice.trials),
        absent=absent or {},
        error=error,
    )
