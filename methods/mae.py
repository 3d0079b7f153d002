"""MAE: the mean absolute error, averaged over the candidates.

Family: pll (partial-label learning).

loss = mean_i 1/|S_i| sum_{k in S_i} |p_i - e_k|_1 = 2 - 2 mean_i 1/|S_i| sum_{k in S_i} p_ik

Bounded, and therefore robust to wrong candidates; the price is a gradient that vanishes with p, so rows on which the
model is sure of something else are not learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.contract import SHARED_HEAD, Batch, Citation, Gradient, Output, method


@method(
    "mae",
    title="MAE (average)",
    family="pll",
    citation=Citation(
        "Lv, Liu, Feng, Xu, Xu, An, Niu, Geng and Sugiyama",
        "On the Robustness of Average Losses for Partial-Label Learning",
        "IEEE TPAMI",
        2024,
        "https://arxiv.org/abs/2106.06152",
    ),
    deviations=(
        SHARED_HEAD,
        "The closed form 2 - 2 p replaces the distances to all K one-hot vectors, in public code B x K x K numbers.",
    ),
)
@dataclass(frozen=True)
class MAE(Gradient):
    """Mean absolute error over uniform candidates."""

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Two minus twice the mean probability of a candidate; the weights stay uniform on them."""
        return 2 - 2 * (batch.weights * output.logits.softmax(-1)).sum(-1).mean()
