"""Feeds: how candidate sets become the soft labels that a method is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.contract import FEEDS, METHODS, Method, configure, normalise
from pzsl_bench.problem.studies import Studies
from pzsl_bench.synonyms.scores import Scoring, score_spaces
from pzsl_bench.synonyms.space import Compactness, build_spaces
from pzsl_bench.training.fitted import Fitted
from pzsl_bench.training.tensor_memo import TensorMemo, content

REFINER = "proden"
"""The partial-label method whose final label weights are the refined feed."""
PRIOR_VERSION = 1
"""Version of the clip_prior and s3_prior feeds; raised whenever their numbers change."""

REFINED = TensorMemo()
"""The latest refined labels: in a grid, several methods that are fed with them follow each other."""

Fit = Callable[[Sequence[Method], Studies], Fitted]


def feed(kind: str, studies: Studies, fit: Fit) -> Tensor:
    """(R, N, K) soft labels, rows that sum to one, by a feed of `FEEDS`."""
    if kind == "uniform":
        return studies.uniform
    if kind == "random":
        return torch.stack([_random_candidates(c, d) for c, d in zip(studies.candidates, studies.draws, strict=True)])
    if kind == "refined":
        return refined(studies, fit)
    if kind == "clip_prior":
        return clip_prior(studies)
    if kind == "s3_prior":
        return s3_prior(studies)
    raise unknown("feed", kind, FEEDS)


def feed_facts(kind: str) -> dict[str, Any]:
    """Versions on which the labels of a feed depend besides candidates and encoder; part of a result's identity."""
    if kind == "refined":
        return {"refiner": [REFINER, METHODS.get(REFINER).info.version, asdict(configure(REFINER, {}))]}
    return {"prior": PRIOR_VERSION} if kind in ("clip_prior", "s3_prior") else {}


def refined(studies: Studies, fit: Fit) -> Tensor:
    """(R, N, K) the final label weights of the partial-label method `REFINER`.

    Its random numbers are named by the draw of the candidate sets and not by the method that is fed, so all methods
    get the same refined labels. They are computed once for runs that differ only in their settings, and cached for the
    next stacks of the process.
    """
    names = list(dict.fromkeys(studies.draws))

    def train() -> Tensor:
        one_per_draw = studies.of_runs(torch.tensor([studies.draws.index(name) for name in names]))
        refiner_studies = replace(one_per_draw, keys=tuple(f"{name}|refined" for name in names))
        weights = fit([configure(REFINER, {})] * len(refiner_studies), refiner_studies).weights
        assert weights is not None
        return weights

    inputs = (studies.features, studies.texts, studies.scale, studies.candidates, studies.draws)
    weights = REFINED.get(content(*inputs, fit), studies.candidates.device, train)
    return weights[[names.index(name) for name in studies.draws]]


def clip_prior(studies: Studies) -> Tensor:
    """(R, N, K) the zero-shot probabilities of the encoder for every image, among its candidates."""
    width, semantics = studies.features.shape[-1], studies.texts.shape[-1]
    if width != semantics:
        raise UserError(
            "candidates_as: clip_prior scores images by class texts of their own width,"
            f" but here images have {width} numbers and texts {semantics};"
            " uniform, random and refined do without"
        )
    return _softmax_among_candidates(studies, normalise(studies.features) @ normalise(studies.texts).T)


def s3_prior(studies: Studies) -> Tensor:
    """(R, N, K) as `clip_prior`, but by all names of a class: the score of S3 with its defaults, not the cosine."""
    if studies.synonyms is None:
        raise UserError("candidates_as: s3_prior scores images by all names of a class; here each has but its text")
    spaces = build_spaces(studies.synonyms, Compactness())
    images = normalise(studies.features)
    cosines = score_spaces(images.flatten(0, -2), spaces, Scoring())
    return _softmax_among_candidates(studies, cosines.view(*images.shape[:-1], -1))


def _softmax_among_candidates(studies: Studies, cosines: Tensor) -> Tensor:
    """(R, N, K) softmax among the candidates, with the logit scale of the encoder."""
    logits = (studies.scale * cosines).expand_as(studies.candidates)
    return logits.masked_fill(~studies.candidates, float("-inf")).softmax(-1)


def _random_candidates(candidates: Tensor, draw: str) -> Tensor:
    """(N, K) one-hot: one random candidate of every image, fixed for the run."""
    mask = candidates.cpu().numpy()
    dice = np.where(mask, randomness.uniform(randomness.key(draw, "one of"), *mask.shape), -1.0)
    chosen = torch.from_numpy(dice.argmax(1)).to(candidates.device)
    return torch.nn.functional.one_hot(chosen, mask.shape[1]).float()
