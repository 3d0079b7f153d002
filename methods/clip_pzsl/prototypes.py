"""Semantic mining by confidences: exact k-means between the training images and the classes.

The confidences are the soft assignment of an image, and live on its candidates. A class has the mean of its images, and
every image lends an embedding that evidence, less its own part in it:

    v_i = unit(x_i - mean of all images)
    S_j = sum_i T_ij v_i,   n_j = sum_i T_ij             kept up to date as confidences change
    g_ij = cos(v_i, S_j - T_ij v_i) s(n_j - T_ij)        s(n) = n^2 / (n^2 + many^2)

Where unseen classes take part, the level of the evidence, its mean over the training images and their confidences, is
taken off: an image of a seen class then has no head start by evidence that no unseen class can have.

An image that took part in its own evidence would confirm whatever it is believed to be. A mean of few images says
little, and s leaves it out. A new image has no part in S_j, and T_ij = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl_bench.contract import State, normalise

TINY = 1e-6
LEVEL_RATE = 0.1
"""Share of the newest batch in the running mean of the evidence."""


def first_sums(features: Tensor, confidences: Tensor) -> State:
    """The mean of all images (N, d), and sums and counts of the classes by their confidences (N, K)."""
    mean = features.mean(0)
    sums = confidences.T @ normalise(features - mean)
    return {"mean": mean, "sums": sums, "count": confidences.sum(0), "level": features.new_zeros(())}


def changed_sums(memory: State, features: Tensor, before: Tensor, after: Tensor, evidence: Tensor) -> State:
    """Sums, counts and level after the confidences of these images (B, K), with this evidence, changed."""
    change = after - before
    images = normalise(features - memory["mean"])
    level = torch.lerp(memory["level"], (after * evidence).sum(-1).mean(), LEVEL_RATE)
    return {"sums": memory["sums"] + change.T @ images, "count": memory["count"] + change.sum(0), "level": level}


def visual_evidence(memory: State, features: Tensor, own: Tensor | None, many: float | Tensor) -> Tensor:
    """(B, K) g, from images (B, d) and their own part T (B, K) in the sums; None for images that have none."""
    images, sums = normalise(features - memory["mean"]), memory["sums"]
    own = features.new_zeros(()) if own is None else own
    along = images @ sums.T
    length = (sums.square().sum(-1) - 2 * own * along + own.square()).clamp(min=TINY).sqrt()
    others = (memory["count"] - own).clamp(min=0).square()
    return (along - own) / length * others / (others + many**2)
