"""Where a result was computed: versions, device, commit."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("pzsl-bench", "torch", "open_clip_torch", "numpy")


@cache
def environment(device: str) -> dict[str, str]:
    """Facts that are stored with every record."""
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(device),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    commit = _commit(Path(__file__).resolve().parents[2] / ".git")
    return facts | ({"commit": commit} if commit else {})


def allow_tf32(device: torch.device) -> None:
    """Faster products on a GPU, below the noise of a batch; CPU results stay plain single precision everywhere."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def device_name(device: str) -> str:
    """cpu, or the name of the card."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def _commit(git: Path) -> str | None:
    """The commit of a checkout, read from its files: starting git for every worker would cost more."""
    try:
        head = (git / "HEAD").read_text().strip()
        return (git / head[5:]).read_text().strip() if head.startswith("ref: ") else head
    except OSError:
        return None
