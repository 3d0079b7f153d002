"""LWC: the leveraged weighted loss with logarithmic terms, on candidates and on all other labels.

Family: pll (partial-label learning).

loss = mean_i sum_{k in S_i} w_ik -log(p_ik + e) + b sum_{k not in S_i} w_ik -log(1 - p_ik + e),   e = 1e-8

The weights start at 1/K everywhere. After the optimiser's step they are the new prediction, rescaled to sum to one on
the candidates and, separately, on the other labels, so that a row sums to two and the loss off the candidates goes to
the label that the model mistakes most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.contract import SHARED_HEAD, Batch, Citation, Gradient, Output, Study, hyper, method

FLOOR = 1e-8
"""The release adds it to probabilities wherever they are divided by or enter a logarithm."""


@method(
    "lwc",
    title="LW (cross entropy)",
    family="pll",
    citation=Citation(
        "Wen, Cui, Hang, Liu, Wang and Lin",
        "Leveraged Weighted Loss for Partial Label Learning",
        "ICML",
        2021,
        "https://arxiv.org/abs/2106.05731",
    ),
    deviations=(
        SHARED_HEAD,
        "The leverage is 1 everywhere; the authors choose 1 or 2 for each data set.",
        "The floor e is the release's and not in the paper. It also lets go: a candidate that has less than 1e-8 of the"
        " mass is hardly pulled any more.",
    ),
)
@dataclass(frozen=True)
class LWC(Gradient):
    """Leveraged weights, logarithmic terms."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    leverage: float = hyper(1.0, "weight of the labels off the candidates (b; the paper's beta)", search=(1.0, 2.0))

    @property
    def second_pass(self) -> bool:
        """New weights come from the parameters after the step."""
        return True

    def first_weights(self, study: Study) -> Tensor:
        """(N, K) the same weight for every label, candidate or not."""
        return torch.full_like(study.targets, 1 / study.targets.shape[1])

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Both sums in one pass."""
        leveraged = torch.where(batch.candidates, batch.weights, self.leverage * batch.weights)
        return (leveraged * self.penalty(output, batch.candidates)).sum(-1).mean()

    def penalty(self, output: Output, candidates: Tensor) -> Tensor:
        """(B, K) the cost of each label: of a candidate for being improbable, of any other label for being probable."""
        probs = output.logits.softmax(-1)
        return -torch.log(torch.where(candidates, probs, 1 - probs) + FLOOR)

    def refine(self, output: Output, batch: Batch) -> Tensor:
        """The prediction, rescaled on the candidates and off them."""
        probs = output.logits.softmax(-1)
        inside = probs * batch.candidates
        outside = probs - inside
        floor = FLOOR * probs.shape[-1]
        return inside / (inside.sum(-1, keepdim=True) + floor) + outside / (outside.sum(-1, keepdim=True) + floor)
