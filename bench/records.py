"""The outcome of a cell as one JSON file: the only thing a run must not lose."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Status(StrEnum):
    """How a cell ended."""

    DONE = "done"
    FAILED = "failed"
    DIVERGED = "diverged"


class Record(BaseModel):
    """One finished cell."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    hash: str
    """identity_hash(identity)."""
    identity: dict[str, Any]
    """Everything that determines the result."""
    dataset: str
    encoder: str
    ambiguity: str
    rate: float
    method: str
    """Name in the registry."""
    row: str
    """Method with the settings of the grid: the row of a table."""
    title: str
    """Method as a paper writes it."""
    family: str
    reveals_truth: bool
    settings: dict[str, Any]
    """All hyper-parameters, defaults included."""
    seed: int
    status: Status
    metrics: dict[str, float | None]
    """T1, U, S, H, seen_acc, D, H_cal, ... as fractions; None where a method cannot have it."""
    curves: dict[str, list[float]]
    """One value per epoch."""
    candidates_hash: str
    mean_candidates: float
    """Mean size of the candidate sets."""
    seconds: float
    """This cell's share of its stack's time."""
    stack: int
    """How many cells were trained together."""
    peak_mb: float
    environment: dict[str, str]
    finished: str
    """UTC, ISO 8601."""
    error: str | None = None
    """The traceback of a failed cell."""
