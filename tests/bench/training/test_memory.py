"""Sizes, devices and running out of memory, in the user's words."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.base.errors import UserError
from pzsl_bench.training.memory import budget, is_out_of_memory, parse, peak_mb, pick_device

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


def test_the_default_budget_is_a_part_of_what_is_free() -> None:
    assert 0 < budget(None, CPU, 1) < 2**50


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


def test_peak_memory_is_of_a_plausible_size() -> None:
    assert 50 < peak_mb(CPU) < 1e6
