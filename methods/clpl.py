"""CLPL: a convex loss on the mean score of the candidates and on the score of every other label.

Family: pll (partial-label learning).

loss = mean_i h(1/|S_i| sum_{k in S_i} f_ik) + sum_{k not in S_i} h(-f_ik),   h(u) = max(0, 1 - u)^2

The paper's f are linear scores. A port to deep networks, which later comparisons use, puts probabilities in their
place: `scores: softmax`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pzsl_bench.contract import SHARED_HEAD, Batch, Citation, Gradient, Output, hyper, method


@method(
    "clpl",
    title="CLPL",
    family="pll",
    citation=Citation(
        "Cour, Sapp and Taskar",
        "Learning from Partial Labels",
        "JMLR",
        2011,
        "https://jmlr.org/papers/v12/cour11a.html",
    ),
    deviations=(
        SHARED_HEAD,
        "Probabilities take the place of the scores by default. A hinge at one has no meaning on a cosine scaled by the"
        " encoder, where most classes lie beyond it: on `shapes`, flip at 0.3, H is 15 with scores: raw and 62 with"
        " scores: softmax.",
    ),
)
@dataclass(frozen=True)
class CLPL(Gradient):
    """Squared hinge on the mean candidate score and on each other score."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    scores: str = hyper("softmax", "f: probabilities, or the logits themselves", choices=("softmax", "raw"))

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The weights stay uniform on the candidates."""
        scores = output.logits.softmax(-1) if self.scores == "softmax" else output.logits
        candidates = squared_hinge((batch.weights * scores).sum(-1))
        others = (squared_hinge(-scores) * ~batch.candidates).sum(-1)
        return (candidates + others).mean()


def squared_hinge(margin: Tensor) -> Tensor:
    """max(0, 1 - margin)^2 of every element."""
    return (1 - margin).relu().square()
