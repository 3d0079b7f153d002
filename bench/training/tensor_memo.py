"""The latest results of a long computation, by the content of what they were made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

MOST = 2**28
"""Bytes that are kept."""


@dataclass
class TensorMemo:
    """Tensors on the host, the latest ones within a budget."""

    budget: int = MOST
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def get(self, key: str, device: torch.device, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of that key on a device, made if it is not here; not to be written to."""
        if key in self.tensors:
            self.tensors[key] = self.tensors.pop(key)
            return self.tensors[key].to(device)
        made = make()
        if made.nbytes <= self.budget:
            self.tensors[key] = made.cpu()
            while sum(tensor.nbytes for tensor in self.tensors.values()) > self.budget:
                self.tensors.pop(next(iter(self.tensors)))
        return made


def content(*parts: object) -> str:
    """A hash of tensors, by shape, device and bytes, and of whatever else prints what it is."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)} {part.device}".encode())
            digest.update(part.detach().contiguous().cpu().numpy().data)
        else:
            digest.update(f"{part!r}\x1f".encode())
    return digest.hexdigest()
