"""Hashes that identify results and data by everything that determines them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def identity_hash(identity: Mapping[str, Any]) -> str:
    """The hash that names a result: sha256 over canonical JSON of everything that determines it."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
