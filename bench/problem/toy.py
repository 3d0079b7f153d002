"""A problem small enough to try a method on in a test: clusters around their class texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pzsl_bench.base import randomness
from pzsl_bench.contract import normalise
from pzsl_bench.contract.text_tower import Names, Tower
from pzsl_bench.data.ambiguity import draw_candidates
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.studies import Studies

VIEWS = 3
NAMES = 4
"""Names of every class, its own name included."""


class ToyTower(Tower):
    """Reads the class vectors themselves as names of one token; a context of zeros leaves them unchanged."""

    def __init__(self, width: int):
        rng = np.random.default_rng(randomness.key("toy tower", width))
        self.mixed = torch.from_numpy(rng.normal(size=(width, width)) / width**0.5).float()
        self.phrase = torch.zeros(4, width)

    def names(self, tokens: torch.Tensor, context: int) -> Names:
        """(C, d) class vectors as tokens -> (C, 1, d) words."""
        return Names(tokens[:, None], torch.zeros(len(tokens), dtype=torch.int64))

    def encode(self, context: torch.Tensor, names: Names) -> torch.Tensor:
        """(C, d) the names, each moved in a direction of its own, by a distance that the context sets."""
        words = names.words[:, 0]
        return normalise(words + torch.tanh(words @ self.mixed) * context.mean(0))

    def floats(self, names: Names, context: int) -> int:
        """Two tensors of the names' size."""
        return 2 * names.words.numel()


def toy_problem(
    seen: int = 8,
    unseen: int = 4,
    width: int = 16,
    per_class: int = 20,
    noise: float = 0.6,
) -> Problem:
    """Unit features around unit texts; `noise` is the length of the random part beside a text of length one."""
    rng = np.random.default_rng(randomness.key("toy", seen, unseen, width, per_class))
    classes = seen + unseen
    texts = rng.normal(size=(classes, width))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)

    def images(truth: NDArray[np.int64]) -> torch.Tensor:
        rows = texts[truth] + noise * rng.normal(size=(len(truth), width)) / width**0.5
        return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()

    def noisy_views(images: torch.Tensor) -> torch.Tensor:
        moved = images + torch.from_numpy(0.1 * rng.normal(size=(VIEWS, *images.shape)) / width**0.5).float()
        return torch.nn.functional.normalize(moved, dim=-1)

    def names() -> torch.Tensor:
        others = texts[:, None] + 0.4 * rng.normal(size=(classes, NAMES - 1, width)) / width**0.5
        others /= np.linalg.norm(others, axis=2, keepdims=True)
        return torch.from_numpy(np.concatenate([texts[:, None], others], axis=1)).float()

    train_truth = np.repeat(np.arange(seen), per_class)
    test_truth = np.repeat(np.arange(classes), per_class)
    train, test = images(train_truth), images(test_truth)
    return Problem(
        name="toy",
        train=train,
        train_truth=train_truth,
        test=test,
        test_truth=test_truth,
        texts=torch.from_numpy(texts).float(),
        class_names=tuple(f"class {k}" for k in range(classes)),
        seen=seen,
        validation=tuple(range(0, seen, 4)),
        scale=20.0,
        views=noisy_views(train),
        tower=ToyTower(width),
        tokens=torch.from_numpy(texts).float(),
        synonyms=names(),
    )


def toy_tags(seen: int = 8, unseen: int = 4, width: int = 16, images: int = 160, noise: float = 0.6) -> Problem:
    """The same for images with tags: each of them shows one to three."""
    rng = np.random.default_rng(randomness.key("toy tags", seen, unseen, width, images))
    plain = toy_problem(seen, unseen, width, 1)
    times = rng.exponential(size=(2 * images, seen + unseen))
    # An image shows the tags of the shortest times; one of them is seen, so that every training image can be used.
    times[np.arange(2 * images), rng.integers(seen, size=2 * images)] = 0
    tags = np.where(times.argsort(1).argsort(1) < rng.integers(1, 4, size=(2 * images, 1)), 1, -1).astype(np.int8)
    rows = (tags > 0) @ plain.texts.double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) + noise * rng.normal(size=rows.shape) / width**0.5
    features = normalise(torch.from_numpy(rows).float())
    return replace(
        plain,
        name="toy tags",
        train=features[:images],
        train_truth=np.empty(0, dtype=np.int64),
        train_tags=tags[:images, :seen],
        test=features[images:],
        test_truth=np.empty(0, dtype=np.int64),
        test_tags=tags[images:],
        top=(1, 3),
        validation=(),
        views=None,
    )


def toy_studies(
    problem: Problem, points: Sequence[tuple[str, float, int]], method: str = "any", noise: float = 0.0
) -> Studies:
    """A stack over (ambiguity, rate, seed) points of a problem."""
    masks = [draw_candidates(a, problem.labelled, rate, problem.name, seed, noise) for a, rate, seed in points]
    draws = ["|".join(map(str, (problem.name, *point))) for point in points]
    return problem.studies(torch.from_numpy(np.stack(masks)), [f"{d}|{method}" for d in draws], draws)
