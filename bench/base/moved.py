"""The warning for imports of a module from where it was one version ago."""

from __future__ import annotations

import warnings


def old_place(old: str, new: str) -> None:
    """Warn that a module has moved; called by the module that remains at the old place."""
    warnings.warn(
        f"{old} has moved to {new}; the old name goes with the next version", DeprecationWarning, stacklevel=3
    )
