"""Several views of an image that are to agree on its candidates, as CR-DPLL has it."""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl_bench.contract import Batch, Net

GUARD = 1e-7
"""Keeps the logarithm of 1 - p finite, as in the releases."""


def view_logits(net: Net, batch: Batch, looks: int) -> Tensor:
    """(1 + looks, B, K) logits of the plain images and of their first other views."""
    images = torch.cat([batch.features.unsqueeze(0), batch.views[:looks]])
    logits: Tensor = net(images.flatten(0, 1))
    return logits.view(*images.shape[:2], -1)


def outside(log_probs: Tensor, inside: Tensor) -> Tensor:
    """(..., B, K) -> (...): mean over the images of -log(1 - p), summed over the labels that are not inside."""
    return -(torch.log1p(GUARD - log_probs.exp()) * ~inside).sum(-1).mean(-1)


def divergences(weights: Tensor, log_probs: Tensor) -> Tensor:
    """(V,) means over the batch of KL(w || p^v), from (B, K) weights and (V, B, K) log-probabilities."""
    return (torch.xlogy(weights, weights) - weights * log_probs).sum(-1).mean(-1)


def agreement(log_probs: Tensor, candidates: Tensor) -> Tensor:
    """(V, B, K) -> (B, K) geometric mean over the views, on the candidates."""
    return log_probs.mean(0).masked_fill(~candidates, float("-inf")).softmax(-1)
