"""How fast the harness is: stacks against single runs and against the floor, and its own share of a grid's time.

The floor of a problem is what no trainer can beat with these shapes: the head's matrix products as bare `torch.bmm`,
forward and backward, and one fused optimiser step on its parameters. Machines are shared and noisy, so the three are
timed in turn, round after round: times are medians over the rounds, ratios medians of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.base import randomness
from pzsl_bench.contract import Gradient, configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.running.environment import allow_tf32, device_name
from pzsl_bench.training.fit import batch_sizes, fit
from pzsl_bench.training.memory import pick_device


@dataclass(frozen=True)
class Case:
    """A problem size and a head."""

    name: str
    images: int
    width: int
    classes: int
    head: str
    hidden: int
    products: tuple[tuple[int, int], ...]
    """Shapes of the weights of the head that are trained; class vectors count as one of them."""


SHAPES = (4000, 64, 40)
CUB = (7057, 512, 150)
CASES = (
    Case("shapes, cosine adapter 64", *SHAPES, "cosine", 64, ((64, 64), (64, 64), (64, 40))),
    Case("shapes, linear", *SHAPES, "linear", 1, ((64, 40),)),
    Case("CUB size, linear", *CUB, "linear", 1, ((512, 150),)),
    Case("CUB size, MLP 500", *CUB, "mlp", 500, ((512, 500), (500, 150))),
    Case("CUB size, cosine adapter 500", *CUB, "cosine", 500, ((512, 500), (500, 512), (512, 150))),
)
MANY_CLASSES = Case("800 classes, three images each", 2400, 512, 800, "cosine", 64, ((512, 64), (64, 512), (512, 800)))
MINING = ((CASES[0], 15), (MANY_CLASSES, 3))
"""Problems and numbers of runs at which CLIP-PZSL is timed beside PRODEN."""
BATCH = 64
EPOCHS = 2
RUNS_ALONE = 4
"""How many cells are trained one by one."""
STACK_WIDTHS = (15, 25)
"""How many runs a stack has."""


@dataclass(frozen=True)
class Job:
    """Something to time: `work` trains `runs` runs by `steps` steps each."""

    work: Callable[[], object]
    steps: int
    runs: int


def make_studies(case: Case, runs: int, device: torch.device) -> Studies:
    """Random unit features, texts and candidate sets of the case's size."""
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1).to(device)

    mask = randomness.uniform(randomness.key("perf"), case.images, case.classes) < 0.3
    mask[np.arange(case.images), np.arange(case.images) % case.classes] = True
    names = tuple(f"run {r}" for r in range(runs))
    return Studies(
        features=unit(case.images, case.width),
        texts=unit(case.classes, case.width),
        class_names=tuple(map(str, range(case.classes))),
        scale=20.0,
        candidates=torch.from_numpy(mask).to(device).repeat(runs, 1, 1),
        keys=names,
        draws=names,
    )


def stacked(case: Case, runs: int, device: torch.device, name: str = "proden", batch: int = BATCH) -> Job:
    """A short training of a method for a stack of runs, through the harness's own trainer."""
    studies = make_studies(case, runs, device)
    settings = {"head": case.head, "hidden": case.hidden, "batch": batch, "batches": 1, "epochs": EPOCHS, "lr": 1e-3}
    method = configure(name, settings)
    assert isinstance(method, Gradient)
    studies.uniform  # noqa: B018  (candidate sets are made once per cell, not per step)
    return Job(lambda: fit([method] * runs, studies), EPOCHS * len(batch_sizes(method, case.images)), runs)


def one_by_one(case: Case, device: torch.device) -> Job:
    """The same training for some of the cells, each in a stack of its own."""
    jobs = [stacked(case, 1, device) for _ in range(RUNS_ALONE)]

    def work() -> None:
        for job in jobs:
            job.work()

    return Job(work, jobs[0].steps, RUNS_ALONE)


def floor(case: Case, runs: int, device: torch.device) -> Job:
    """The bare products and the fused optimiser, as many steps as an epoch has."""
    steps = -(-case.images // BATCH)
    weights = [torch.randn(runs, *s, device=device).mul_(0.01).requires_grad_() for s in case.products]
    images = torch.randn(runs, BATCH, case.width, device=device)
    optimiser = torch.optim.AdamW(weights, fused=True)

    def epoch() -> None:
        for _ in range(steps):
            out = images
            for factor in weights:
                out = torch.bmm(out, factor)
            grads = torch.autograd.grad(out, weights, torch.ones_like(out))
            for weight, grad in zip(weights, grads, strict=True):
                weight.grad = grad
            optimiser.step()

    return Job(epoch, steps, runs)


def milliseconds(jobs: Sequence[Job], device: torch.device, rounds: int) -> NDArray[np.float64]:
    """(rounds, jobs) time per run and step; the jobs of a round follow each other."""
    times = np.empty((rounds, len(jobs)))
    for number in range(rounds + 1):
        for i, job in enumerate(jobs):
            _wait(device)
            started = time.perf_counter()
            job.work()
            _wait(device)
            # The first round warms up.
            times[number - 1, i] = (time.perf_counter() - started) / job.steps / job.runs * 1e3
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def report(device: torch.device, rounds: int, write: Callable[[str], object]) -> None:
    """Measure all cases and print a table."""
    allow_tf32(device)
    where = device_name(str(device)) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    write(f"PRODEN, batch {BATCH}, ms per run and step ({where}, torch {torch.__version__}, medians of {rounds})\n")
    write(f"{'problem':30}{'runs':>5}{'stack':>9}{'one by one':>12}{'floor':>9}{'gain':>8}{'of floor':>10}\n")
    for case in CASES:
        for runs in STACK_WIDTHS:
            jobs = [stacked(case, runs, device), one_by_one(case, device), floor(case, runs, device)]
            times = milliseconds(jobs, device, rounds)
            stack, alone, bare = np.median(times, axis=0)
            gain, share = np.median(times[:, 1] / times[:, 0]), np.median(times[:, 2] / times[:, 0])
            write(f"{case.name:30}{runs:5}{stack:9.3f}{alone:12.3f}{bare:9.3f}{gain:7.1f}x{share:10.0%}\n")


def report_mining(device: torch.device, rounds: int, write: Callable[[str], object]) -> None:
    """What a step of CLIP-PZSL costs beside one of PRODEN, at few and at many classes."""
    for case, runs in MINING:
        jobs = [stacked(case, runs, device, name, 256) for name in ("proden", "clip_pzsl")]
        times = milliseconds(jobs, device, rounds)
        plain, mining = np.median(times, axis=0)
        ratio = np.median(times[:, 1] / times[:, 0])
        write(
            f"CLIP-PZSL, {case.name}, {runs} runs, batch 256: {mining:.3f} ms per run and step,"
            f" PRODEN {plain:.3f}: {ratio:.1f}x\n"
        )


class Silent:
    """A listener that prints nothing."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


def report_share(device: str, write: Callable[[str], object]) -> None:
    """Run the grid `quick` from nothing in this process and print where its wall time went."""
    from pzsl_bench.cli.run_report import carry_out
    from pzsl_bench.planning.grid import load_grid
    from pzsl_bench.planning.options import Options
    from pzsl_bench.planning.plan import make_plan

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{place / 'mlflow.db'}"
        options = Options(results=place / "results", cache=place / "cache", device=device)
        started = time.perf_counter()
        outcome = carry_out(make_plan(load_grid("quick", []), options), options, Silent())
        wall = time.perf_counter() - started
    work = sum(outcome.share.get(phase, 0.0) for phase in ("encoding", "training"))
    parts = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in outcome.share.items())
    write(f"grid quick, {outcome.done} cells: {wall:.1f} s ({parts})\n")
    write(f"the harness's own share (all but encoding and training): {1 - work / wall:.1%}\n")


def main() -> None:
    """Command line: python tools/perf.py [--device auto] [--rounds 3]."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    report(pick_device(arguments.device), arguments.rounds, sys.stdout.write)
    report_mining(pick_device(arguments.device), arguments.rounds, sys.stdout.write)
    report_share(arguments.device, sys.stdout.write)


if __name__ == "__main__":
    main()
