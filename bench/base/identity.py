"""Names for results and data: hashes of everything that determines them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def identity_hash(identity: Mapping[str, Any]) -> str:
    """The name of a result: sha256 over canonical JSON of everything that determines it."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
