"""How candidate sets become the soft labels that a method is fed with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.contract import FEEDS, METHODS, Method, configure, normalise
from pzsl_bench.problem.studies import Studies
from pzsl_bench.synonyms.scores import Scoring, score_spaces
from pzsl_bench.synonyms.space import Compactness, build_spaces
from pzsl_bench.training.tensor_memo import TensorMemo, content

if TYPE_CHECKING:
    from pzsl_bench.training.fitted import Fitted

REFINER = "proden"
"""The partial-label method whose final label weights are the refined feed."""
PRIOR = 1
"""Version of the clip_prior and s3_prior feeds; raised whenever their numbers change."""

LATEST = TensorMemo()
"""Refined labels: methods that ask for them follow each other in a grid."""

Fit = Callable[[Sequence[Method], Studies], "Fitted"]


def feed(kind: str, studies: Studies, fit: Fit) -> Tensor:
    """(R, N, K) rows that sum to one."""
    if kind == "uniform":
        return studies.uniform
    if kind == "random":
        return torch.stack([_one_of(c, d) for c, d in zip(studies.candidates, studies.draws, strict=True)])
    if kind == "refined":
        return refined(studies, fit)
    if kind == "clip_prior":
        return clip_prior(studies)
    if kind == "s3_prior":
        return s3_prior(studies)
    raise unknown("feed", kind, FEEDS)


def feed_facts(kind: str) -> dict[str, Any]:
    """What the labels of a feed depend on besides candidates and encoder; part of a result's identity."""
    if kind == "refined":
        return {"refiner": [REFINER, METHODS.get(REFINER).info.version]}
    return {"prior": PRIOR} if kind in ("clip_prior", "s3_prior") else {}


def refined(studies: Studies, fit: Fit) -> Tensor:
    """(R, N, K) the final label weights of a partial-label method.

    Named by the draw and not by the method, so that every method is fed the same refined labels; runs that differ in
    their settings only share them, and so do the stacks that a process trains one after the other.
    """
    names = list(dict.fromkeys(studies.draws))

    def train() -> Tensor:
        once = studies.of_runs(torch.tensor([studies.draws.index(name) for name in names]))
        own = replace(once, keys=tuple(f"{name}|refined" for name in names))
        weights = fit([configure(REFINER, {})] * len(own), own).weights
        assert weights is not None
        return weights

    made_of = (studies.features, studies.texts, studies.scale, studies.candidates, studies.draws)
    weights = LATEST.get(content(*made_of, fit), studies.candidates.device, train)
    return weights[[names.index(name) for name in studies.draws]]


def clip_prior(studies: Studies) -> Tensor:
    """(R, N, K) what the encoder itself makes of every image, zero-shot, among its candidates."""
    width, semantics = studies.features.shape[-1], studies.texts.shape[-1]
    if width != semantics:
        raise UserError(
            "candidates_as: clip_prior scores images by class texts of their own width,"
            f" but here images have {width} numbers and texts {semantics};"
            " uniform, random and refined do without"
        )
    return _among(studies, normalise(studies.features) @ normalise(studies.texts).T)


def s3_prior(studies: Studies) -> Tensor:
    """(R, N, K) the same by all names of a class: S3's score with its defaults in place of the cosine."""
    if studies.synonyms is None:
        raise UserError("candidates_as: s3_prior scores images by all names of a class; here each has but its text")
    spaces = build_spaces(studies.synonyms, Compactness())
    images = normalise(studies.features)
    cosines = score_spaces(images.flatten(0, -2), spaces, Scoring())
    return _among(studies, cosines.view(*images.shape[:-1], -1))


def _among(studies: Studies, cosines: Tensor) -> Tensor:
    """(R, N, K) softmax among the candidates, at the encoder's own scale."""
    logits = (studies.scale * cosines).expand_as(studies.candidates)
    return logits.masked_fill(~studies.candidates, float("-inf")).softmax(-1)


def _one_of(candidates: Tensor, draw: str) -> Tensor:
    """(N, K) one candidate of every image, drawn once and fixed for the run."""
    mask = candidates.cpu().numpy()
    dice = np.where(mask, randomness.uniform(randomness.key(draw, "one of"), *mask.shape), -1.0)
    chosen = torch.from_numpy(dice.argmax(1)).to(candidates.device)
    return torch.nn.functional.one_hot(chosen, mask.shape[1]).float()
