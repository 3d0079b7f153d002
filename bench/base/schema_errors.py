"""Mistakes in a file that pydantic has found, told in the user's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError


def first_mistake(error: ValidationError) -> Mapping[str, Any]:
    """The mistake to tell: an unknown key before a missing one, as it may be that one, misspelt."""
    mistakes = error.errors(include_url=False)
    return next((mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"), mistakes[0])


def reason(mistake: Mapping[str, Any], by_type: Mapping[str, str]) -> str:
    """What is wrong, in one line: as `by_type` says it, else as the check that failed, else as pydantic does."""
    text = by_type.get(mistake["type"]) or mistake.get("ctx", {}).get("error") or mistake["msg"]
    return " ".join(str(text).split())
