"""A small cache of tensors: the key is a hash of the inputs, and the entries that were unused longest go first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

MAX_BYTES = 2**28
"""Default size of a cache."""


@dataclass
class TensorMemo:
    """A cache of tensors in main memory, of at most `budget` bytes."""

    budget: int = MAX_BYTES
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def get(self, key: str, device: torch.device, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of that key on a device, computed by `make` if it is not cached; callers must not write to it."""
        if key in self.tensors:
            self.tensors[key] = self.tensors.pop(key)
            return self.tensors[key].to(device)
        tensor = make()
        if tensor.nbytes <= self.budget:
            self.tensors[key] = tensor.cpu()
            while sum(stored.nbytes for stored in self.tensors.values()) > self.budget:
                self.tensors.pop(next(iter(self.tensors)))
        return tensor


def content(*parts: object) -> str:
    """A hash of tensors, by type, shape, device and bytes, and of other objects, by their `repr`."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)} {part.device}".encode())
            digest.update(part.detach().contiguous().cpu().numpy().data)
        else:
            digest.update(f"{part!r}\x1f".encode())
    return digest.hexdigest()
