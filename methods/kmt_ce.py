"""KMT: a cross entropy whose label weights are corrected by the relevance of a label to the image.

Family: pll (partial-label learning).

loss = -mean_i sum_k d_ik q_ik log p_ik,   d_ik = (1 + cos(x_i, c_k)) / 2
q_i <- p_i on the labels whose old weight is above zero, rescaled to sum to one

x are the frozen features and c_k is the centre of class k: its text, or the mean of its images. The weights come from
the loss's own forward pass, as in `proden`, and d does not enter them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.contract import (
    SHARED_HEAD,
    Batch,
    Citation,
    Gradient,
    Output,
    State,
    Study,
    hyper,
    method,
    normalise,
    soft_cross_entropy,
)


@method(
    "kmt_ce",
    title="KMT (corrected CE)",
    family="pll",
    citation=Citation(
        "Fan, Huang, Gong, You, Gan and Wang",
        "KMT-PLL: K-Means Cross-Attention Transformer for Partial Label Learning",
        "IEEE TNNLS",
        2024,
        "https://doi.org/10.1109/TNNLS.2023.3347792",
    ),
    deviations=(
        "The corrected cross entropy alone, without the cross-attention transformer, which moves the centres along the"
        " gradient of this loss. Here they stay where they start, so relevance is computed once.",
        "Texts of the classes are the centres where they are as wide as images; centres: images takes the release's own"
        " start. Cosines of CLIP images and texts lie close together, so with texts the correction is a mild one.",
        "Weights start uniform on the candidates. In the release they start at one (start: ones), so a row's first"
        " visit weighs |S| times as much; Adam's second moments remember that for the whole of a short training. On"
        " `shapes`, flip at 0.5, H falls from 63 to 60, with centres: images from 63 to 19.",
        SHARED_HEAD,
    ),
)
@dataclass(frozen=True)
class KMT(Gradient):
    """PRODEN's weights, corrected by relevance in the loss."""

    centres: str = hyper(
        "auto",
        "what a class looks like: its text, or the mean of its images; auto: texts where they are as wide as images",
        choices=("auto", "texts", "images"),
    )
    start: str = hyper(
        "uniform", "weights at the start: uniform on the candidates, or one on each", choices=("uniform", "ones")
    )

    @property
    def needs(self) -> frozenset[str]:
        """Texts, if they are the centres."""
        return super().needs | ({"texts"} if self.centres == "texts" else set())

    def first_weights(self, study: Study) -> Tensor:
        """(N, K) uniform or one on the candidates."""
        return study.targets if self.start == "uniform" else study.candidates.to(study.targets)

    def tables(self, study: Study) -> State:
        """Relevance (N, K), which does not change."""
        return {"relevance": relevance(study.features, self.class_centres(study))}

    def class_centres(self, study: Study) -> Tensor:
        """(K, d) the centre of each class: its text, or the mean of its images."""
        same = study.texts.shape[1] == study.features.shape[1]
        if self.centres == "images" or (self.centres == "auto" and not same):
            return class_means(study.features, study.candidates)
        if not same:
            raise UserError(
                f"kmt_ce.centres: texts needs images and class texts of one width, not {study.features.shape[1]} and"
                f" {study.texts.shape[1]}; 'images' works without texts"
            )
        return study.texts

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the current weights, corrected by relevance."""
        return soft_cross_entropy(output, batch.rows["relevance"] * batch.weights)

    def refine(self, output: Output, batch: Batch) -> Tensor:
        """The prediction restricted to the support of the old weights."""
        return softmax_on(output.log_probs, batch.weights)


def relevance(features: Tensor, centres: Tensor) -> Tensor:
    """(B, d), (K, d) -> (B, K) cosines, moved to [0, 1]."""
    return 0.5 + 0.5 * normalise(features) @ normalise(centres).T


def class_means(features: Tensor, candidates: Tensor) -> Tensor:
    """(N, d), (N, K) bool -> (K, d) mean image of each class, over the images of which it is the only candidate.

    Where there are none, over all images of which it is a candidate. A class that is never a candidate has the centre
    zero, at a right angle to every image.
    """
    sure = candidates & (candidates.sum(1, keepdim=True) == 1)
    votes = torch.where(sure.any(0), sure, candidates).to(features)
    return votes.T @ features / votes.sum(0).clamp(min=1).unsqueeze(1)
