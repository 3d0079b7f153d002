"""SoLar: pseudo-labels that respect how frequent the classes are, trained on where they look clean.

Family: pll (partial-label learning).

With p the prediction on the plain image, S the candidates and r the estimated frequencies of the classes:

    m = Sinkhorn(p^3 on S; columns r, rows uniform), over the batch and a queue of earlier predictions
    chosen: of the images with argmax m = k, the ceil(rho B r_k) of smallest CE(m, p), at least one; and <m, p> > tau
    loss = eta * (CE(m, p) + CE(m, p of another look) + CE(m mixed, p of the image mixed), means over the chosen)
         + (1 - eta) * mean of CE(q, p) over the others
    q <- p on S, rescaled to sum to one;     r <- (1 - gamma) r + gamma * share of images with argmax q = k

The first epoch is CE(q, p) alone. Mixing: lambda x + (1 - lambda) x' with a random chosen x', lambda = max(l, 1 - l)
and l ~ Beta(4, 4). eta rises from 0 and rho from `rho_start` during the warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.blocks.chosen_images import mean_over
from pzsl_bench.blocks.mixup import larger_share
from pzsl_bench.blocks.sinkhorn import scaled, sinkhorn
from pzsl_bench.contract import (
    Batch,
    Citation,
    Net,
    Output,
    State,
    Study,
    Update,
    Viewed,
    hyper,
    method,
    soft_cross_entropy,
)

MIXING = 4
"""a of the Beta(a, a) that mixtures are drawn from."""


@method(
    "solar",
    title="SoLar",
    family="pll",
    version=2,
    citation=Citation(
        "Wang, Xia, Li, Mao, Feng, Chen and Zhao",
        "SoLar: Sinkhorn Label Refinery for Imbalanced Partial-Label Learning",
        "NeurIPS",
        2022,
        "https://arxiv.org/abs/2209.10365",
    ),
    deviations=(
        "A head on frozen features replaces the network; the plain image is the weakly augmented one, and images are"
        " mixed as features. AdamW with a cosine schedule replaces SGD.",
        "One training instead of two: the release trains 20 or 100 epochs to estimate the class frequencies (gamma"
        " 0.1), then starts a new network with them (gamma 0.01). Here gamma changes after a share of the epochs and"
        " the network goes on.",
        "Frequencies are counted from the predictions that the epoch's own steps made, not from another pass over all"
        " images.",
        "The warm-up is a share of the training; in the release it is 50 epochs of 200 to 1000.",
        "Sinkhorn runs all its rounds: the release's early stop, a sum of both scalings below 0.1, cannot happen (the"
        " sum is at least 2). It works on rows scaled to a largest entry of one, with floors in place of the release's"
        " second run when numbers overflow; classes that are no one's candidate lose their share to the others.",
        "The queue holds 1024 predictions, the release's size for CUB, rather than 64 batches.",
    ),
)
@dataclass(frozen=True)
class Solar(Viewed):
    """Sinkhorn label refinery."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")
    looks: ClassVar[int] = 1

    power: float = hyper(3.0, "power of the predictions before Sinkhorn", search=(1.0, 10.0), above=0)
    rounds: int = hyper(50, "rounds of Sinkhorn", above=0)
    queue: int = hyper(1024, "earlier predictions that Sinkhorn sees beside the batch", above=0)
    rho_start: float = hyper(0.2, "share of a class's images that count as clean at first")
    rho: float = hyper(0.5, "the same after the warm-up", search=(0.3, 0.8))
    tau: float = hyper(0.99, "agreement of pseudo-label and prediction above which an image counts as clean")
    eta: float = hyper(0.9, "weight of the clean images after the warm-up")
    warm_up: float = hyper(0.2, "share of the training in which eta and rho rise", above=0)
    estimation: float = hyper(0.5, "share of the training in which the class frequencies move fast")
    gamma_start: float = hyper(0.1, "how fast the class frequencies move then, per epoch", search=(0.01, 0.5))
    gamma: float = hyper(0.01, "how fast they move later")

    def memory(self, study: Study, params: State) -> State:
        """Class frequencies, and a queue of predictions on candidates, scaled for Sinkhorn; factor 0: free place."""
        like, classes = study.features, study.candidates.shape[1]
        return {
            "frequencies": like.new_full((classes,), 1 / classes),
            "queue": like.new_ones(self.queue, classes),
            "queue_factors": like.new_zeros(self.queue),
        }

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """What the mixing is drawn from."""
        return {"mixing": (2 * MIXING - 1,), "partner": (images,)}

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The loss of the first epoch."""
        return soft_cross_entropy(output, batch.weights)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """Refine the labels, choose clean images, and train on three forms of them: plain, another look, mixed."""
        images, ramp = len(batch.features), self.ramp(batch)
        plain, strong = (Output(z) for z in net(torch.cat([batch.features, batch.views[0]])).split(images))
        # Computed before `no_grad`: `plain` caches its log-probabilities, and the loss needs their gradient.
        log_probs = plain.log_probs.detach()
        with torch.no_grad():
            labels, carried = self.refined(log_probs, batch)
            surprise = -(labels * log_probs).sum(-1)
            rho = self.rho_start + (self.rho - self.rho_start) * ramp
            quota = rho * images * batch.memory["frequencies"]
            agreed = (labels * log_probs.exp()).sum(-1) > self.tau
            chosen = smallest_of_each_class(surprise, labels.argmax(-1), quota) | agreed
            mixed, mixed_labels, mixed_chosen = mixture(batch.features, labels, chosen, batch.dice)
        clean = mean_over(chosen, cross_entropies(plain, labels) + cross_entropies(strong, labels))
        clean = clean + mean_over(mixed_chosen, cross_entropies(Output(net(mixed)), mixed_labels))
        doubtful = mean_over(~chosen, cross_entropies(plain, batch.weights))
        eta = self.eta * ramp
        loss = torch.where(batch.epoch < 1, self.loss(plain, batch), eta * clean + (1 - eta) * doubtful)
        notes = {"chosen": chosen.to(loss.dtype).mean()}
        return loss, Update(softmax_on(log_probs, batch.candidates), carried, notes=notes)

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        """Move the class frequencies towards those of the predictions."""
        share = F.one_hot(weights.argmax(-1), weights.shape[-1]).to(weights.dtype).mean(0)
        early = self.estimation * self.epochs > epoch
        speed = self.gamma + early * (self.gamma_start - self.gamma)
        return Update(memory={"frequencies": memory["frequencies"] * (1 - speed) + share * speed})

    def ramp(self, batch: Batch) -> Tensor:
        """A number that rises from 0 to 1 during the warm-up, from epoch to epoch."""
        return (batch.epoch.to(batch.features.dtype) / (self.warm_up * self.epochs)).clamp(max=1.0)

    def refined(self, log_probs: Tensor, batch: Batch) -> tuple[Tensor, State]:
        """(B, K) pseudo-labels, and the queue with this batch in it."""
        images, queued = len(log_probs), batch.memory["queue_factors"]
        table, largest = scaled(self.power * log_probs, batch.candidates)
        table, factors = torch.cat([table, batch.memory["queue"]]), torch.cat([largest, queued])
        # As in the release, the queue waits until it is full.
        counted = torch.cat([torch.ones_like(largest), (queued[-1] > 0).to(queued.dtype).expand(len(queued))])
        rows = counted / counted.sum()
        labels = sinkhorn(table, rows * factors, rows, batch.memory["frequencies"], self.rounds)
        return labels[:images], {"queue": table[: self.queue], "queue_factors": factors[: self.queue]}


def cross_entropies(output: Output, labels: Tensor) -> Tensor:
    """(B,) cross entropy of every image."""
    return -(labels * output.log_probs).sum(-1)


def smallest_of_each_class(values: Tensor, classes: Tensor, quotas: Tensor) -> Tensor:
    """(B,) bool: the ceil(wanted_k) smallest values of every class k, at least one."""
    count = len(values)
    by_value = values.argsort().argsort()
    place = (classes * count + by_value).argsort().argsort()
    sizes = F.one_hot(classes, len(quotas)).sum(0)
    first = sizes.cumsum(0) - sizes
    return place - first[classes] < quotas.ceil().clamp(min=1)[classes]


def mixture(features: Tensor, labels: Tensor, chosen: Tensor, dice: State) -> tuple[Tensor, Tensor, Tensor]:
    """(B, d) images and (B, K) labels mixed with those of partners, chosen images among themselves; who was chosen."""
    left_out = (~chosen).long()
    first = (left_out * len(chosen) + torch.arange(len(chosen), device=chosen.device)).argsort()
    partners = (left_out + dice["partner"]).argsort()
    share = larger_share(dice["mixing"], MIXING)
    mixed = share * features[first] + (1 - share) * features[partners]
    return mixed, share * labels[first] + (1 - share) * labels[partners], chosen[first]
