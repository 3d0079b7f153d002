"""Other names of the classes of the drawn world, made of other words for texture, colour and shape.

The words come from the lexicon, so they are those of the captions. More frequent phrases come first.
Twelve words belong to more than one concept: "rose" to red and pink, "round" to circle, oval and ring. They are part of
the world and stay in the lists here; later, a phrase that two classes of a split share is removed from both.
"""

from __future__ import annotations

from itertools import product

from pzsl_bench.datasets.shapes.lexicon import KINDS, parts

MAX_PHRASES = 10
"""Phrases of a class; up to 64 are possible."""


def phrases(combination: int, count: int = MAX_PHRASES) -> list[str]:
    """The most frequent phrases for a combination, by the product of word frequencies; ties in lexicon order."""
    kinds = [list(kind.values())[value] for kind, value in zip(KINDS, parts(combination), strict=True)]
    shares = [(t * c * s, f"{texture} {colour} {shape}") for (texture, t), (colour, c), (shape, s) in product(*kinds)]
    return [phrase for _, phrase in sorted(shares, key=lambda pair: -pair[0])[:count]]


def concept_words(concept: str) -> list[str]:
    """The words for a texture, a colour or a shape, more frequent ones first."""
    words = next(kind[concept] for kind in KINDS if concept in kind)
    return [word for word, _ in sorted(words, key=lambda pair: -pair[1])]
