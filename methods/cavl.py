"""CAVL: hard labels, chosen by the class activation value of the logits.

Family: pll (partial-label learning).

loss = -mean_i sum_k q_ik log p_ik,   q_i <- one-hot of argmax_{k in S_i} z_ik |1 - z_ik|

z are the logits after the optimiser's step. The weights are uniform on the candidates until the warm-up is over; from
then on an image has one label at a time. On logits beyond 0 and 1 the value grows with the logit, and CAVL is plain
self-training; between 0 and 1 it prefers logits near one half, so it depends on the scale of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.blocks.candidate_softmax import one_hot_of_largest
from pzsl_bench.contract import SHARED_HEAD, Batch, Citation, Gradient, Output, hyper, method, soft_cross_entropy


@method(
    "cavl",
    title="CAVL",
    family="pll",
    citation=Citation(
        "Zhang, Feng, Han, Liu, Niu, Qin and Sugiyama",
        "Exploiting Class Activation Value for Partial-Label Learning",
        "ICLR",
        2022,
        "https://openreview.net/forum?id=qqdXHUGec9h",
    ),
    deviations=(
        SHARED_HEAD,
        "The label is chosen among the candidates (rule: paper). The release multiplies by the mask instead, so that a"
        " non-candidate, whose product is zero, wins wherever all candidates are negative, which with a cosine head is"
        " often; it is kept as rule: released.",
        "The first epoch keeps uniform weights (warm_up: 1). The release chooses after the first step, when little but"
        " the initialisation speaks; warm_up: 0 is that rule. A head that starts at zero-shot CLIP could do without a"
        " warm-up and suffers from a long one: on `shapes`, flip at 0.5, H is 63 without it, 62 with one epoch, 4"
        " with three.",
    ),
)
@dataclass(frozen=True)
class CAVL(Gradient):
    """One label at a time."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    rule: str = hyper(
        "paper", "paper: among the candidates; released: the mask is a factor", choices=("paper", "released")
    )
    warm_up: int = hyper(1, "epochs with uniform weights")

    @property
    def second_pass(self) -> bool:
        """New labels come from the parameters after the step."""
        return True

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the current weights."""
        return soft_cross_entropy(output, batch.weights)

    def refine(self, output: Output, batch: Batch) -> Tensor:
        """One-hot rows, once the warm-up is over."""
        value = output.logits * (1 - output.logits).abs()
        if self.rule == "paper":
            value = value.masked_fill(~batch.candidates, float("-inf"))
        else:
            value = value * batch.candidates
        return torch.where(batch.epoch < self.warm_up, batch.weights, one_hot_of_largest(value))
