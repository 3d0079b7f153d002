"""Errors that the user can correct, with messages in the user's words."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something that the user can correct: printed as one line, exit code 2, never a traceback."""


class MissingDataError(UserError):
    """Data or weights that are not on this machine; the message says how to obtain them."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    if near:
        best = next(n for n in names if n.lower() == near[0])
        hint = f"did you mean '{best}'?"
    else:
        hint = "known: " + (", ".join(names) if names else "none")
    return UserError(f"unknown {kind}{':' if kind.endswith(chr(39)) else ''} '{name}'; {hint}")
