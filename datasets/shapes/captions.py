"""Captions for pre-training: phrases with synonyms, dropped and wrong attributes, that never name a held-out class.

A phrase is rejected, and drawn anew, when its three words can be read as a held-out class under any synonym: "dotted
rose star" may mean a red or a pink star, so it is rejected when either is held out, even if the other one was drawn.
Without this, 7.5 % of the phrases (of 300,000) could be read as a held-out class and 0.5 % would be the exact name of
one, common or odd; with it, none.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.randomness import key, uniform_at
from pzsl_bench.datasets.shapes.lexicon import COMBINATIONS, KINDS, OPENINGS, SIZES, THINGS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

P_WRONG = 0.06
"""Probability that a caption gives an attribute a random value."""
P_DROPPED = (0.20, 0.10, 0.10)
"""Probability that a caption leaves out texture, colour, shape."""
# Word orders of a phrase and their cumulative probabilities. Scenes never use the third, which contains an "and".
ORDERS = ("{pre} {t} {c} {s}", "{pre} {c} {t} {s}", "{pre} {s} that is {t} and {c}", "{t} {c} {s}")
ORDER_EDGES = np.cumsum([0.7, 0.1, 0.1])
SHORT_OPENINGS = 5
"""So many openings at the front of the list are short; scenes use only these, so that both phrases fit the encoder."""

WORDS = tuple(tuple(sorted({w for words in kind.values() for w, _ in words})) for kind in KINDS)
"""Every word of texture, colour and shape."""


@lru_cache
def _word_table(kind: int) -> tuple[NDArray[np.bool_], Floats]:
    """(words, concepts) whether the word may mean the concept, and (concepts, words) cumulative frequencies."""
    means = np.zeros((len(WORDS[kind]), SIZES[kind]), bool)
    frequency = np.zeros((SIZES[kind], len(WORDS[kind])))
    for concept, words in enumerate(KINDS[kind].values()):
        for word, share in words:
            means[WORDS[kind].index(word), concept] = True
            frequency[concept, WORDS[kind].index(word)] = share
    edges = frequency.cumsum(1)
    return means, edges / edges[:, -1:]


def forbidden(held_out: Iterable[int]) -> NDArray[np.bool_]:
    """(texture words, colour words, shape words) whether the three together may mean a held-out combination."""
    is_held_out = np.zeros(COMBINATIONS)
    is_held_out[list(held_out)] = 1
    means = (_word_table(kind)[0].astype(float) for kind in range(3))
    readings: Floats = np.einsum("tcs,wt,xc,ys->wxy", is_held_out.reshape(SIZES), *means, optimize=True)
    return readings > 0


def phrases(
    stream: int, ids: Ints, combinations: Ints, banned: NDArray[np.bool_], short: NDArray[np.bool_]
) -> list[str]:
    """One phrase for every object, a pure function of (stream, id); `short` ones fit into the caption of a scene."""
    choices = np.empty((len(ids), 8), np.int64)
    todo = np.arange(len(ids))
    for attempt in count():
        u = uniform_at(key(stream, "caption", attempt), ids[todo, None] * 16 + np.arange(16))
        choices[todo] = _choose(u, combinations[todo])
        t, c, s = choices[todo, :3].T
        todo = todo[banned[t, c, s] & (choices[todo, 3:6] == 1).all(1)]
        if not len(todo):
            return [_write(row, is_short) for row, is_short in zip(choices.tolist(), short.tolist(), strict=True)]
    raise AssertionError("unreachable")


def _choose(u: Floats, combinations: Ints) -> Ints:
    """(n, 8) choices: word of each kind, whether each is used, order, and a number for opening and thing."""
    columns: list[Ints] = []
    rest, shape = np.divmod(combinations, SIZES[2])
    for kind, true in enumerate((*np.divmod(rest, SIZES[1]), shape)):
        value = np.where(u[:, kind] < P_WRONG, (u[:, 3 + kind] * SIZES[kind]).astype(np.int64), true)
        edges = _word_table(kind)[1][value]
        columns.append((u[:, 6 + kind, None] >= edges).sum(1))
    columns += [(u[:, 9 + kind] >= P_DROPPED[kind]).astype(np.int64) for kind in range(3)]
    columns.append((u[:, 12, None] >= ORDER_EDGES).sum(1))
    columns.append((u[:, 13] * len(OPENINGS) * len(THINGS)).astype(np.int64))
    return np.stack(columns, 1)


def _write(row: list[int], short: bool) -> str:
    """The phrase of one row of choices."""
    t, c, s, has_t, has_c, has_s, order, pick = row
    opening, thing = divmod(pick, len(THINGS))
    texture = WORDS[0][t] if has_t else ""
    colour = WORDS[1][c] if has_c else ""
    shape = WORDS[2][s] if has_s else THINGS[thing]
    if order == 2 and (short or not (texture and colour)):
        order = 0
    pre = OPENINGS[opening % SHORT_OPENINGS if short else opening]
    text = ORDERS[order].format(pre=pre, t=texture, c=colour, s=shape)
    return " ".join(text.split())
