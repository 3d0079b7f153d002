"""One draw of a method's settings and what came of it, as a record keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One draw of the settings and what came of it."""

    settings: dict[str, float]
    """The values that the draw gave; empty for the method as the grid has it."""
    epoch: int | None
    """Its best epoch, where epochs were compared."""
    value: float | None
    """The criterion there; None where training diverged."""
