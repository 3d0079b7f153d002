"""PiCO+: PiCO on the images near to their prototypes; the others get neighbours for positives and guessed labels.

Family: pll (partial-label learning).

The true label may be missing from a candidate set.

distance_i = -q_i mu_k with the old prototypes, k = argmax_S p_i
reliable: the share `pure` of the images with the smallest distances of the epoch before
y_i = argmax_S p_i of a reliable image, argmax p_i of another;   only reliable images move prototypes
w_i <- phi w_i + (1 - phi) onehot(argmax_S q_i mu_k);   v_i = w_i of a reliable image, softmax(q_i mu / T) of another
loss = mixup + c mean_reliable H(w_i, p_i) + u mean_others H(v_i, p_i)
       + mean_i a_i contrast(q_i; positives of i) + u mean_i contrast(q_i; all of the same y)

The positives of a reliable image are the reliable ones of the same y, those of another image its `neighbours` nearest
queries, keys and queued keys; its own key belongs to both. a_i is the weight of the contrast for a reliable image and u
for another; before neighbours are used (`neighbours_start`), it is 1. mixup is the cross entropy of l x_i + (1 - l) x_j
with l v_i + (1 - l) v_j, l = max(l', 1 - l'), l' ~ Beta(b, b). Until `start` epochs are over it is PiCO's warm-up.

`pure` is what a user assumes of the data; nothing of it is read from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.chosen_images import mean_over
from pzsl_bench.blocks.contrast import (
    Compared,
    averaged_keys,
    eased,
    enqueue,
    exclusion_logits,
    likeliest,
    move_prototypes,
    one_hot,
    queue_contrast,
)
from pzsl_bench.blocks.mixup import larger_share, mix
from pzsl_bench.contract import Batch, Citation, Net, Output, State, Study, Update, hyper, method, soft_cross_entropy
from pzsl_bench.methods.pico import PICO_DEVIATIONS, Pico

ROUNDING = 1e-3
"""Added to the number of reliable images, so that what is a whole number but for rounding is not cut down by one."""


@method(
    "pico_plus",
    title="PiCO+",
    family="pll",
    citation=Citation(
        "Wang, Xiao, Li, Feng, Niu, Chen and Zhao",
        "PiCO+: Contrastive Label Disambiguation for Robust Partial Label Learning",
        "TPAMI",
        2024,
        "https://arxiv.org/abs/2201.08984",
    ),
    deviations=(
        *PICO_DEVIATIONS,
        "Features are mixed instead of pixels.",
        "Neighbours take part after 4 of 30 epochs, in the release after 100 of 800 (neighbours_start). Prototypes"
        " decide after the first epoch, in the release after 5 or 50. A warm-up of 5 of our epochs is better without"
        " noise, and with much of it some runs never recover from having believed all candidates.",
        "Four fifths of the images count as reliable instead of three fifths (pure).",
        "Where all images are reliable, the mean over the others is 0; in the release it is not a number.",
    ),
)
@dataclass(frozen=True)
class PicoPlus(Pico):
    """PiCO that tells reliable images from others."""

    pure: float = hyper(0.8, "share of the images that count as reliable", search=(0.4, 0.95), below=1.0000001)
    neighbours: int = hyper(16, "nearest vectors that are positives of an unreliable image, itself among them", above=0)
    neighbours_start: int = hyper(4, "epochs before neighbours are positives")
    guess_temperature: float = hyper(0.07, "T, temperature of guessed labels", search=(0.03, 0.3), above=0)
    unreliable: float = hyper(0.1, "u, weight of what unreliable images are told", search=(0.01, 1.0))
    certain: float = hyper(2.0, "c, weight of the labels of reliable images", search=(0.5, 5.0))
    mixup: int = hyper(4, "b of the Beta(b, b) from which mixtures are drawn", above=0)

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """One mixture for the batch, and every image's partner."""
        return {"share": (2 * self.mixup - 1,), "partners": (images,)}

    def tables(self, study: Study) -> State:
        """(N,) the distance to its prototype when the image was last seen, and whether it is reliable."""
        images = study.features[:, 0]
        return {"distance": torch.zeros_like(images), "reliable": torch.ones_like(images, dtype=torch.bool)}

    def memory(self, study: Study, params: State) -> State:
        """Also whether the queued keys are of reliable images."""
        queued = torch.zeros(self.queue, dtype=torch.bool, device=study.features.device)
        return {**super().memory(study, params), "queue_reliable": queued}

    def extra_floats(self, study: Study) -> int:
        """Pairs of a batch's images with all that they are compared with: cosines, shares, positives and gradients."""
        images = min(self.batch, len(study.features))
        return 5 * images * (2 * images + self.queue)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """One step in the order of the release."""
        logits, queries = net(batch.features, give="both")
        memory, weights, reliable = batch.memory, batch.weights, batch.rows["reliable"]
        started, prototypes = batch.epoch >= self.start, memory["prototypes"]
        with torch.no_grad():
            constant = queries.detach()
            likely = likeliest(logits, batch.candidates)
            labels = torch.where(reliable, likely, logits.argmax(-1))
            pseudo_labels = one_hot(labels, weights)
            scores = constant @ prototypes.T
            distance = -scores.gather(-1, likely.unsqueeze(-1)).squeeze(-1)
            nearest = one_hot(likeliest(scores, batch.candidates), weights)
            phi = torch.where(started, eased(batch.epoch, self.epochs, self.phi_start, self.phi_end), 1.0)
            weights = weights + (1 - phi) * (nearest - weights)
            guessed = (scores / self.guess_temperature).softmax(-1)
            keys, average = averaged_keys(net, batch, self.key_momentum)
            moving = pseudo_labels * reliable.unsqueeze(-1)
            carried = {
                "prototypes": move_prototypes(prototypes, constant, moving, self.prototype_momentum),
                "queue": enqueue(memory["queue"], keys),
                "queue_labels": enqueue(memory["queue_labels"], labels),
                "queue_reliable": enqueue(memory["queue_reliable"], reliable),
                **average,
            }
            share, partners = larger_share(batch.dice["share"], self.mixup), batch.dice["partners"].argsort(stable=True)
            told = torch.where(reliable.unsqueeze(-1), weights, guessed)
        output = Output(logits)
        surprise = -(told * output.log_probs).sum(-1)
        sure, unsure = mean_over(reliable, surprise), mean_over(~reliable, surprise)
        mixed = Output(net(mix(batch.features, partners, share)))
        mixture = soft_cross_entropy(mixed, mix(told, partners, share))
        classification = mixture + self.certain * sure + self.unreliable * unsure
        contrast = self.contrasted(queries, keys, labels, batch)
        queue = Compared(memory["queue"], one_hot(memory["queue_labels"], weights))
        never = torch.zeros((), dtype=torch.bool, device=logits.device)
        alone = queue_contrast(Compared(queries, pseudo_labels), keys, queue, self.contrast_temperature, never)
        first = soft_cross_entropy(output, weights) + self.contrast * alone
        notes = {
            "mixture": mixture,
            "reliable": sure,
            "guessed": unsure,
            "contrast": torch.where(started, contrast, alone),
        }
        loss = torch.where(started, classification + contrast, first)
        return loss, Update(weights, carried, {"distance": distance}, notes)

    def contrasted(self, queries: Tensor, keys: Tensor, labels: Tensor, batch: Batch) -> Tensor:
        """Both contrasts after the warm-up: with chosen positives, and with all of the same pseudo-label."""
        memory, reliable, images = batch.memory, batch.rows["reliable"], len(queries)
        others = torch.cat([queries, keys, memory["queue"]])
        itself = torch.eye(images, len(others), dtype=torch.bool, device=queries.device)
        cosines = queries @ others.T
        log_shares = (cosines / self.contrast_temperature + exclusion_logits(itself, queries)).log_softmax(-1)
        with torch.no_grad():
            alike = labels.unsqueeze(-1) == torch.cat([labels, labels, memory["queue_labels"]])
            all_reliable = torch.cat([reliable, reliable, memory["queue_reliable"]])
            chosen = alike & reliable.unsqueeze(-1) & all_reliable
            near = cosines >= cosines.topk(min(self.neighbours, len(others)), dim=-1).values[..., -1:]
            with_neighbours = batch.epoch >= self.neighbours_start
            chosen = chosen | (near & ~reliable.unsqueeze(-1) & with_neighbours)
            chosen = chosen | itself.roll(images, dims=-1)
            weights = torch.where(reliable, self.contrast, self.unreliable)
            weights = torch.where(with_neighbours, weights, 1.0)
        by_choice = mean_share(log_shares, chosen & ~itself)
        return -(weights * by_choice).mean() - self.unreliable * mean_share(log_shares, alike & ~itself).mean()

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        """Choose the reliable images of the next epoch."""
        if epoch + 1 < self.start:
            return Update()
        place = tables["distance"].argsort(stable=True).argsort()
        return Update(rows={"reliable": place + 1 <= self.pure * len(place) + ROUNDING})


def mean_share(log_shares: Tensor, positives: Tensor) -> Tensor:
    """(B, A) -> (B,) mean over the positives of an image."""
    return (log_shares * positives).sum(-1) / positives.sum(-1)
