"""DEM: a network from class descriptions to prototype images; an image belongs to the nearest prototype.

Family: zsl (zero-shot learning from true labels).

f(s) = W2 relu(W1 s + b1) + b2
loss = mean_i sum_c q_ic |x_i - f(s_c)|^2,   score(x, s) = cos(x, f(s)) or -|x - f(s)|^2

Mapping classes to images rather than images to classes leaves fewer hubs, which are prototypes that are nearest to very
many images. The loss is exact in the soft labels q. With uniform candidates its best prototypes are means over all
images that have the class as a candidate. This pulls them towards the common mean, most of all for a class that is
often a wrong candidate, and changes directions less than distances.

The release for ResNet features is Adam with L2: `optimiser: adam`, `schedule: constant`, `last: relu`, `images:
as_given`, `evaluate: distance`, no centring, and by hidden, lr and L2: AWA1 1024 1e-4 1e-3, CUB 1200 1e-5 1e-2
(cosines), SUN 1600 1e-4 1e-5, aPY 1600 1e-4 1e-4, in batches of 64 (CUB 100). Its loss is a mean over the d numbers of
an image: weight_decay here is its L2 times d.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pzsl_bench.blocks.compatibility import CENTRING_DEVIATION, Compatibility
from pzsl_bench.blocks.least_squares import moments
from pzsl_bench.blocks.prior import least_squares_strength
from pzsl_bench.blocks.semantics import MIN_LENGTH
from pzsl_bench.contract import Batch, Citation, Output, State, Study, hyper, method, normalise
from pzsl_bench.contract.heads import Dense

SHARE = 1e-4
"""Size of what is learnt beside a class's own text, so that a step of the optimiser is small; chosen on rehearsals."""


class Prototypes(nn.Module):
    """Two layers from class descriptions to images."""

    def __init__(self, semantics: int, hidden: int, width: int, last: str):
        super().__init__()
        self.inner = Dense(semantics, hidden)
        self.out = Dense(hidden, width)
        self.last = last
        if last == "linear":
            # A random start would stay in the prototypes of classes that are never trained. A ReLU needs one, as it
            # could not leave zero.
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def prototypes(self, semantics: Tensor) -> Tensor:
        """(C, a) -> (C, d)."""
        outputs: Tensor = self.out(self.inner(semantics).relu())
        return outputs.relu() if self.last == "relu" else outputs

    def forward(
        self,
        images: Tensor,
        semantics: Tensor,
        measure: str = "distance",
        own: Tensor | None = None,
        identity: Tensor | None = None,
    ) -> Tensor:
        """(B, d), (C, a) -> (B, C) squared distances below zero, or cosines.

        With the encoder's scores `own`, a prototype is the class's own semantics, `identity` times, and what is learnt.
        """
        prototypes = self.prototypes(semantics)
        if own is not None and identity is not None:
            prototypes = SHARE * prototypes
            products, prototypes = images @ prototypes.T + own, prototypes + identity * semantics
            if measure == "cosine":
                cosines: Tensor = products / prototypes.norm(dim=-1).clamp(min=MIN_LENGTH)
                return cosines
            return 2 * products - prototypes.square().sum(-1) - images.square().sum(-1, keepdim=True)
        if measure == "cosine":
            return normalise(images) @ normalise(prototypes).T
        return 2 * images @ prototypes.T - prototypes.square().sum(-1) - images.square().sum(-1, keepdim=True)


@method(
    "dem",
    title="DEM",
    family="zsl",
    version=2,
    citation=Citation(
        "Zhang, Xiang and Gong",
        "Learning a Deep Embedding Model for Zero-Shot Learning",
        "CVPR",
        2017,
        "https://arxiv.org/abs/1611.05088",
    ),
    deviations=(
        CENTRING_DEVIATION,
        "The last layer is linear: the paper's ReLU suits features that are never negative, which CLIP's are not"
        " (`last: relu`). It starts at zero.",
        "Classes are ranked by cosines, as the release does on CUB only. Prototypes of uniform candidates are too short"
        " for distances: without the prior, on the rehearsal of `shapes`, flip at 0.3, H is 68 by cosines and 50 by"
        " distances.",
        "AdamW with a cosine schedule replaces Adam with L2 at a constant rate, and images are fixed features.",
        "The paper learns whole prototypes (prior: none); where images and texts are from one encoder, what is learnt"
        " is added to the class's own text, c s + f(s), with c from least squares.",
        "Only one kind of semantics is read: the paper's fusion of attributes and word vectors, and its recurrent"
        " reader of descriptions, are left out.",
        "The paper has true labels: soft labels weigh the distances to the prototypes of all candidates.",
    ),
)
@dataclass(frozen=True)
class DEM(Compatibility):
    """Regression from class descriptions to images."""

    head: str = hyper("prototypes", "how images meet labels: by distance to prototypes", choices=("prototypes",))
    hidden: int = hyper(256, "width of the inner layer", above=0)
    last: str = hyper("linear", "what the last layer ends with", choices=("linear", "relu"))
    strength: float = hyper(1.0, "size of a class's own semantics in its prototype, in units of the best", above=0)
    evaluate: str = hyper("cosine", "what classes are ranked by at the exam", choices=("cosine", "distance"))

    def identity(self, study: Study, length: Tensor, memory: State) -> Tensor:
        """The factor of class semantics that is nearest to the images, as the soft labels weigh them."""
        images, semantics = self.scaled(study.features, memory), self.semantics(study.texts, memory["text_mean"])
        nearness = (moments(study.targets, images) * semantics).sum()
        energy = (study.targets.sum(0, dtype=torch.float64) * semantics.square().sum(-1)).sum()
        return (self.strength * least_squares_strength(nearness, energy)).to(images.dtype)

    def module(self, study: Study) -> nn.Module:
        """The two layers."""
        return Prototypes(study.texts.shape[-1], self.hidden, study.features.shape[-1], self.last)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Squared distances to the prototypes of the candidates, as the soft labels weigh them."""
        return -(batch.weights * output.logits).sum(-1).mean()
