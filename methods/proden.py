"""PRODEN: label weights that follow the model's own confidence, step by step.

Family: pll (partial-label learning).

loss = -mean_i sum_k q_ik log p_ik,   q_i <- p_i on the labels whose old weight is above zero, rescaled to sum to one

The new weights come from the same forward pass as the loss (the original, "pre-step" rule), and start uniform on the
candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.contract import (
    Batch,
    Citation,
    Gradient,
    Output,
    method,
    soft_cross_entropy,
)


@method(
    "proden",
    title="PRODEN",
    family="pll",
    citation=Citation(
        "Lv, Xu, Feng, Niu, Geng and Sugiyama",
        "Progressive Identification of True Labels for Partial-Label Learning",
        "ICML",
        2020,
        "https://arxiv.org/abs/2002.08053",
    ),
    deviations=(
        "A cosine head over class texts with a residual adapter replaces the paper's networks, so that unseen classes"
        " can be scored; AdamW with a cosine schedule replaces SGD.",
        "Log-softmax replaces the logarithm of the softmax, which underflows at the gaps of a scaled cosine.",
    ),
)
@dataclass(frozen=True)
class Proden(Gradient):
    """Progressive identification, original release."""

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the current weights."""
        return soft_cross_entropy(output, batch.weights)

    def refine(self, output: Output, batch: Batch) -> Tensor:
        """The prediction restricted to the support of the old weights."""
        return softmax_on(output.log_probs, batch.weights)
