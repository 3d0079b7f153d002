"""Byte-pair merges under which every caption word is one token, in the file format that open_clip reads."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from pzsl_bench.datasets.shapes.lexicon import vocabulary

MERGES_FILE = "bpe.txt.gz"


def build_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Merge the most frequent pair of neighbours until every word is one piece; ties in order of the pair."""
    pieces = [(*word[:-1], word[-1] + "</w>") for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(p) > 1 for p in pieces):
        pairs = Counter(pair for p in pieces for pair in pairwise(p))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merge(p, best) for p in pieces]
    return merges


def _merge(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    i = 0
    while i < len(pieces):
        both = pieces[i : i + 2] == pair
        merged.append("".join(pair) if both else pieces[i])
        i += 2 if both else 1
    return tuple(merged)


def vocabulary_size() -> int:
    """Number of tokens: bytes, bytes that end a word, merges, and the two marks of start and end."""
    return 512 + len(build_merges(vocabulary())) + 2


def merges_file() -> bytes:
    """The content of the merges file, without a newline at its end: open_clip would read one more token."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in build_merges(vocabulary()))]
    return gzip.compress("\n".join(lines).encode(), mtime=0)
