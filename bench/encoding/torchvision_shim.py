"""Import this before torchvision or open_clip.

torchvision's wheels are built against CUDA builds of torch. Beside a CPU torch their compiled library does not load,
and `import torchvision` dies with "operator torchvision::nms does not exist", because its Python side registers
shape rules for operators that nobody declared. Declaring the two is enough; nothing here ever calls them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

SIGNATURES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_libraries: list[Any] = []
"""Declarations live as long as the library object that made them."""


def declared(operator: str) -> bool:
    """Whether torchvision::<operator> is known to torch in this process."""
    return hasattr(torch.ops.torchvision, operator)


def compiled_operators_load() -> bool:
    """Whether torchvision's compiled library fits this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    files = [f for folder in spec.submodule_search_locations for f in sorted(Path(folder).glob("_C*.so"))]
    try:
        for file in files:
            ctypes.CDLL(str(file))
    except OSError:
        return False
    return bool(files)


def declare_missing_operators() -> list[str]:
    """Declare what torchvision's import needs and torch lacks; the names that were declared now."""
    # Elsewhere the package index offers CPU builds of both, which fit each other.
    if sys.platform != "linux":
        return []
    missing = [s for s in SIGNATURES if not declared(s.split("(")[0])]
    if not missing or compiled_operators_load():
        return []
    # torch's own hints leave this class untyped.
    make: Any = torch.library.Library
    library = make("torchvision", "FRAGMENT")
    for signature in missing:
        library.define(signature)
    _libraries.append(library)
    return [s.split("(")[0] for s in missing]


declare_missing_operators()
