"""A finished cell with plausible facts, any of which a test may change."""

from __future__ import annotations

from typing import Any

from pzsl_bench.base.identity import identity_hash
from pzsl_bench.records.record import Record, Status


def made_record(identity: dict[str, Any], **facts: Any) -> Record:
    """The record of that identity."""
    plain = {
        "hash": identity_hash(identity),
        "identity": identity,
        "dataset": "shapes",
        "encoder": "embedded",
        "ambiguity": "flip",
        "reveals_truth": False,
        "status": Status.DONE,
        "stack": 9,
        "environment": {"torch": "2.13"},
        "finished": "2026-01-02T03:04:05+00:00",
    }
    return Record(**(plain | facts))
