"""Hyper-parameters of methods: how a method declares them, and how values that a user sets are checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import Field, field
from typing import Any

from pzsl_bench.base.errors import UserError, unknown


def hyper(
    default: Any,
    meaning: str,
    *,
    search: tuple[float, float] | None = None,
    choices: Sequence[str] | None = None,
    above: float | None = None,
    below: float | None = None,
    fixed: bool = False,
) -> Any:
    """A hyper-parameter: default, half a line of meaning, log-uniform search range, allowed values.

    A `fixed` float is the same for all runs of a stack, so that a method may branch on it.
    """
    meta = {
        "meaning": meaning,
        "search": search,
        "choices": choices,
        "above": above,
        "below": below,
        "fixed": fixed,
    }
    return field(default=default, metadata=meta)


def may_vary(spec: Field[Any], value: object) -> bool:
    """Whether runs of one stack may differ in this setting."""
    return isinstance(value, float) and not spec.metadata.get("fixed")


KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
"""Types of hyper-parameters in the user's words."""


def checked(where: str, value: Any, default: Any, rules: Mapping[str, Any]) -> Any:
    """The value in the type of the default, or an error that says what would be right."""
    kind = type(default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is float and isinstance(value, str):
        # YAML reads 1e-3 (no dot) as text.
        with suppress(ValueError):
            value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise UserError(f"{where}: {value!r} is not {KINDS[kind]} (default {default!r})")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where}: {value!r} is not a finite number")
    choices = rules.get("choices")
    if choices and value not in choices:
        raise unknown(f"value of {where}", str(value), choices)
    if rules.get("above") is not None and not value > rules["above"]:
        raise UserError(f"{where}: {value!r} must be above {rules['above']}")
    if rules.get("below") is not None and not value < rules["below"]:
        raise UserError(f"{where}: {value!r} must be below {rules['below']}")
    if kind in (int, float) and value < 0:
        raise UserError(f"{where}: {value!r} must not be negative")
    return value
