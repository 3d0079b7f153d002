"""Random numbers for training steps: those of `base/randomness.py`, computed on the device.

The integers equal those of `randomness.bits` (splitmix64); torch's 64-bit arithmetic wraps as needed. Uniform numbers
are float32 multiples of 2^-24, so they are the same to the bit on any device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pzsl_bench.base import randomness
from pzsl_bench.contract import State


def _signed(value: int) -> int:
    """The same 64 bits as a signed number."""
    return value - 2**64 if value >= 2**63 else value


def _shifted(z: Tensor, by: int) -> Tensor:
    """A logical shift to the right."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def bits(streams: Tensor, first: int, count: int) -> Tensor:
    """(R, count) 64 random bits at positions first, first + 1, ... of each of R streams, as int64."""
    positions = torch.arange(first + 1, first + count + 1, device=streams.device)
    z = streams.unsqueeze(1) + positions * _signed(randomness.GOLDEN)
    z = (z ^ _shifted(z, 30)) * _signed(randomness.MIX_1)
    z = (z ^ _shifted(z, 27)) * _signed(randomness.MIX_2)
    return z ^ _shifted(z, 31)


def uniform(streams: Tensor, first: int, count: int) -> Tensor:
    """(R, count) numbers in [0, 1)."""
    return _shifted(bits(streams, first, count), 40).float() * 2.0**-24


class Dice:
    """The random numbers of the training steps of a stack: one stream for each run and name."""

    def __init__(self, keys: Sequence[str], device: torch.device):
        self.keys = keys
        self.device = device
        self.streams: dict[str, Tensor] = {}

    def throw(self, step: int, shapes: Mapping[str, tuple[int, ...]], full_sizes: Mapping[str, int]) -> State:
        """Uniform numbers (R, *shape) for one step; `full_sizes` says how many numbers a full batch takes."""
        thrown = {}
        for name, shape in shapes.items():
            flat = uniform(self._stream(name), step * full_sizes[name], math.prod(shape))
            thrown[name] = flat.view(len(self.keys), *shape)
        return thrown

    def _stream(self, name: str) -> Tensor:
        if name not in self.streams:
            numbers = np.array([randomness.key(key, "dice", name) for key in self.keys], dtype=np.uint64)
            self.streams[name] = torch.from_numpy(numbers.view(np.int64)).to(self.device)
        return self.streams[name]
