"""ABLE: an image is drawn to the images of each of its candidate labels, as strongly as it believes in the label.

Family: pll (partial-label learning).

loss = -mean_i sum_k w_ik log p_ik
       - a t/0.07 mean over the 2B anchors i of sum over the other 2B - 1 j of A_ij log softmax_j(z_i z_j / t)
A_ij = sum_{k in S_i} w_ik [y_j = k] / n_k,   y_j = argmax_S p_j,   n_k = images of the batch with y = k
w_i <- p_i on the candidates, rescaled to sum to one, from the same forward pass

Anchors are the projections z of two views of every image; labels and weights come from the plain one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.blocks.contrast import MIN_TEMPERATURE, Projecting, exclusion_logits, likeliest, one_hot
from pzsl_bench.contract import Batch, Citation, Net, Output, State, Study, Update, hyper, method

BASE_TEMPERATURE = 0.07


@method(
    "able",
    title="ABLE",
    family="pll",
    citation=Citation(
        "Xia, Lv, Xu and Geng",
        "Ambiguity-Induced Contrastive Learning for Instance-Dependent Partial Label Learning",
        "IJCAI",
        2022,
        "https://www.ijcai.org/proceedings/2022/502",
    ),
    deviations=(
        "The network is the shared head on frozen features with a two-layer projection of 64 instead of 128 dimensions"
        " beside it; the second view is a cached crop, or noise on the features (views: noise).",
        "The release reads the contrast's label weights of image i of a batch from image number i of the data set;"
        " here they are the image's own (weights_of: position brings the release back).",
        "Unseen classes are scored by the head; the projection has no part in it.",
    ),
)
@dataclass(frozen=True)
class Able(Projecting):
    """Ambiguity-induced contrastive learning."""

    looks: ClassVar[int] = 1

    contrast: float = hyper(1.0, "weight of the contrastive loss", search=(0.1, 2.0))
    contrast_temperature: float = hyper(
        0.1, "temperature of the contrastive loss", search=(0.03, 0.3), above=MIN_TEMPERATURE
    )
    weights_of: str = hyper(
        "image",
        "whose label weights the contrast uses; position: those of the data set's first images, as released",
        choices=("image", "position"),
    )

    def tables(self, study: Study) -> State:
        """The number of each image, which the released indexing needs."""
        if self.weights_of == "image":
            return {}
        return {"number": torch.arange(len(study.features), device=study.features.device)}

    def memory(self, study: Study, params: State) -> State:
        """For the released indexing: the label weights of the first images."""
        return {} if self.weights_of == "image" else {"first": self.first_weights(study)[: self.batch]}

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """Both losses with the old weights, and the new ones."""
        logits, plain = net(batch.features, give="both")
        other = net(batch.views[0], give="projection")
        output = Output(logits)
        classification = self.loss(output, batch)
        with torch.no_grad():
            refined = output.log_probs.masked_fill(~batch.candidates, float("-inf")).softmax(-1)
            labels = one_hot(likeliest(logits, batch.candidates), batch.weights)
            released = self.weights_of == "position"
            weights = batch.memory["first"][: len(logits)] if released else batch.weights
            memory = {"first": _with_rows(batch.memory["first"], batch.rows["number"], refined)} if released else {}
        contrast = ambiguous_contrast(plain, other, labels, weights * batch.candidates, self.contrast_temperature)
        notes = {"classification": classification, "contrast": contrast}
        return classification + self.contrast * contrast, Update(refined, memory, notes=notes)


def ambiguous_contrast(
    plain: Tensor, other: Tensor, labels: Tensor, weights: Tensor, temperature: float | Tensor
) -> Tensor:
    """The contrastive loss of (B, P) projections of two views; labels (B, K) one-hot, weights (B, K) on candidates.

    The positives of an anchor enter as weighted means of classes, so that only the denominators need every pair.
    """
    self_pairs = exclusion_logits(torch.eye(len(plain), dtype=torch.bool, device=plain.device), plain)
    cold_plain, cold_other = plain / temperature, other / temperature
    # In place: the pairs are by far the largest tensors here.
    across = (cold_plain @ other.T).exp_()
    of_plain = (cold_plain @ plain.T).add_(self_pairs).exp_().sum(1) + across.sum(1)
    of_other = (cold_other @ other.T).add_(self_pairs).exp_().sum(1) + across.sum(0)

    size = labels.sum(0)
    shares = labels / size.clamp(min=1)
    itself = (weights * shares).sum(-1)
    mass = 2 * (weights * (size > 0)).sum(-1) - itself
    both = plain + other
    attraction = (both * (weights @ (shares.T @ both))).sum(-1)
    to_itself = itself * (plain.square() + other.square()).sum(-1)
    loss = temperature * mass * (of_plain.log() + of_other.log()) - attraction + to_itself
    return loss.mean() / (2 * BASE_TEMPERATURE)


def _with_rows(first: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
    """(M, K) the first images' weights with those of the batch that are among them replaced."""
    # Images beyond the first ones are written to an extra last row, which is cut off again.
    places = numbers.clamp(max=len(first)).unsqueeze(-1).expand_as(rows)
    return torch.cat([first, torch.zeros_like(first[:1])]).scatter(0, places, rows)[:-1]
