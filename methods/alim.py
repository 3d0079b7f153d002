"""ALIM on PiCO: labels outside of the candidate set count too, the more the more true labels seem to be missing.

Family: pll (partial-label learning).

For sets from which the true label may be missing:

a_k(s) = s_k for candidates, lambda s_k for other labels
y_i = argmax a(p_i),   s_i = softmax(q_i mu / tau) with the old prototypes
w_i <- phi w_i + (1 - phi) t_i,   t_i: one-hot of the largest a(s_i) (targets: onehot), or a(s_i) rescaled (scale)
mu_y <- m mu_y + (1 - m) q_i image by image, then unit length
loss = -mean_i sum_k w_ik log p_ik + a contrast(q; positives: all queries, keys and queued keys of the same y)
       + b mixup: cross entropy of l x_i + (1 - l) x_j with l w_i + (1 - l) w_j,   l = max(l', 1 - l'), l' ~ Beta(c, c)

Everything else is PiCO. From `importance_start` epochs on, lambda is after every epoch the smallest at which a share
`noise` of the images has another label than a candidate as the largest of a(s_i), and at most 1. `noise` is what a user
assumes; nothing of it is read from the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks.contrast import (
    FIRST_MOMENTUM,
    Compared,
    averaged_keys,
    enqueue,
    move_prototypes,
    one_hot,
    queue_contrast,
)
from pzsl_bench.blocks.label_importance import adjusted, importance_at, lead
from pzsl_bench.blocks.mixup import larger_share, mix
from pzsl_bench.contract import Batch, Citation, Net, Output, State, Study, Update, hyper, method, soft_cross_entropy
from pzsl_bench.methods.pico import PICO_DEVIATIONS, Pico

ALIM = Citation(
    "Xu, Lian, Feng, Liu and Tao",
    "ALIM: Adjusting Label Importance Mechanism for Noisy Partial Label Learning",
    "NeurIPS",
    2023,
    "https://arxiv.org/abs/2301.12077",
)
TARGETS = ("onehot", "scale")
"""How pseudo-labels are made of adjusted scores."""


@method(
    "alim",
    title="ALIM (PiCO)",
    family="pll",
    citation=ALIM,
    deviations=(
        *PICO_DEVIATIONS,
        "Features are mixed instead of pixels, with a partner from the same batch; the release runs two orders of the"
        " images side by side.",
        "lambda moves after 3 of 30 epochs; in the release after 80 or 140 of 1000 (importance_start).",
    ),
)
@dataclass(frozen=True)
class Alim(Pico):
    """PiCO with adjusted label importance."""

    start: int = hyper(0, "epochs before prototypes decide on labels")
    noise: float = hyper(0.2, "share of images assumed to lack their true label", search=(0.05, 0.5), below=1)
    targets: str = hyper("onehot", "pseudo-labels: the best label, or all by their scores", choices=TARGETS)
    cluster_temperature: float = hyper(0.07, "temperature of the prototypes' scores", search=(0.03, 0.3), above=0)
    importance_start: int = hyper(3, "epochs before other labels gain importance")
    mixup_weight: float = hyper(1.0, "weight of the loss of mixtures", search=(0.1, 3.0))
    mixup: int = hyper(4, "c of the Beta(c, c) from which mixtures are drawn", above=0)

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """One mixture for the batch, and every image's partner."""
        return {"share": (2 * self.mixup - 1,), "partners": (images,)}

    def tables(self, study: Study) -> State:
        """(N,) the lead of the best candidate when the image was last seen."""
        return {"lead": torch.ones_like(study.features[:, 0])}

    def memory(self, study: Study, params: State) -> State:
        """Also lambda."""
        return {**super().memory(study, params), "importance": study.features.new_zeros(())}

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """One step in the order of the release."""
        logits, queries = net(batch.features, give="both")
        memory, weights, importance = batch.memory, batch.weights, batch.memory["importance"]
        with torch.no_grad():
            labels = adjusted(logits.softmax(-1), batch.candidates, importance).argmax(-1)
            pseudo_labels = one_hot(labels, weights)
            prototypes = memory["prototypes"]
            clustered = (queries.detach() @ (prototypes / self.cluster_temperature).T).softmax(-1)
            keys, average = averaged_keys(net, batch, self.key_momentum)
            target = self.target(adjusted(clustered, batch.candidates, importance))
            phi = torch.where(batch.epoch >= self.start, self.phi(batch.epoch), 1.0)
            weights = target + phi * (weights - target)
            carried = {
                "prototypes": move_prototypes(prototypes, queries.detach(), pseudo_labels, self.prototype_momentum),
                "queue": enqueue(memory["queue"], keys),
                "queue_labels": enqueue(memory["queue_labels"], labels),
                **average,
            }
            queue = Compared(memory["queue"], one_hot(memory["queue_labels"], weights))
            share, partners = larger_share(batch.dice["share"], self.mixup), batch.dice["partners"].argsort(stable=True)
        always = torch.ones((), dtype=torch.bool, device=logits.device)
        contrast = queue_contrast(Compared(queries, pseudo_labels), keys, queue, self.contrast_temperature, always)
        classification = soft_cross_entropy(Output(logits), weights)
        mixed = Output(net(mix(batch.features, partners, share)))
        mixture = soft_cross_entropy(mixed, mix(weights, partners, share))
        notes = {"classification": classification, "contrast": contrast, "mixture": mixture, "importance": importance}
        loss = classification + self.contrast * contrast + self.mixup_weight * mixture
        return loss, Update(weights, carried, {"lead": lead(clustered, batch.candidates)}, notes)

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        """Move lambda."""
        if epoch + 1 < self.importance_start:
            return Update()
        return Update(memory={"importance": importance_at(self.noise, tables["lead"])})

    def phi(self, epoch: Tensor) -> Tensor:
        """The momentum of the label weights: from epoch to epoch, with the one before it as a share of all."""
        return torch.where(
            epoch < 1, FIRST_MOMENTUM, self.phi_start + epoch / self.epochs * (self.phi_end - self.phi_start)
        )

    def target(self, scores: Tensor) -> Tensor:
        """(B, K) the pseudo-labels of adjusted scores."""
        if self.targets == "scale":
            return scores / scores.sum(-1, keepdim=True)
        return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)
