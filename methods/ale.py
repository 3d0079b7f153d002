"""ALE: a bilinear compatibility, trained by the weighted approximate rank of the right class.

Family: zsl (zero-shot learning from true labels).

F(x, s) = x W s
c ~ q_i;  wrong classes are drawn, with replacement and at most n times, until one violates m + F(wrong) - F(c) > 0
loss = mean_i beta(floor(n / t_i)) [m + F(wrong) - F(c)],   beta(k) = 1 + 1/2 + ... + 1/k,   t_i trials until then

n is the number of classes outside of the candidate set: no candidate is ever pushed down. If the first trial already
violates the margin, the right class probably ranks low, and the violation costs most. With batches of one image and
plain SGD this is the paper's update; a batch takes the mean of the updates at the same W.

Public code for ResNet features of unit length, margin 1, `images: unit`, `optimiser: sgd`, `batch: 1`, by lr: SUN 0.1,
AWA1 and AWA2 0.01, CUB 0.3, aPY 0.04.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.compatibility import RANKING_DEVIATIONS, Ranked
from pzsl_bench.blocks.ranking import draw_marked, of_class, rank_weights, trials
from pzsl_bench.contract import Batch, Citation, Output, method


@method(
    "ale",
    title="ALE",
    family="zsl",
    version=2,
    citation=Citation(
        "Akata, Perronnin, Harchaoui and Schmid",
        "Label-Embedding for Image Classification",
        "TPAMI",
        2016,
        "https://arxiv.org/abs/1503.08677",
    ),
    deviations=(
        *RANKING_DEVIATIONS,
        "Public code trains on dot products and ranks unseen classes by cosines: `evaluate: cosine`.",
    ),
)
@dataclass(frozen=True)
class ALE(Ranked):
    """Weighted approximate ranking."""

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """Also one number for the trials and one for the violator at which they end."""
        return {**super().dice(images, classes), "trials": (images,), "wrong": (images,)}

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The hinge of one violator, weighted by the rank estimated from the trials; beta(0) = 0 where none was met."""
        outside = ~batch.candidates
        hinges = self.hinges(output.logits, self.positives(output.logits, batch))
        violators, others = outside & (hinges > 0), outside.sum(-1)
        rank = others // trials(violators.sum(-1), others, batch.dice["trials"])
        weight = rank_weights(hinges.shape[-1], hinges)[rank]
        return (weight * of_class(hinges, draw_marked(violators, batch.dice["wrong"]))).mean()
