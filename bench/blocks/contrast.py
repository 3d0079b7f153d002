"""What methods that compare images with each other share: a projection, prototypes, a moving average and a queue.

All functions are written for one run, as methods are, and keep no state: they take the memory of the run and return
what it changes to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pzsl_bench.contract import Batch, Net, Output, State, Study, Viewed, hyper, normalise, soft_cross_entropy
from pzsl_bench.contract.heads import Dense, Head

AVERAGE_PREFIX = "average."
"""How the names of averaged parameters begin in the memory of a run."""
FIRST_MOMENTUM = 0.99
"""The momentum of the first epoch in the releases that change a momentum from epoch to epoch."""
MIN_TEMPERATURE = 0.025
"""Temperatures of unit vectors must lie above it, so that exp(1 / t) and exp(-1 / t) are well inside float32."""
EXCLUDED_LOGIT = -60.0
"""Added to the logit of a pair that is left out. exp(-60) vanishes beside the other pairs. With a much lower number exp
would underflow, which is thirty times slower."""


class Projected(nn.Module):
    """A head, and beside it a small network that projects the head's features to unit vectors for comparing images.

    The classifier does not use the projection, so classes that were never seen are scored by the head alone.
    """

    def __init__(self, head: Head, width: int):
        super().__init__()
        self.head = head
        self.inner = Dense(head.width, head.width)
        self.outer = Dense(head.width, width)

    def forward(self, features: Tensor, texts: Tensor, give: str = "logits") -> Tensor | tuple[Tensor, Tensor]:
        """(B, C) logits, (B, P) unit vectors of the "projection", or "both"."""
        embedded = self.head.embed(features)
        if give == "logits":
            return self.head.logits(embedded, texts)
        projected = normalise(self.outer(torch.relu(self.inner(embedded))))
        return projected if give == "projection" else (self.head.logits(embedded, texts), projected)


@dataclass(frozen=True)
class Projecting(Viewed):
    """A method with a projection beside the head. Its classifier learns by cross entropy with the label weights."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    projection: int = hyper(64, "width of the space in which images are compared", above=0)

    def module(self, study: Study) -> nn.Module:
        """The shared head with a projection of its features."""
        return Projected(self.shared_head(study), self.projection)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the current label weights, which is one part of the loss."""
        return soft_cross_entropy(output, batch.weights)


def likeliest(scores: Tensor, candidates: Tensor) -> Tensor:
    """(B,) the candidate with the highest score."""
    return scores.masked_fill(~candidates, float("-inf")).argmax(-1)


def one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, K) for K = width of `like`, of its type; a label K, which is no class, gives a row of zeros."""
    return (labels.unsqueeze(-1) == torch.arange(like.shape[-1], device=like.device)).to(like.dtype)


def eased(epoch: Tensor, epochs: int, start: float, end: float) -> Tensor:
    """A momentum that goes from `start` to `end`, epoch by epoch; in the very first epoch it is `FIRST_MOMENTUM`.

    The releases set it after an epoch from that epoch's number, so the second epoch has `start`.
    """
    return torch.where(epoch < 1, FIRST_MOMENTUM, start + (epoch - 1) / epochs * (end - start))


def move_prototypes(prototypes: Tensor, features: Tensor, labels: Tensor, momentum: float | Tensor) -> Tensor:
    """(K, P) prototypes after (B, P) features, one by one in this order: mu_y <- m mu_y + (1 - m) x; then unit rows.

    In closed form: an image that is followed by n others of its class has the share (1 - m) m^n. A class that has not
    occurred yet keeps its prototype of zeros. `labels` are (B, K) one-hot.
    """
    hits = labels.sum(0)
    later = (labels * (hits - labels.cumsum(0))).sum(-1, keepdim=True)
    moved = (labels * (1 - momentum) * momentum**later).T @ features
    return normalise(momentum ** hits.unsqueeze(-1) * prototypes + moved)


def average_from(params: State) -> State:
    """The first memory of a moving average of the parameters: a copy of them."""
    return {AVERAGE_PREFIX + name: value.detach().clone() for name, value in params.items()}


def follow(memory: State, state: State, momentum: float | Tensor) -> State:
    """The memory of the moving average after it moved towards one more state of the parameters."""
    old = {name: memory[AVERAGE_PREFIX + name] for name in state}
    return {
        AVERAGE_PREFIX + name: old[name] + (1 - momentum) * (value.detach() - old[name])
        for name, value in state.items()
    }


def averaged(memory: State) -> State:
    """The averaged parameters under their own names, as `Net.using` wants them."""
    return {
        name.removeprefix(AVERAGE_PREFIX): value for name, value in memory.items() if name.startswith(AVERAGE_PREFIX)
    }


def averaged_keys(net: Net, batch: Batch, momentum: float | Tensor) -> tuple[Tensor, State]:
    """(B, P) projections of the first other view under the averaged parameters, which follow first; their memory."""
    average = follow(batch.memory, net.state, momentum)
    keys: Tensor = net.using(averaged(average))(batch.views[0], give="projection")
    return keys, average


def enqueue(queue: Tensor, new: Tensor) -> Tensor:
    """(Q, ...) the queue with new rows at its end and without as many of the oldest; a batch may have any size."""
    return torch.cat([queue, new])[-len(queue) :]


def exclusion_logits(pairs: Tensor, like: Tensor) -> Tensor:
    """(A, B) bool -> (A, B) numbers that, added to logits, keep the marked pairs out of a softmax.

    Adding costs one pass over the pairs; a masked fill costs two, and one more in the backward pass.
    """
    return torch.zeros_like(pairs, dtype=like.dtype).masked_fill(pairs, EXCLUDED_LOGIT)


@dataclass(frozen=True)
class Compared:
    """Unit vectors, and the classes that they are assigned to."""

    features: Tensor
    """(B, P)"""
    labels: Tensor
    """(B, K) one-hot, rows of zeros where there is none"""


def queue_contrast(
    queries: Compared, keys: Tensor, queue: Compared, temperature: float | Tensor, supervised: Tensor
) -> Tensor:
    """Contrast of queries with all queries, their (B, P) keys and a queue: a scalar, the mean over the queries.

    -mean over the positives p of q of log [exp(q p / t) / sum over all others a of exp(q a / t)]

    The positives are all other vectors of the query's class. Where `supervised` is false, the query's own key is the
    only positive and is compared with the queue alone (instance discrimination).

    The positives enter as sums over classes, so that only the denominators need every pair. For unit vectors and
    temperatures above `MIN_TEMPERATURE` their exponentials need no shift.
    """
    q = queries.features
    same_image = torch.eye(len(q), dtype=torch.bool, device=q.device)
    scaled = q / temperature
    # In place: the pairs are by far the largest tensors here.
    to_queries = (scaled @ q.T).add_(exclusion_logits(same_image | ~supervised, q)).exp_().sum(-1)
    to_keys = (scaled @ keys.T).add_(exclusion_logits(~same_image & ~supervised, q)).exp_().sum(-1)
    to_queue = (scaled @ queue.features.T).exp_().sum(-1)
    denominator = (to_queries + to_keys + to_queue).log()

    sums = queries.labels.T @ (q + keys) + queue.labels.T @ queue.features
    counts = 2 * queries.labels.sum(0) + queue.labels.sum(0)
    others = (q * (queries.labels @ sums)).sum(-1) - q.square().sum(-1)
    same_class = others / (queries.labels @ counts - 1)
    attraction = torch.where(supervised, same_class, (q * keys).sum(-1))
    return (denominator - attraction / temperature).mean()
