"""Measuring the wall time of the phases of a run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class PhaseTimes:
    """Wall seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time of a block to a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - started

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by phase that were measured elsewhere."""
        for phase, value in seconds.items():
            self.seconds[phase] += value
