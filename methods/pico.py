"""PiCO: labels from class prototypes, features from contrast with images of the same pseudo-label.

Family: pll (partial-label learning).

y_i = argmax_S f(x_i),   c_i = argmax_S q_i mu_k with the old prototypes,   w_i <- phi w_i + (1 - phi) onehot(c_i)
mu_y <- m mu_y + (1 - m) q_i image by image, then unit length
loss = -mean_i sum_k w_ik log p_ik + a contrast(q; positives: all queries, keys and queued keys of the same y)

q is the projection of the image, the key k that of another view under a moving average of the parameters; S are the
candidates. Label weights change before the loss of the same step. Until `start` epochs are over they stay uniform and
an image is contrasted with its own key alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.blocks.contrast import (
    MIN_TEMPERATURE,
    Compared,
    Projecting,
    average_from,
    averaged_keys,
    eased,
    enqueue,
    likeliest,
    move_prototypes,
    one_hot,
    queue_contrast,
)
from pzsl_bench.contract import (
    Batch,
    Citation,
    Net,
    Output,
    State,
    Study,
    Update,
    hyper,
    method,
    normalise,
    soft_cross_entropy,
)

PICO_DEVIATIONS = (
    "The network is the shared head on frozen features with a two-layer projection beside it; the query is the"
    " plain image and the key a cached crop, or noise on the features (views: noise).",
    "A queue of 1,024 keys instead of 8,192 and a projection of 64 instead of 128 dimensions, for problems of some"
    " thousand images; the last, smaller batch of an epoch is kept, so the queue is shifted rather than a ring.",
    "The queue starts with random unit vectors; the release normalises it along the wrong axis. Both belong to no"
    " class.",
    "Unseen classes are scored by the head: prototypes exist for seen classes only.",
)
"""What is not as in PiCO's release, nor in those of its relatives."""


@method(
    "pico",
    title="PiCO",
    family="pll",
    citation=Citation(
        "Wang, Xiao, Li, Feng, Niu, Chen and Zhao",
        "PiCO: Contrastive Label Disambiguation for Partial Label Learning",
        "ICLR",
        2022,
        "https://arxiv.org/abs/2201.08984",
    ),
    deviations=PICO_DEVIATIONS,
)
@dataclass(frozen=True)
class Pico(Projecting):
    """Contrastive label disambiguation."""

    looks: ClassVar[int] = 1

    contrast: float = hyper(0.5, "weight of the contrastive loss", search=(0.1, 2.0))
    contrast_temperature: float = hyper(
        0.07, "temperature of the contrastive loss", search=(0.03, 0.3), above=MIN_TEMPERATURE
    )
    queue: int = hyper(1024, "keys that are kept for comparison", above=0)
    key_momentum: float = hyper(0.999, "momentum of the averaged parameters that make the keys")
    prototype_momentum: float = hyper(0.99, "momentum of the class prototypes")
    phi_start: float = hyper(0.95, "momentum of the label weights in the second epoch; the first has 0.99")
    phi_end: float = hyper(0.8, "the same at the end of training")
    start: int = hyper(1, "epochs before prototypes decide on labels")

    def memory(self, study: Study, params: State) -> State:
        """Prototypes of zeros, a queue of no class, and the moving average of the parameters."""
        like = study.features
        classes = study.candidates.shape[1]
        return {
            "prototypes": like.new_zeros(classes, self.projection),
            "queue": normalise(torch.randn(self.queue, self.projection)).to(like),
            "queue_labels": torch.full((self.queue,), classes, device=like.device),
            **average_from(params),
        }

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """One step in the order of the release."""
        logits, queries = net(batch.features, give="both")
        memory, weights = batch.memory, batch.weights
        with torch.no_grad():
            constant_queries = queries.detach()
            labels = likeliest(logits, batch.candidates)
            pseudo_labels = one_hot(labels, weights)
            nearest = one_hot(likeliest(constant_queries @ memory["prototypes"].T, batch.candidates), weights)
            keys, average = averaged_keys(net, batch, self.key_momentum)
            started = batch.epoch >= self.start
            phi = torch.where(started, eased(batch.epoch, self.epochs, self.phi_start, self.phi_end), 1.0)
            weights = weights + (1 - phi) * (nearest - weights)
            carried = {
                "prototypes": move_prototypes(
                    memory["prototypes"], constant_queries, pseudo_labels, self.prototype_momentum
                ),
                "queue": enqueue(memory["queue"], keys),
                "queue_labels": enqueue(memory["queue_labels"], labels),
                **average,
            }
            queue = Compared(memory["queue"], one_hot(memory["queue_labels"], weights))
        contrast = queue_contrast(Compared(queries, pseudo_labels), keys, queue, self.contrast_temperature, started)
        classification = soft_cross_entropy(Output(logits), weights)
        notes = {"classification": classification, "contrast": contrast}
        return classification + self.contrast * contrast, Update(weights, carried, notes=notes)
