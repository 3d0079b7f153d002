"""Random numbers that are a pure function of a name and a position.

The numbers of a library's generator change between versions and devices, and every draw from it shifts all later
ones. Here every number is splitmix64 of (key, index): integer arithmetic only, so candidate sets and batch orders are
the same to the bit on any machine, and no draw depends on another.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


def key(*parts: object) -> int:
    """A 64-bit key from any printable parts: key("shapes", "flip", 3)."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def bits(stream: int | NDArray[np.uint64], index: NDArray[np.integer] | int) -> NDArray[np.uint64]:
    """64 random bits for each position of a stream, or of several streams that broadcast against the positions.

    `index` is an array of positions of any shape, or a count n for the positions 0 .. n-1.
    """
    positions = np.arange(index, dtype=np.uint64) if isinstance(index, int) else index.astype(np.uint64)
    with np.errstate(over="ignore"):
        z = np.asarray(stream, dtype=np.uint64) + (positions + np.uint64(1)) * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
        return np.asarray(z ^ (z >> np.uint64(31)))


def uniform(stream: int, *shape: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) of the given shape, on the exact grid of 2^-53."""
    raw = bits(stream, int(np.prod(shape, dtype=np.int64))).reshape(shape)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform_at(stream: int | NDArray[np.uint64], index: NDArray[np.integer]) -> NDArray[np.float64]:
    """The uniform numbers at these positions of a stream, or of several streams that broadcast against them."""
    return (bits(stream, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(stream: int, n: int) -> NDArray[np.int64]:
    """A random order of range(n)."""
    order: NDArray[np.int64] = permutations(np.array([stream], dtype=np.uint64), n)[0]
    return order


def permutations(streams: NDArray[np.uint64], n: int) -> NDArray[np.int64]:
    """(R, n) a random order of range(n) for each of R streams."""
    return np.argsort(bits(streams[:, None], n), axis=1).astype(np.int64)
