"""Memory of stacks: how much they may take, how much they will take, and whether it ran out; and the device."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
import torch

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Gradient, Method, State
from pzsl_bench.problem.studies import Studies
from pzsl_bench.training.fit import batch_sizes, initialise

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SHARE = {"cpu": 0.5, "cuda": 0.8}
"""The default budget, as a share of the memory that is free now."""


def budget(text: str | None, device: torch.device, jobs: int) -> int:
    """Bytes that the stacks of one worker may take, from --memory ("4GB") or as a share of the free memory."""
    if text is not None:
        return parse(text) // jobs
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(SHARE["cuda"] * free) // jobs
    return int(SHARE["cpu"] * psutil.virtual_memory().available) // jobs


def parse(text: str) -> int:
    """Bytes of "512MB", "4GB", "1.5 G" or a plain number."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", text, re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise UserError(f"--memory {text!r} is not a size; write 4GB or 512MB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def peak_mb(device: torch.device) -> float:
    """The peak memory of this process in MB: on a CUDA device, or in main memory as the operating system counts it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def pick_device(name: str) -> torch.device:
    """The device called auto, cpu, cuda or cuda:N; an error in words if this machine lacks it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"--device {name!r} is not one of auto, cpu, cuda, cuda:1")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device


def replica_bytes(method: Method, studies: Studies, snapshots: int = 0) -> int:
    """Predicted bytes that one more run adds to a stack, if so many copies of earlier states are stored."""
    images, classes = studies.candidates.shape[1:]
    width = studies.features.shape[-1]
    table = images * classes
    data = 4 * images * width if studies.per_run_features else 0
    data += 0 if studies.marks is None else table
    if not isinstance(method, Gradient):
        # Targets, candidates and intermediate tables of a solver, and a few of its matrices of the feature width.
        return data + table * 25 + 12 * 4 * width**2
    _, params, memory = initialise(method, studies, studies.uniform)
    parameters = _bytes(params) // len(studies)
    carried = _bytes(memory) // len(studies) + _bytes(method.tables(studies.of(0)))
    rows = max(batch_sizes(method, images))
    passes = 1 + method.looks
    activations = 4 * rows * passes * (8 * classes + 6 * width + 4 * method.hidden) + 4 * method.extra_floats(
        studies.of(0)
    )
    # Parameters, gradient and two moments; targets, working weights and candidates; the order of an epoch. While the
    # memory of a run is replaced, the old and the new one both exist.
    states = (4 + snapshots) * parameters + (2 + snapshots) * carried
    return data + states + table * 9 + activations + 8 * images


def _bytes(state: State) -> int:
    return sum(values.numel() * values.element_size() for values in state.values())


def cut(items: Sequence[Any], width: int) -> Iterator[Sequence[Any]]:
    """Consecutive pieces of at most `width` items, as even as possible."""
    pieces = max(1, -(-len(items) // max(1, width)))
    size = -(-len(items) // pieces)
    for start in range(0, len(items), size):
        yield items[start : start + size]
