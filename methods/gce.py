"""GCE: the generalised cross entropy, averaged over the candidates.

Family: pll (partial-label learning).

loss = mean_i 1/|S_i| sum_{k in S_i} (1 - p_ik^q) / q

A bounded loss between the cross entropy (q -> 0) and the mean absolute error (q = 1, up to a factor).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.contract import SHARED_HEAD, Batch, Citation, Gradient, Output, hyper, method


@method(
    "gce",
    title="GCE (average)",
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
        "p^q is exp(q log p): the gradient of a power of the softmax is infinity times zero once p underflows.",
    ),
)
@dataclass(frozen=True)
class GCE(Gradient):
    """Generalised cross entropy over uniform candidates."""

    q: float = hyper(0.7, "0 would be the cross entropy, 1 is `mae`", search=(0.1, 0.9), above=0, below=1)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The mean over candidates; the weights stay uniform on them."""
        powers = torch.exp(self.q * output.log_probs)
        return (batch.weights * (1 - powers)).sum(-1).mean() / self.q
