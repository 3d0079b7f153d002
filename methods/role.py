"""ROLE: beside the classifier every image carries estimates of its own tags, and each learns from the other.

Family: tags (images with several tags).

p = sigmoid(z) of the classifier, q = sigmoid(theta) of the image's estimates
loss(p; q)  = mean_i,k [ y softplus(-z) + n softplus(z) ] + mean_i,k H(q, p) + weight ((mean_i sum_k p - e) / K)^2
loss        = 1/2 loss(p; q) + 1/2 loss(q; p),    in the first q is constant, in the second p is

H(q, p) = -q log p - (1 - q) log(1 - p), and e is the number of tags that an image is expected to have. Estimates take a
gradient step of their own whenever their image is in a batch:  theta <- theta - estimate_lr B K dloss / dtheta
They start certain where a tag is marked (q = 0.995 and 0.005) and undecided elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.tag_heads import (
    ABSENCES,
    COLE,
    EXPECTED,
    HEAD,
    ExpectsPositives,
    binary_cross_entropy,
    is_absent,
    is_present,
    marks_of,
)
from pzsl_bench.contract import Batch, Net, State, Study, Update, hyper, method

CERTAIN_LOGIT = math.log(0.995 / 0.005)
"""The logit at which the estimate of a marked tag starts, with the sign of the mark."""


@method(
    "role",
    title="ROLE",
    family="tags",
    citation=COLE,
    deviations=(
        HEAD,
        ABSENCES,
        EXPECTED,
        "Estimates take plain gradient steps when their image is seen; the release has one Adam for all of them, whose"
        " momentum moves every image at every step. Where nothing is said they start at 1/2, not at random within"
        " [0.4, 0.6].",
    ),
)
@dataclass(frozen=True)
class ROLE(ExpectsPositives):
    """Regularised online label estimation."""

    estimate_lr: float = hyper(1.0, "length of the steps of the estimates", search=(1e-1, 1e1))

    def tables(self, study: Study) -> State:
        """The logits of the estimates."""
        return {"estimates": CERTAIN_LOGIT * marks_of(study).to(study.features.dtype)}

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """The classifier's loss with its gradient, and the estimates' step in closed form."""
        logits, theta = net(batch.features), batch.rows["estimates"]
        present, absent = is_present(batch.marks), is_absent(batch.marks)
        p, q = logits.sigmoid(), theta.sigmoid()
        with torch.no_grad():
            of_estimates = self.one_side(theta, q, p, present, absent, batch.memory)
            # The derivative in theta of H(p, q), of the term of the marks, and of that of the number of tags.
            slope = q - p + absent * q - present * (1 - q)
            slope = slope + 2 * self.expected_weight * self.surplus(q, batch.memory) * q * (1 - q)
            moved = theta - self.estimate_lr * slope / 2
        of_classifier = self.one_side(logits, p, q, present, absent, batch.memory)
        return (of_classifier + of_estimates) / 2, Update(rows={"estimates": moved})

    def one_side(
        self,
        logits: Tensor,
        probabilities: Tensor,
        other_probabilities: Tensor,
        present: Tensor,
        absent: Tensor,
        memory: State,
    ) -> Tensor:
        """loss(p; q): the terms of the marks, of the other side's probabilities, and of the number of tags."""
        entries = binary_cross_entropy(logits, present + other_probabilities, absent + 1 - other_probabilities)
        return entries.mean() + self.expected_weight * self.surplus(probabilities, memory).square()
