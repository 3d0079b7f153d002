"""How much memory a run takes, and sizes, devices and running out of memory in the user's words."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live_memory import LiveMemory

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import METHODS, Method, configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit
from pzsl_bench.training.memory import budget, cut, is_out_of_memory, parse, pick_device, replica_bytes

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 2**30), ("512 mb", 512 * 2**20), ("1.5G", 3 * 2**29), ("100", 100), ("2KiB", 2048)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1GB", "0", "4 XB", "GB", "1e3"])
def test_what_is_no_size_is_refused_in_words(text: str) -> None:
    with pytest.raises(UserError, match="write 4GB"):
        parse(text)


@given(st.integers(1, 64))
def test_workers_share_the_budget(jobs: int) -> None:
    assert budget("64MB", CPU, jobs) * jobs <= 64 * 2**20


@pytest.mark.parametrize(("jobs", "bytes_each"), [(1, 5000), (2, 2500), (4, 1250)])
def test_the_default_budget_is_half_of_what_is_free_shared_by_all_workers(
    monkeypatch: pytest.MonkeyPatch, jobs: int, bytes_each: int
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000, total=10**9))
    assert budget(None, CPU, jobs) == bytes_each


def test_a_real_allocation_failure_is_recognised_and_other_errors_are_not() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_devices() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(UserError, match="not one of auto"):
        pick_device("gpu")
    with pytest.raises(UserError, match="CUDA device"):
        pick_device("cuda:99")


MEASURED = """
import numpy, torch
from pzsl_bench.training.memory import peak_mb
before = peak_mb(torch.device("cpu"))
# A process starts with the peak of the one that started it, so it takes more than that.
block = numpy.ones(int(before + 100) * 2**20 // 8)
del block
print(peak_mb(torch.device("cpu")) - before)
"""


def test_the_peak_of_a_process_counts_what_it_once_had_in_megabytes() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    # What Python and torch themselves take comes on top.
    assert 100 <= float(done.stdout) < 1000


def live_bytes(method: Method, studies: Studies) -> int:
    with LiveMemory() as memory:
        fit([method] * len(studies), studies)
    return memory.peak


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("proden", {}),
        ("proden", {"hidden": 512}),
        ("proden", {"batch": 2048}),
        ("clip_pzsl", {}),
        ("dvsa", {}),
        ("pico", {}),
        ("pico_plus", {}),
        ("alim", {}),
        ("fredis", {}),
        ("crdpll", {}),
        ("eszsl", {}),
        ("tip_adapter", {}),
    ],
)
def test_memory_prediction_is_of_the_size_that_a_run_really_adds(name: str, settings: dict[str, Any]) -> None:
    """Measured: the most bytes of tensors that are alive at once, with two runs and with six."""
    method = configure(
        name, {"epochs": 1, **settings} if "epochs" in METHODS.get(name).__dataclass_fields__ else settings
    )
    problem = toy_problem(seen=40, unseen=4, width=64, per_class=100)
    few, many = (toy_studies(problem, [("flip", 0.3, seed) for seed in range(runs)]) for runs in (2, 6))
    added = (live_bytes(method, many) - live_bytes(method, few)) / 4
    assert 0.7 * added < replica_bytes(method, many) < 2.5 * added


def test_a_prediction_counts_the_states_that_are_kept_beside_the_current_one() -> None:
    studies = toy_studies(toy_problem(), [("flip", 0.3, 0)])
    method = configure("proden", {"hidden": 512})
    parameters = sum(p.numel() for p in method.module(studies.of(0)).parameters())  # type: ignore[attr-defined]
    grown = replica_bytes(method, studies, snapshots=3) - replica_bytes(method, studies)
    assert grown == 3 * 4 * parameters


def test_cutting_keeps_every_item_once_and_pieces_even() -> None:
    pieces = [list(p) for p in cut(list(range(25)), 10)]
    assert [item for piece in pieces for item in piece] == list(range(25))
    assert [len(p) for p in pieces] == [9, 9, 7]
    assert [len(p) for p in cut([1, 2, 3], 0)] == [1, 1, 1]
