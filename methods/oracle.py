"""Oracle: trained on the true labels, which the harness gives only to methods declared with `reveals_truth`.

Family: bound (what candidates or true labels alone give).

loss = -mean_i log p_i,true

This is the upper bound of a partial-label table, not a method. Every table marks its row. With true labels the
encoder's own temperature is better than a learned one, which sharpens them until little is left to learn (rehearsals
on nine sets: T1 85.0 instead of 82.5, seen accuracy 86.9 instead of 86.6). Methods that see candidates need it learned.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.contract import Batch, Gradient, Output, hyper, method, soft_cross_entropy


@method("oracle", title="Oracle (true labels)", family="bound", version=2, reveals_truth=True)
@dataclass(frozen=True)
class Oracle(Gradient):
    """Cross entropy with the true labels: its study's candidate sets are the singletons of the truth."""

    temperature: str = hyper("fixed", "scale of the cosine", choices=("learned", "fixed"))

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with one-hot weights."""
        return soft_cross_entropy(output, batch.weights)
