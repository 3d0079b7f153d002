"""ALIM on PRODEN: labels outside of the candidate set count too, the more the more true labels seem to be missing.

Family: pll (partial-label learning).

The true label may be missing from a candidate set.

a_k(p) = p_k for candidates, lambda p_k for other labels
w_i <- r w_i + (1 - r) t_i,   t_i: a(p_i) rescaled to sum to one (targets: scale), or one-hot of its largest (onehot)
loss = -mean_i sum_k w_ik log p_ik
       + b mixup: cross entropy of l x_i + (1 - l) x_j with l w_i + (1 - l) w_j,   l = max(l', 1 - l'), l' ~ Beta(c, c)

Weights move before the loss. lambda is zero at first. From `importance_start` epochs on, it is after every epoch the
smallest at which a share `noise` of the images has another label than a candidate as the largest of a(p_i), and at most
1. `noise` is what a user assumes; nothing of it is read from the data. With lambda zero and r zero this is PRODEN, but
for the mixtures and for the moment at which weights move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.blocks.candidate_softmax import one_hot_of_largest
from pzsl_bench.blocks.label_importance import adjusted_logits, importance_at, lead
from pzsl_bench.blocks.mixup import larger_share, mix
from pzsl_bench.contract import (
    SHARED_HEAD,
    Batch,
    Gradient,
    Net,
    Output,
    State,
    Study,
    Update,
    hyper,
    method,
    soft_cross_entropy,
)
from pzsl_bench.methods.alim import ALIM, TARGETS


@method(
    "alim_proden",
    title="ALIM (PRODEN)",
    family="pll",
    citation=ALIM,
    deviations=(
        SHARED_HEAD,
        "The scripts of the release run ALIM on PiCO. This is its step with the classifier in the place of the"
        " prototypes and without the contrast (proto_type classify, loss_weight 0), and lambda follows the classifier.",
        "The inertia is one number, chosen on rehearsals; the release's falls from 0.95 to 0.8 in 1,000 epochs. PRODEN"
        " has none, but without any, candidates are forgotten once lambda is one.",
        "Features are mixed instead of pixels, with a partner from the same batch; the release runs two orders of the"
        " images side by side.",
        "Mixtures count for 0.3 instead of 1, chosen on rehearsals.",
        "lambda moves after 6 of 30 epochs; in the release after 80 or 140 of 1,000 (importance_start).",
        "Targets come from logarithms: where no candidate has a probability left, products would be zero over zero.",
    ),
)
@dataclass(frozen=True)
class AlimProden(Gradient):
    """PRODEN with adjusted label importance."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    noise: float = hyper(0.1, "share of images assumed to lack their true label", search=(0.05, 0.5), below=1)
    targets: str = hyper("scale", "pseudo-labels: all labels by their scores, or the best one", choices=TARGETS)
    importance_start: int = hyper(6, "epochs before other labels gain importance")
    inertia: float = hyper(0.5, "r, share of the old label weights that stays", search=(0.1, 0.95), below=1)
    mixup_weight: float = hyper(0.3, "b, weight of the loss of mixtures", search=(0.1, 3.0))
    mixup: int = hyper(4, "c of the Beta(c, c) from which mixtures are drawn", above=0)

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """One mixture for the batch, and every image's partner."""
        return {"share": (2 * self.mixup - 1,), "partners": (images,)}

    def tables(self, study: Study) -> State:
        """(N,) the lead of the best candidate when the image was last seen."""
        return {"lead": torch.ones_like(study.features[:, 0])}

    def memory(self, study: Study, params: State) -> State:
        """lambda."""
        return {"importance": study.features.new_zeros(())}

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """One step in the order of the release."""
        output, importance = Output(net(batch.features)), batch.memory["importance"]
        log_probs = output.log_probs.detach()
        with torch.no_grad():
            scores = adjusted_logits(log_probs, batch.candidates, importance)
            target = scores.softmax(-1) if self.targets == "scale" else one_hot_of_largest(scores)
            weights = target + self.inertia * (batch.weights - target)
            share, partners = larger_share(batch.dice["share"], self.mixup), batch.dice["partners"].argsort(stable=True)
        mixed = Output(net(mix(batch.features, partners, share)))
        classification = soft_cross_entropy(output, weights)
        mixture = soft_cross_entropy(mixed, mix(weights, partners, share))
        notes = {"classification": classification, "mixture": mixture, "importance": importance}
        loss = classification + self.mixup_weight * mixture
        return loss, Update(weights, rows={"lead": lead(log_probs.exp(), batch.candidates)}, notes=notes)

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        """Move lambda."""
        if epoch + 1 < self.importance_start:
            return Update()
        return Update(memory={"importance": importance_at(self.noise, tables["lead"])})
