"""Semantic mining by confidences: a Gaussian for the images of every class, by k-means with confidences as weights.

The confidences are the soft assignment of an image, and live on its candidates. A class has the mean of its images, and
every image lends an embedding that evidence, less its own part in it:

    v_i = unit(W (x_i - mean of all images))      W whitens: (covariance of the images + its mean variance)^(-1/2)
    S_j = sum_i T_ij v_i,   n_j = sum_i T_ij      kept up to date as confidences change
    m_ij = (S_j - T_ij v_i) / (n_j - T_ij + few)  the mean of the other images, drawn to that of all
    g_ij = v_i . m_ij - |m_ij|^2 / 2              how much nearer the image is to it than to that of all images

g is the log-likelihood ratio of two Gaussians of one covariance, in its unit. Directions in which all images differ
count little in v. A class of few or of scattered images has a short mean, which says little.

An image that took part in its own evidence would confirm whatever it is believed to be. A new image has no part in S_j:
T_ij = 0. Where unseen classes take part, the level of the evidence is taken off, its mean over the training images and
their confidences: an image of a seen class then has no head start by evidence that no unseen class can have.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl_bench.contract import State, normalise

LEVEL_RATE = 0.1
"""Share of the newest batch in the running mean of the evidence."""


def whitening(features: Tensor) -> State:
    """The mean of images (N, d), and W (d, d). The mean variance is added to all variances, as images may be few."""
    mean = features.mean(0)
    centred = features - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    variances = variances.clamp(min=0) + variances.mean()
    return {"mean": mean, "whiten": directions * variances.rsqrt() @ directions.T}


def whitened(memory: State, features: Tensor) -> Tensor:
    """(B, d) -> (B, d) v, unit vectors."""
    return normalise((features - memory["mean"]) @ memory["whiten"])


def first_sums(images: Tensor, confidences: Tensor) -> State:
    """Sums and counts of the classes, from whitened images (N, d) and their confidences (N, K)."""
    return {"sums": confidences.T @ images, "count": confidences.sum(0), "level": images.new_zeros(())}


def changed_sums(memory: State, images: Tensor, before: Tensor, after: Tensor, evidence: Tensor) -> State:
    """Sums, counts and level after the confidences of these whitened images (B, K), with this evidence, changed."""
    change = after - before
    level = torch.lerp(memory["level"], (after * evidence).sum(-1).mean(), LEVEL_RATE)
    return {"sums": memory["sums"] + change.T @ images, "count": memory["count"] + change.sum(0), "level": level}


def visual_evidence(memory: State, images: Tensor, own: Tensor | None, few: float | Tensor) -> Tensor:
    """(B, K) g, from whitened images (B, d) and their own part T (B, K) in the sums; None for images that have none."""
    sums, many = memory["sums"], memory["count"] + few
    along, squares = images @ sums.T, sums.square().sum(-1)
    if own is not None:
        # v . (S - T v) = v . S - T, and |S - T v|^2 = |S|^2 - T (2 v . (S - T v) + T).
        along, many = along - own, many - own
        squares = torch.addcmul(squares, own, torch.add(own, along, alpha=2), value=-1)
    return torch.sub(along, squares / many, alpha=0.5) / many
