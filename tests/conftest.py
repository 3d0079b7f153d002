"""Shared pieces of the tests: a small problem, real data where it lies, caches that leave the user's alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pzsl_bench import chance
from pzsl_bench.ambiguity import draw_candidates
from pzsl_bench.problem import Problem, Studies


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Feature caches of the whole session, away from the user's own."""
    path = tmp_path_factory.mktemp("cache")
    old = os.environ.get("PZSL_CACHE")
    os.environ["PZSL_CACHE"] = str(path)
    yield path
    if old is None:
        del os.environ["PZSL_CACHE"]
    else:
        os.environ["PZSL_CACHE"] = old


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data for tests, where PZSL_DATA points or beside the checkout."""
    here = Path(__file__).resolve().parents[1]
    path = Path(os.environ.get("PZSL_DATA", here.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set PZSL_DATA")
    return path


def toy_problem(
    seen: int = 8, unseen: int = 4, width: int = 16, per_class: int = 20, noise: float = 0.6, name: str = "toy"
) -> Problem:
    """Clusters around their class texts: easy, small, and nothing but arithmetic."""
    rng = np.random.default_rng(chance.key("toy", seen, unseen, width, per_class) % 2**32)
    classes = seen + unseen
    texts = rng.normal(size=(classes, width))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)

    def images(truth: np.ndarray) -> torch.Tensor:
        x = texts[truth] + noise * rng.normal(size=(len(truth), width)) / width**0.5
        return torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True)).float()

    train_truth = np.repeat(np.arange(seen), per_class)
    test_truth = np.repeat(np.arange(classes), per_class)
    return Problem(
        name=name,
        train=images(train_truth),
        train_truth=train_truth,
        test=images(test_truth),
        test_truth=test_truth,
        texts=torch.from_numpy(texts).float(),
        class_names=tuple(f"class {k}" for k in range(classes)),
        seen=seen,
        validation=tuple(range(0, seen, 4)),
        scale=20.0,
    )


def toy_studies(problem: Problem, points: list[tuple[str, float, int]], method: str = "m") -> Studies:
    """A stack over (ambiguity, rate, seed) points of a problem."""
    masks = [draw_candidates(a, problem.labelled, r, problem.name, s) for a, r, s in points]
    draws = [f"{problem.name}|{a}|{r}|{s}" for a, r, s in points]
    return problem.studies(torch.from_numpy(np.stack(masks)), [f"{d}|{method}" for d in draws], draws)


@pytest.fixture(scope="session")
def toy() -> Problem:
    """A small problem."""
    return toy_problem()
