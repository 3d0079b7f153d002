"""EXP: an exponential bound of the risk, from learning with several complementary labels.

Family: pll (partial-label learning).

loss = mean_i (K - 1) / (K - |S_i|) exp(-sum_{k in S_i} p_ik)

The labels off the candidate set are the complementary ones. A row in which every class is a candidate has none of them
and is left out, as its factor would be infinite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.contract import SHARED_HEAD, Batch, Citation, Gradient, Output, method


@method(
    "exp",
    title="EXP",
    family="pll",
    citation=Citation(
        "Feng, Kaneko, Han, Niu, An and Sugiyama",
        "Learning with Multiple Complementary Labels",
        "ICML",
        2020,
        "https://arxiv.org/abs/1912.12927",
    ),
    deviations=(
        SHARED_HEAD,
        "Rows where every class is a candidate are left out, and the mean is taken over the others; public code"
        " divides by zero there.",
    ),
)
@dataclass(frozen=True)
class Exp(Gradient):
    """Exponential loss of the candidates' mass."""

    reads: ClassVar[tuple[str, ...]] = ("candidates",)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Rows with few complementary labels weigh more."""
        probs = output.logits.softmax(-1)
        candidates = batch.candidates.to(probs.dtype)
        complementary = (1 - candidates).sum(-1)
        factor = (candidates.shape[-1] - 1) * complementary.sign() / complementary.clamp(min=1)
        losses = factor * torch.exp(-(candidates * probs).sum(-1))
        return losses.sum() / complementary.sign().sum().clamp(min=1)
