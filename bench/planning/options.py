"""The options of a run, as the command line gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How to run a plan."""

    results: Path = Path("results")
    device: str = "auto"
    jobs: int = 1
    memory: str | None = None
    retry_failed: bool = False
    fresh: bool = False
    fail_fast: bool = False
    mlflow: bool = True
    data: Path | None = None
    cache: Path | None = None
    download: bool = False
