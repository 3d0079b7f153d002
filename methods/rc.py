"""RC: the risk-consistent method, whose label weights are the prediction itself, restricted to the candidates.

Family: pll (partial-label learning).

loss = -mean_i sum_k q_ik log p_ik,   q_i <- p_i on the candidates, rescaled to sum to one

Here p in the new weights comes from a second forward pass, after the optimiser's step, and a label is never lost: the
support is the candidate set. `proden` differs in both. Several benchmarks list this rule under the name PRODEN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.contract import SHARED_HEAD, Batch, Citation, Gradient, Output, method, soft_cross_entropy


@method(
    "rc",
    title="RC",
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
        "Only the rows of the batch are renormalised; public code renormalises the whole table at every step, which"
        " changes nothing but the cost.",
        "The restricted prediction is a masked softmax: the quotient of public code is 0/0 once all candidates"
        " underflow.",
    ),
)
@dataclass(frozen=True)
class RC(Gradient):
    """Weights from a second pass over the batch."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    @property
    def second_pass(self) -> bool:
        """New weights come from the parameters after the step."""
        return True

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the current weights."""
        return soft_cross_entropy(output, batch.weights)

    def refine(self, output: Output, batch: Batch) -> Tensor:
        """The prediction restricted to the candidates."""
        return softmax_on(output.log_probs, batch.candidates)
