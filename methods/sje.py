"""SJE: a bilinear compatibility, trained by the hinge of the class that violates the margin most.

Family: zsl (zero-shot learning from true labels).

F(x, s) = x W s
c ~ q_i;   loss = mean_i max(0, m + max_{k outside Y_i} F(k) - F(c))

With batches of one image and plain SGD this is the paper's update; a batch takes the mean of the updates at the same
W. Public code looks for the worst violator with x W standardised (mean 0 and spread 1 over its numbers), which the
gradient ignores: `violation: standardised`.

Public code for ResNet features, `violation: standardised`, `optimiser: sgd`, `batch: 1`, by images, lr and margin:
CUB standardised 0.1 4, AWA1 and AWA2 unit 1.0 2.5, SUN standardised 1.0 2, aPY as_given 0.01 1.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.compatibility import RANKING_DEVIATIONS, Ranked
from pzsl_bench.blocks.ranking import of_class
from pzsl_bench.contract import Batch, Citation, Net, Output, Update, hyper, method


@method(
    "sje",
    title="SJE",
    family="zsl",
    version=2,
    citation=Citation(
        "Akata, Reed, Walter, Lee and Schiele",
        "Evaluation of Output Embeddings for Fine-Grained Image Classification",
        "CVPR",
        2015,
        "https://arxiv.org/abs/1409.8403",
    ),
    deviations=(
        *RANKING_DEVIATIONS,
        "The paper joins several kinds of semantics by weights; here a class has one row.",
        "The worst of many classes outweighs a positive that is drawn from many candidates, or is often wrong, and the"
        " least loss is then at W = 0: without the encoder's scores, on the rehearsal of `shapes`, flip at 0.3, uniform"
        " candidates give a T1 of 37, refined ones 87, and uniform ones with `positive: best` 86.",
    ),
)
@dataclass(frozen=True)
class SJE(Ranked):
    """Structured hinge."""

    violation: str = hyper(
        "scores",
        "what the worst violator is found by: the scores, or those of standardised projections",
        choices=("scores", "standardised"),
    )

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The largest hinge."""
        return self.worst_hinge(output.logits, output.logits, batch)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """The loss on the scores; with `violation: standardised` a second kind of scores finds the violator."""
        if self.violation == "scores":
            return super().step(net, batch)
        scores = self.meet(net, batch.features, batch.memory, measure="dot")
        search_scores = self.meet(net, batch.features, batch.memory, measure="standardised")
        return self.worst_hinge(scores, search_scores.detach(), batch), Update()

    def worst_hinge(self, scores: Tensor, search_scores: Tensor, batch: Batch) -> Tensor:
        """Mean hinge of the classes that violate the margin most in (B, K) scores."""
        positive = self.positives(scores, batch)
        violations = self.hinges(search_scores, positive).masked_fill(batch.candidates, 0)
        worst = violations.argmax(-1)
        return (of_class(self.hinges(scores, positive), worst) * (of_class(violations, worst) > 0)).mean()
