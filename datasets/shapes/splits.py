"""Three splits of 40 seen and 20 unseen classes each, made of families whose members are easily confused.

A family is a base combination and two variants, each of which changes another attribute of the base to a value that
looks similar. Ten families give two unseen classes and one seen, ten are seen entirely; the bases of the latter are
the validation classes. Every attribute value of an unseen class occurs in at least two seen ones, and every value of
a validation class in at least two of the seen classes that are left without the validation classes. No two classes of
a split share a name, in either naming.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

from pzsl_bench.base.randomness import key, permutation
from pzsl_bench.datasets.shapes.lexicon import (
    COLOURS,
    KINDS,
    SHAPES,
    SIZES,
    TEXTURES,
    class_name,
    number,
    parts,
)

FIRST_FITS = (2513, 24933, 154471)
"""The results of `first_fit` for every split, stored because it takes minutes to find them."""
SPLITS = len(FIRST_FITS)
FAMILIES = 20

SIMILAR_COLOURS = (
    "red-orange orange-yellow yellow-green green-teal teal-blue blue-purple purple-pink pink-red "
    "brown-orange brown-red white-yellow white-pink"
)
SIMILAR_SHAPES = (
    "circle-oval circle-hexagon circle-ring oval-hexagon oval-ring hexagon-ring square-diamond "
    "square-hexagon diamond-hexagon star-flower star-cross flower-cross crescent-dome crescent-ring dome-ring "
    "arrow-triangle arrow-diamond triangle-diamond heart-dome heart-flower dome-flower"
)


@dataclass(frozen=True)
class Split:
    """Combinations by role; `validation` are some of the seen ones."""

    seen: tuple[int, ...]
    unseen: tuple[int, ...]
    validation: tuple[int, ...]


def _neighbours(pairs: str, values: tuple[str, ...]) -> dict[int, list[int]]:
    near: dict[int, list[int]] = {i: [] for i in range(len(values))}
    for pair in pairs.split():
        a, b = (values.index(v) for v in pair.split("-"))
        near[a].append(b)
        near[b].append(a)
    return near


CONFUSABLE: tuple[dict[int, list[int]], ...] = (
    {t: [other for other in range(len(TEXTURES)) if other != t] for t in range(len(TEXTURES))},
    _neighbours(SIMILAR_COLOURS, COLOURS),
    _neighbours(SIMILAR_SHAPES, SHAPES),
)


def _even(stream: int, size: int) -> list[int]:
    """One value per family, all values equally often, in random order."""
    rounds = [v for i in range(-(-FAMILIES // size)) for v in permutation(key(stream, i), size).tolist()]
    order = permutation(key(stream, "order"), FAMILIES).tolist()
    return [rounds[:FAMILIES][i] for i in order]


def _draw(stream: int) -> Split:
    """A split of the right form, which may or may not meet the conditions."""
    # The orders are independent: otherwise texture and colour would be correlated, and one would reveal the other.
    bases = zip(*(_even(key(stream, kind), SIZES[kind]) for kind in range(3)), strict=True)
    single_seen: list[int] = []
    seen_families: list[int] = []
    unseen: list[int] = []
    for family, base in enumerate(bases):
        changed = permutation(key(stream, "changed", family), 3)[:2].tolist()
        members = [number(*base)]
        for kind in changed:
            near = CONFUSABLE[kind][base[kind]]
            pick = near[permutation(key(stream, "near", family, kind), len(near))[0]]
            members.append(number(*(pick if k == kind else v for k, v in enumerate(base))))
        if family < FAMILIES // 2:
            unseen += members[:2]
            single_seen.append(members[2])
        else:
            seen_families += members
    return Split((*single_seen, *seen_families), tuple(unseen), tuple(seen_families[::3]))


def covered(classes: Sequence[int], by: Sequence[int], times: int = 2) -> bool:
    """Whether every attribute value of the classes occurs at least that often in the others."""
    counts = Counter((kind, value) for c in by for kind, value in enumerate(parts(c)))
    return all(counts[kind, value] >= times for c in classes for kind, value in enumerate(parts(c)))


def _fits(split: Split) -> bool:
    """Whether a split meets the conditions."""
    rest = [c for c in split.seen if c not in split.validation]
    return (
        len({class_name(c, "odd") for c in (*split.seen, *split.unseen)}) == 3 * FAMILIES
        and covered(split.unseen, split.seen)
        and covered(split.validation, rest)
    )


def first_fit(index: int) -> int:
    """The first draw of a split's stream that meets the conditions; it may take minutes to find."""
    return next(attempt for attempt in count() if _fits(_draw(key("shapes", "split", index, attempt))))


@lru_cache
def split(index: int) -> Split:
    """The split of that number."""
    return _draw(key("shapes", "split", index, FIRST_FITS[index]))


@lru_cache
def held_out() -> frozenset[int]:
    """Every class of every split; pre-training neither draws them nor names them in captions."""
    return frozenset(c for i in range(SPLITS) for c in (*split(i).seen, *split(i).unseen))


def describe(combination: int) -> str:
    """The concepts of a combination, for messages: "dotted teal circle"."""
    return " ".join(list(kind)[value] for kind, value in zip(KINDS, parts(combination), strict=True))
