"""The outcome of one cell: what it is, how it ended, and its numbers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from pzsl_bench.records.trial import Trial


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
    noise: float = 0.0
    """The share of images whose true label is missing from their candidates; older records have no such field."""
    method: str
    """Name in the registry."""
    row: str
    """Method with the settings of the grid: the row of a table."""
    title: str
    """Method as a paper writes it."""
    family: str
    reveals_truth: bool
    transductive: bool = False
    """Whether the method scored the images of the exam together."""
    settings: dict[str, Any]
    """All hyper-parameters of the result, including defaults and chosen values."""
    seed: int
    status: Status
    metrics: dict[str, float | None]
    """T1, U, S, H, seen_acc, accuracy, D, H_cal, ... as fractions; None where a method cannot have it.

    Where images have tags: mAP_zsl, F1_at_3_gzsl, ... as `pzsl_bench.judging.tag_metrics` names them.
    """
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
    select: str = "last"
    """The rule that chose the epoch and the draw of the settings."""
    tune: int = 0
    """How many draws there were; 0 where settings were left as they are."""
    draw: int = 0
    """Number of the chosen draw; draw 0 has the settings of the grid."""
    epoch: int | None = None
    """The chosen epoch; None for the end of the training."""
    trials: list[Trial] = []
    """Every draw with the settings that it changes, its best epoch and the criterion there."""
    absent: dict[str, str] = {}
    """For metrics that could not be had on this data, the reason as the end of a sentence."""
    error: str | None = None
    """The traceback of a failed cell."""

    @property
    def headline(self) -> str | None:
        """One line of the error: the message of a traceback, or the first line of anything else."""
        lines = (self.error or "").strip().splitlines()
        if not lines:
            return None
        return lines[-1 if lines[0].startswith("Traceback") else 0].strip()
