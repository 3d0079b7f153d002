"""Encoded datasets and their problems: made once in a process and kept in memory for the next stack."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path

import torch

from pzsl_bench.contract.needs import EXTRAS, OF_NAMES
from pzsl_bench.data.ambiguity import LabelSets, draw_candidates
from pzsl_bench.data.source import find_dataset
from pzsl_bench.encoding.encode import encode
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.encoding.open_clip_tower import ClipTower
from pzsl_bench.problem.build import build_problem, shared_tensor
from pzsl_bench.problem.problem import Problem
from pzsl_bench.synonyms.name_vectors import every_name
from pzsl_bench.synonyms.space import centres, ensemble

MAX_PROBLEMS = 32
"""How many problems of one dataset (one per split and set of needs) a worker keeps in memory."""


class Opened:
    """A dataset encoded by an encoder, not yet split; the problems made of it last are kept for the next stack."""

    def __init__(self, dataset: str, encoder: str, data: Path | None, cache: Path, device: str):
        self.name, self.device, self.folders = dataset, torch.device(device), (data, cache)
        self.source = find_dataset(dataset, data).open()
        self.encoder = find_encoder(encoder, cache=cache)
        self.encode = partial(encode, self.source, dataset, self.encoder, cache=cache, device=device)
        self.encoded = self.encode()
        self.problems: dict[tuple[int, frozenset[str]], Problem] = {}

    @cached_property
    def tower(self) -> ClipTower:
        """The encoder's text tower; this loads the encoder."""
        return ClipTower(self.encoder.load(str(self.device)), self.encoder.spec)

    @cached_property
    def names(self) -> torch.Tensor:
        """(C, m, a) all names of each class, as problems number them."""
        order, device = [*self.source.seen, *self.source.unseen], str(self.device)
        vectors = every_name(self.source, self.name, self.encoder, self.encoded.texts, *self.folders, device)
        return torch.from_numpy(vectors[order]).to(self.device)

    def problem(self, seed: int, needs: frozenset[str] = frozenset()) -> Problem:
        """The problem of a seed, with what a method needs of it; one for all seeds where the split is fixed."""
        key = (seed if self.source.split is not None else 0, needs & EXTRAS)
        if key not in self.problems:
            if len(self.problems) >= MAX_PROBLEMS:
                self.problems.pop(next(iter(self.problems)))
            self.problems[key] = self._problem(*key)
        return self.problems[key]

    def _problem(self, seed: int, needs: frozenset[str]) -> Problem:
        if "text tower" in needs:
            return with_tower(self.problem(seed, needs - {"text tower"}), self.tower)
        if name_needs := needs & OF_NAMES:
            return with_names(self.problem(seed, needs - OF_NAMES), self.names, name_needs)
        encoded = self.encode(views=True) if "views" in needs else self.encoded
        if encoded.views is not None:
            return replace(self.problem(seed), views=shared_tensor(encoded.views).to(self.device))
        parts = encoded.features, encoded.texts, encoded.scale, encoded.unreadable
        problem = build_problem(self.name, self.source, *parts, seed)
        return problem.to(self.device)


def with_tower(problem: Problem, tower: ClipTower) -> Problem:
    """The problem with a text tower, and the class names as it reads them."""
    return replace(problem, tokens=tower.tokens(problem.class_names), tower=tower)


def with_names(problem: Problem, names: torch.Tensor, needs: frozenset[str]) -> Problem:
    """The problem with what a method needs of the names (C, m, a); its candidate sets stay those of the plain texts."""
    if "s3 texts" in needs:
        problem = replace(problem, texts=centres(names))
    elif "ensemble texts" in needs:
        problem = replace(problem, texts=ensemble(names))
    return replace(problem, synonyms=names) if "synonyms" in needs else problem


@lru_cache(maxsize=2)
def open_dataset(dataset: str, encoder: str, data: Path | None, cache: Path, device: str) -> Opened:
    """A dataset with its features from the cache."""
    return Opened(dataset, encoder, data, cache, device)


def load_problem(
    dataset: str,
    encoder: str,
    data: Path | None,
    cache: Path,
    device: str,
    seed: int = 0,
    needs: frozenset[str] = frozenset(),
) -> Problem:
    """The problem of a seed, on its device, with what a method needs of it."""
    return open_dataset(dataset, encoder, data, cache, device).problem(seed, needs)


@lru_cache(maxsize=256)
def candidate_sets(
    dataset: str,
    encoder: str,
    data: Path | None,
    cache: Path,
    device: str,
    ambiguity: str,
    rate: float,
    seed: int,
    noise: float,
) -> LabelSets:
    """(N, K) the candidate sets, or marks of tags, that an ambiguity draws; the same for all methods of a grid."""
    problem = load_problem(dataset, encoder, data, cache, device, seed)
    return draw_candidates(ambiguity, problem.labelled, rate, dataset, seed, noise)
