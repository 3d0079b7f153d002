"""PaPi: prototypes learn from the classifier, and mixed images must lie among the prototypes as their labels say.

Family: pll (partial-label learning).

w_i <- phi w_i + (1 - phi) (p_i on the candidates, rescaled to sum to one), before the loss
loss = -mean_i sum_k w_ik log p_ik
       + a(t) sum over two views of mean_i [l KL(w_i || s_i) + (1 - l) KL(w_j || s_i)],   s = softmax(z mu / tau)
mu_y <- m mu_y + (1 - m) z, image by image over both views, then unit length;   y = argmax_S p of that view

z in s is the projection of the mixture l x_i + (1 - l) x_j of an image and a partner in the batch, l ~ Beta(b, b) one
number per batch, mu the old prototypes. a(t) grows linearly to `alignment` in `ramp` epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks.contrast import Projecting, eased, likeliest, move_prototypes, one_hot
from pzsl_bench.blocks.distributions import beta
from pzsl_bench.blocks.mixup import mix
from pzsl_bench.contract import Batch, Citation, Net, Output, State, Study, Update, hyper, method, soft_cross_entropy


@method(
    "papi",
    title="PaPi",
    family="pll",
    citation=Citation(
        "Xia, Lv, Xu, Niu and Geng",
        "Towards Effective Visual Representations for Partial-Label Learning",
        "CVPR",
        2023,
        "https://arxiv.org/abs/2305.06080",
    ),
    deviations=(
        "The network is the shared head on frozen features with a two-layer projection of 64 instead of 128 dimensions"
        " beside it; the second view is a cached crop, or noise on the features (views: noise).",
        "phi, which turns label weights once per epoch, is raised to the power 500 / epochs, the release's epochs over"
        " ours (pace): 0.95 and 0.8 as they are do not decide on labels within 30 epochs.",
        "Features are mixed instead of pixels, and not scaled to unit length again: the head does that itself.",
        "Partners are drawn within the batch as it is; the release draws from a full batch and fails on a smaller one.",
        "Unseen classes are scored by the head: prototypes exist for seen classes only.",
    ),
)
@dataclass(frozen=True)
class Papi(Projecting):
    """Prototype alignment guided by the classifier."""

    looks: ClassVar[int] = 1

    alignment: float = hyper(1.0, "weight of the alignment at its height", search=(0.1, 5.0))
    ramp: float = hyper(10.0, "epochs until it is reached", above=0)
    prototype_temperature: float = hyper(0.3, "temperature of the prototypes", search=(0.05, 1.0), above=0)
    mixup: int = hyper(8, "b of the Beta(b, b) from which mixtures are drawn", above=0)
    phi_start: float = hyper(0.95, "momentum of the label weights in the second epoch; the first has 0.99")
    phi_end: float = hyper(0.8, "the same at the end of training")
    pace: int = hyper(500, "epochs for which phi is meant; in fewer, phi is lowered to turn labels as far", above=0)
    prototype_start: float = hyper(0.9, "momentum of the prototypes in the second epoch; the first has 0.99")
    prototype_end: float = hyper(0.5, "the same at the end of training")

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """One mixture for the batch, and every image's partner."""
        return {"share": (2 * self.mixup - 1,), "partners": (images,)}

    def memory(self, study: Study, params: State) -> State:
        """Prototypes of zeros."""
        return {"prototypes": study.features.new_zeros(study.candidates.shape[1], self.projection)}

    def phi(self, epoch: Tensor) -> Tensor:
        """The momentum of the label weights: the release's, to the power of its epochs over ours."""
        return eased(epoch, self.epochs, self.phi_start, self.phi_end) ** (self.pace / self.epochs)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """One step in the order of the release."""
        logits, plain = net(batch.features, give="both")
        other, prototypes = batch.views[0], batch.memory["prototypes"]
        with torch.no_grad():
            predicted = logits.masked_fill(~batch.candidates, float("-inf")).softmax(-1)
            weights = predicted + self.phi(batch.epoch) * (batch.weights - predicted)
            other_logits, other_features = net(other, give="both")
            labels = likeliest(torch.cat([logits, other_logits]), batch.candidates.repeat(2, 1))
            momentum = eased(batch.epoch, self.epochs, self.prototype_start, self.prototype_end)
            features = torch.cat([plain.detach(), other_features])
            moved = move_prototypes(prototypes, features, one_hot(labels, weights), momentum)
            share = beta(batch.dice["share"], self.mixup)
            partners = batch.dice["partners"].argsort(stable=True)
            mixed = [mix(x, partners, share) for x in (batch.features, other)]
            target = mix(weights, partners, share)
        scores = net(torch.cat(mixed), give="projection") @ (prototypes / self.prototype_temperature).T
        aligned = alignment(weights, target, F.log_softmax(scores.view(2, len(other), -1), dim=-1))
        classification = soft_cross_entropy(Output(logits), weights)
        notes = {"classification": classification, "alignment": aligned}
        height = self.alignment * (batch.epoch / self.ramp).clamp(max=1)
        return classification + height * aligned, Update(weights, {"prototypes": moved}, notes=notes)


def alignment(weights: Tensor, target: Tensor, log_scores: Tensor) -> Tensor:
    """Sum over views of the mean divergence of (V, B, K) log-scores from both labels of a mixture.

    l KL(w_i || s) + (1 - l) KL(w_j || s) is -H - target log s with the mixed target (B, K); partners are a permutation
    of the batch, so that H is the mean entropy of its weights.
    """
    entropy = -torch.xlogy(weights, weights).sum(-1).mean()
    return (-(target * log_scores).sum(-1).mean(-1) - entropy).sum()
