"""Oracle: trained on the true labels, which the harness gives only to methods declared with `reveals_truth`.

Family: bound (what candidates or true labels alone give).

loss = -mean_i log p_i,true

This is the upper bound of a partial-label table, not a method. Every table marks its row.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.contract import Batch, Gradient, Output, method, soft_cross_entropy


@method("oracle", title="Oracle (true labels)", family="bound", reveals_truth=True)
@dataclass(frozen=True)
class Oracle(Gradient):
    """Cross entropy with the true labels: its study's candidate sets are the singletons of the truth."""

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with one-hot weights."""
        return soft_cross_entropy(output, batch.weights)
