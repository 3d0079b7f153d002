"""The pre-training stream: the images and captions of every step, from allowed combinations only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.randomness import key, uniform_at
from pzsl_bench.datasets.shapes.captions import forbidden, phrases
from pzsl_bench.datasets.shapes.draw import PRE, draw
from pzsl_bench.datasets.shapes.lexicon import COMBINATIONS
from pzsl_bench.datasets.shapes.splits import held_out

BATCH = 128
SCENE_SHARE = 24 / 124
"""Share of images that hold two or three objects instead of one."""
TRIPLE_SHARE = 0.4
"""Share of scenes with a third object, which the caption leaves out."""
STREAM = key("shapes", "pre-training", 1)


@dataclass(frozen=True)
class Items:
    """The images of a step as (n, 3) combinations, -1 for an empty place, and a caption for each image."""

    ids: NDArray[np.int64]
    combinations: NDArray[np.int64]
    captions: list[str]

    def images(self) -> NDArray[np.uint8]:
        """(n, 48, 48, 3) the drawn images."""
        return draw(STREAM, self.ids, self.combinations, PRE)


@lru_cache
def allowed() -> NDArray[np.int64]:
    """Combinations that are not a class of any split."""
    return np.array(sorted(set(range(COMBINATIONS)) - held_out()))


@lru_cache
def _banned() -> NDArray[np.bool_]:
    return forbidden(held_out())


def items(step: int, batch: int = BATCH) -> Items:
    """The images and captions of one step."""
    ids = step * batch + np.arange(batch)
    u = uniform_at(key(STREAM, "content"), ids[:, None] * 8 + np.arange(8))
    combinations = allowed()[(u[:, :3] * len(allowed())).astype(np.int64)]
    scene = u[:, 3] < SCENE_SHARE
    combinations[~scene, 1] = -1
    combinations[~(scene & (u[:, 4] < TRIPLE_SHARE)), 2] = -1
    captions = phrases(STREAM, ids * 2, combinations[:, 0], _banned(), scene)
    second_phrases = phrases(STREAM, ids[scene] * 2 + 1, combinations[scene, 1], _banned(), scene[scene])
    for i, phrase in zip(np.flatnonzero(scene).tolist(), second_phrases, strict=True):
        captions[i] += f" and {phrase}"
    return Items(ids, combinations, captions)
