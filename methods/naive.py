"""Naive: every candidate is believed equally, for ever.

loss = -mean_i sum_{k in S_i} log p_ik / |S_i|

The lower bound of a partial-label table: what ambiguity costs when nothing is done about it. Its fall at high rates
is steeper than it need be, because the head's temperature is fixed: to come near uniform targets the adapter has to
flatten the features themselves. On `shapes` (flip, 0.3) seen accuracy is 0.34; with a temperature that is learned
along, thirty times as fast as the rest, 0.54. PRODEN and the oracle do not move (by more than 0.005).
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
