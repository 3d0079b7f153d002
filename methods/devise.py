"""DeViSE: a bilinear compatibility, trained by the hinge of a class that comes too close to the right one.

Family: zsl (zero-shot learning from true labels).

F(x, s) = x W s
c ~ q_i;   loss = mean_i max(0, m + F(wrong) - F(c))

`scan` says which classes outside of the candidate set are compared: the first violator in a random order, which the
paper takes for speed and for its effect; the first by class number, as public code does, which favours low numbers; or
all of them, as the paper's formula has it. With batches of one image and plain SGD the first two are the papers'
updates; a batch takes the mean of the updates at the same W.

Public code for ResNet features, `scan: first`, `optimiser: sgd`, `batch: 1`, by images, lr and margin: SUN as_given
0.01 3, CUB and aPY unit 1.0 1, AWA1 standardised 0.01 200, AWA2 standardised 0.001 150.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.compatibility import RANKING_DEVIATIONS, Ranked
from pzsl_bench.blocks.ranking import draw_marked, first_marked, of_class
from pzsl_bench.contract import Batch, Citation, Output, hyper, method


@method(
    "devise",
    title="DeViSE",
    family="zsl",
    version=2,
    citation=Citation(
        "Frome, Corrado, Shlens, Bengio, Dean, Ranzato and Mikolov",
        "DeViSE: A Deep Visual-Semantic Embedding Model",
        "NeurIPS",
        2013,
        "https://papers.nips.cc/paper/5204-devise-a-deep-visual-semantic-embedding-model",
    ),
    deviations=(
        *RANKING_DEVIATIONS,
        "The image network is not trained along: images are fixed features.",
        "The margin is 1; the paper's 0.1 is for cosines of unit word vectors under a normalised map.",
    ),
)
@dataclass(frozen=True)
class DeViSE(Ranked):
    """Pairwise hinge."""

    scan: str = hyper("shuffled", "which violators count", choices=("shuffled", "first", "all"))

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """Also one number to draw the violator that a shuffled scan meets first; all are equally likely."""
        return {**super().dice(images, classes), **({"wrong": (images,)} if self.scan == "shuffled" else {})}

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The hinge of the violator that the scan meets, or of all; 0 where there is none."""
        hinges = self.hinges(output.logits, self.positives(output.logits, batch))
        violators = ~batch.candidates & (hinges > 0)
        hinges = hinges * violators
        if self.scan == "all":
            return hinges.sum(-1).mean()
        violator = first_marked(violators) if self.scan == "first" else draw_marked(violators, batch.dice["wrong"])
        return of_class(hinges, violator).mean()
