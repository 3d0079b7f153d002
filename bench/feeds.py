"""How candidate sets become the soft labels that a method is fed with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pzsl_bench import chance
from pzsl_bench.contract import Method, configure
from pzsl_bench.errors import unknown
from pzsl_bench.problem import Studies

if TYPE_CHECKING:
    from pzsl_bench.stack import Fitted

FEEDS = ("uniform", "random", "refined")
REFINER = "proden"
"""The partial-label method whose final label weights are the refined feed."""

Fit = Callable[[Sequence[Method], Studies], "Fitted"]


def feed(kind: str, studies: Studies, fit: Fit) -> Tensor:
    """(R, N, K) rows that sum to one."""
    if kind == "uniform":
        return studies.uniform
    if kind == "random":
        return torch.stack([_one_of(c, d) for c, d in zip(studies.candidates, studies.draws, strict=True)])
    if kind == "refined":
        # Named by the draw and not by the method, so that every method is fed the same refined labels.
        own = replace(studies, keys=tuple(f"{draw}|refined" for draw in studies.draws))
        weights = fit([configure(REFINER, {})] * len(studies), own).weights
        assert weights is not None
        return weights
    raise unknown("feed", kind, FEEDS)


def _one_of(candidates: Tensor, draw: str) -> Tensor:
    """(N, K) one candidate of every image, drawn once and fixed for the run."""
    mask = candidates.cpu().numpy()
    dice = np.where(mask, chance.uniform(chance.key(draw, "one of"), *mask.shape), -1.0)
    chosen = torch.from_numpy(dice.argmax(1)).to(candidates.device)
    return torch.nn.functional.one_hot(chosen, mask.shape[1]).float()
