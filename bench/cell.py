"""One result of the grid: where it stands on the axes, and what determines it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROTOCOL = 1
"""Raised when the meaning of a result changes for every method: splits, metrics, candidate sets."""

Scalar = str | int | float | bool


@dataclass(frozen=True, order=True)
class Cell:
    """A point of the grid. `settings` are the hyper-parameters that the grid sets, in name order."""

    dataset: str
    encoder: str
    ambiguity: str
    rate: float
    method: str
    settings: tuple[tuple[str, Scalar], ...]
    seed: int

    @property
    def row(self) -> str:
        """The method with its settings, as tables and commands name it: eszsl(candidates_as=random)."""
        if not self.settings:
            return self.method
        return f"{self.method}({','.join(f'{k}={v}' for k, v in self.settings)})"

    @property
    def where(self) -> dict[str, Scalar]:
        """The coordinates as plain columns."""
        return {
            "dataset": self.dataset,
            "encoder": self.encoder,
            "ambiguity": self.ambiguity,
            "rate": self.rate,
            "method": self.row,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        return f"{self.dataset}/{self.encoder}/{self.ambiguity}-{self.rate:g}/{self.row}/seed {self.seed}"


def identity_hash(identity: Mapping[str, Any]) -> str:
    """The name of a result: sha256 over canonical JSON of everything that determines it."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
