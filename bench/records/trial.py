"""One draw of a method's settings with its outcome, as a record stores it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One draw of the settings and its outcome."""

    settings: dict[str, float]
    """The drawn values; empty for the settings of the grid."""
    epoch: int | None
    """Its best epoch, where epochs were compared."""
    value: float | None
    """The criterion there; None where training diverged."""
