"""CC: the classifier-consistent loss, the likelihood of the candidate set as a whole.

Family: pll (partial-label learning).

loss = -mean_i log sum_{k in S_i} p_ik

Nothing is stored from step to step: the gradient is that of a cross entropy whose target is the current prediction,
restricted to the candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.candidate_softmax import log_softmax_on
from pzsl_bench.contract import SHARED_HEAD, Batch, Citation, Gradient, Output, method


@method(
    "cc",
    title="CC",
    family="pll",
    citation=Citation(
        "Feng, Lv, Han, Xu, Niu, Geng, An and Sugiyama",
        "Provably Consistent Partial-Label Learning",
        "NeurIPS",
        2020,
        "https://arxiv.org/abs/2007.08929",
    ),
    deviations=(
        SHARED_HEAD,
        "The mass of the candidates is taken in the logarithmic domain: in public code it can underflow to log 0.",
    ),
)
@dataclass(frozen=True)
class CC(Gradient):
    """Likelihood of the candidate set."""

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Minus the log mass of the candidates; the weights stay uniform on them."""
        # For every candidate k, log mass = log p_k - log(p_k / mass). Their mean is the same number, at a fifth of
        # the cost of a log-sum-exp under vmap.
        surplus = log_softmax_on(output.log_probs, batch.weights) - output.log_probs
        return (batch.weights * surplus).sum(-1).mean()
