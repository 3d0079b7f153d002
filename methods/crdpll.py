"""CR-DPLL: no mass on non-candidates, and predictions of all views of an image that agree on the candidates.

Family: pll (partial-label learning).

loss = -mean_i sum_{k not in S_i} log(1 - p_ik)  +  l(t) sum_v mean_i KL(w_i || p_i^v)
w_i <- geometric mean over the views of p_i^v on the candidates, rescaled to sum to one

The first view is the plain image, and the first term uses it alone. l(t) grows linearly to `consistency` during the
first `ramp` of the training. Variants: `original`, three views and weights from the loss's own forward pass; `plench`,
two views and weights from a second pass after the optimiser's step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks.consistency import agreement, divergences, outside, view_logits
from pzsl_bench.contract import Batch, Citation, Net, Output, Update, Viewed, hyper, method


@method(
    "crdpll",
    title="CR-DPLL",
    family="pll",
    citation=Citation(
        "Wu, Wang and Zhang",
        "Revisiting Consistency Regularization for Deep Partial Label Learning",
        "ICML",
        2022,
        "https://proceedings.mlr.press/v162/wu22l.html",
    ),
    deviations=(
        "The shared head on frozen features replaces the wide residual network; the strong views are cached crops, or"
        " noise on the features (views: noise), instead of AutoAugment and Cutout.",
        "The consistency weight grows over a share of the training (half, as 100 of the release's 200 epochs) instead"
        " of a number of epochs.",
        "Sums of log-softmax replace products of probabilities, which underflow at the gaps of a scaled cosine.",
    ),
)
@dataclass(frozen=True)
class CRDPLL(Viewed):
    """Consistency regularisation."""

    reads = ("weights", "candidates")
    looks: ClassVar[int] = 2

    variant: str = hyper("original", "views and moment of the new label weights", choices=("original", "plench"))
    consistency: float = hyper(1.0, "weight of the consistency at its height", search=(0.1, 10.0))
    ramp: float = hyper(0.5, "share of the training after which it is reached", above=0)

    @property
    def second_pass(self) -> bool:
        """The PLENCH variant computes the weights after the optimiser's step."""
        return self.variant == "plench"

    @classmethod
    def unused(cls) -> Mapping[str, str]:
        """The consistency starts at weight zero and every step replaces label weights, so the first do not count."""
        return {**super().unused(), "init_confidence": "its first label weights count for nothing"}

    def log_probs(self, net: Net, batch: Batch) -> Tensor:
        """(V, B, K) of the plain images and their other views."""
        return F.log_softmax(view_logits(net, batch, 1 if self.variant == "plench" else self.looks), dim=-1)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The term on the non-candidates."""
        return outside(output.log_probs, batch.candidates)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """Both terms, and new weights unless they come from the second pass."""
        log_probs = self.log_probs(net, batch)
        plain = Output(log_probs[0])
        plain.__dict__["log_probs"] = log_probs[0]
        progress = batch.progress if self.second_pass else batch.epoch / self.epochs
        weight = self.consistency * (progress / self.ramp).clamp(max=1)
        consistency = divergences(batch.weights, log_probs).sum()
        non_candidates = self.loss(plain, batch)
        notes = {"non-candidates": non_candidates, "consistency": consistency}
        agreed = None if self.second_pass else agreement(log_probs.detach(), batch.candidates)
        return non_candidates + weight * consistency, Update(agreed, notes=notes)

    def revise(self, net: Net, batch: Batch) -> Update:
        """The weights of the PLENCH variant."""
        return Update(agreement(self.log_probs(net, batch), batch.candidates))
