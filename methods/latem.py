"""LatEm: several bilinear compatibilities, of which every pair of image and class takes the best.

Family: zsl (zero-shot learning from true labels).

F(x, s) = max_m x W_m s
c ~ q_i, wrong ~ uniform outside of Y_i;   loss = mean_i max(0, margin + F(wrong) - F(c))

Only the maps that give the largest score of the two classes move, or one map where it does so for both: this is the
gradient of the maximum.
With batches of one image and plain SGD this is the paper's update; a batch takes the mean of the updates at the same
maps.

The paper starts every map at N(0, 1 / d) (`start: zeros`, `spread: 1`) and chooses between 2 and 10 maps. The release
uses lr 1e-3, margin 1 and ten epochs with images standardised by rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pzsl_bench.blocks.compatibility import RANKING_DEVIATIONS, Bilinear, Ranked
from pzsl_bench.blocks.ranking import draw_marked, of_class
from pzsl_bench.contract import Batch, Citation, Output, Study, hyper, method


@method(
    "latem",
    title="LatEm",
    family="zsl",
    version=2,
    citation=Citation(
        "Xian, Akata, Sharma, Nguyen, Hein and Schiele",
        "Latent Embeddings for Zero-shot Classification",
        "CVPR",
        2016,
        "https://arxiv.org/abs/1603.08895",
    ),
    deviations=(
        *RANKING_DEVIATIONS,
        "The number of maps is a setting, and the paper's pruning of maps that seldom win is left out: more maps favour"
        " seen classes. Without the encoder's scores, on the rehearsal of `shapes` without ambiguity, H is 72 with two"
        " and 60 to 64 with six.",
    ),
)
@dataclass(frozen=True)
class LatEm(Ranked):
    """Several bilinear maps."""

    matrices: int = hyper(2, "how many maps there are", above=0)
    spread: float = hyper(0.3, "size of the random part of every map before training", fixed=True)

    def module(self, study: Study) -> nn.Module:
        """The maps. They start with different noise, as equal maps would stay equal."""
        start = self.first_map(study)
        noise = torch.randn(self.matrices, *start.shape) / math.sqrt(len(start))
        return Bilinear(start + self.spread * noise)

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """Also one number to draw the class that is compared."""
        return {**super().dice(images, classes), "wrong": (images,)}

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The hinge of the class that was drawn; 0 where there is none outside."""
        outside = ~batch.candidates
        hinges = self.hinges(output.logits, self.positives(output.logits, batch)).relu() * outside
        return of_class(hinges, draw_marked(outside, batch.dice["wrong"])).mean()
