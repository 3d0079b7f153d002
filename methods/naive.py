"""Naive: every candidate keeps the same weight throughout the training.

Family: bound (what candidates or true labels alone give).

loss = -mean_i sum_{k in S_i} log p_ik / |S_i|

The lower bound of a partial-label table: the cost of ambiguity when nothing is done about it. With `temperature: fixed`
it scores much lower (on `shapes`, flip at 0.3, seen accuracy 0.34 instead of 0.54), because the adapter then has to
flatten the features themselves to come near uniform targets.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.contract import Batch, Gradient, Output, method, soft_cross_entropy


@method("naive", title="Naive (uniform)", family="bound")
@dataclass(frozen=True)
class Naive(Gradient):
    """Cross entropy with uniform candidate weights."""

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with weights that never change."""
        return soft_cross_entropy(output, batch.weights)
