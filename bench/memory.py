"""How much memory a stack may take, and how to notice that it took too much."""

from __future__ import annotations

import re
import resource
import sys

import psutil
import torch

from pzsl_bench.errors import UserError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SHARE = {"cpu": 0.5, "cuda": 0.8}
"""Default share of the memory that is free now."""


def budget(text: str | None, device: torch.device, jobs: int) -> int:
    """Bytes that the stacks of one worker may take: as asked for ("4GB"), or a share of what is free."""
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
    """The largest memory this process has held: on the device, or as the operating system counts it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def pick_device(name: str) -> torch.device:
    """auto, cpu, cuda or cuda:N as a device that is there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"--device {name!r} is not one of auto, cpu, cuda, cuda:1")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device
