"""Methods that learn how well an image and a class description go together, one mini-batch at a time.

F(x, s) = x W s, or the largest of several such products. Any class with a description can be scored, seen or not.
Images and descriptions are centred on their training means (see `pzsl_bench.blocks.semantics`).

Where images and texts are from one encoder, its own scores of the images and texts as they are come on top (see
`pzsl_bench.blocks.prior`). The map starts at zero and weight decay pulls it there; at zero the ranking is that of
zero-shot CLIP.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.prior import Prior
from pzsl_bench.blocks.ranking import draw_class, of_class
from pzsl_bench.blocks.semantics import MIN_LENGTH, CentredBoth
from pzsl_bench.contract import Batch, Fed, Net, Output, State, Steady, Study, Update, hyper, normalise

CENTRING_DEVIATION = (
    "Images and class descriptions are centred on their training means, and descriptions scaled to unit length"
    " (center_images, center_texts): CLIP vectors lie in narrow cones."
)
RANKING_DEVIATIONS = (
    CENTRING_DEVIATION,
    "W starts at zeros, and without the encoder's scores at the identity where descriptions are of the images' encoder"
    " (start): random numbers in directions that no seen class has would stay and blur unseen ones.",
    "The paper knows no encoder of both (prior: none): where there is one, W is learnt on top of that encoder's scores"
    " at its own logit scale, and weight decay pulls to them.",
    "AdamW with a cosine schedule on batches replaces SGD on single images; with `optimiser: sgd`, `momentum: 0`,"
    " `weight_decay: 0`, `schedule: constant` and `batch: 1` it is that.",
    "The paper has true labels: the positive is drawn by the soft labels at every visit, and only classes outside of"
    " the candidate set are pushed down.",
)
"""Deviations of every ranking method here."""
Number = float | Tensor
STARTS = ("auto", "identity", "zeros", "random")


class Bilinear(nn.Module):
    """F(x, s) = max_m x W_m s."""

    def __init__(self, start: Tensor):
        super().__init__()
        self.weight = nn.Parameter(start)
        """(m, d, a)"""

    def forward(
        self,
        images: Tensor,
        semantics: Tensor,
        measure: str = "dot",
        own: Tensor | None = None,
        identity: Number = 0.0,
    ) -> Tensor:
        """(B, d), (C, a) -> (B, C) largest dot products, or cosines, or dot products of standardised projections.

        `own` (B, C) are the encoder's scores, which come on top; they are those of `identity` times the identity.
        """
        projected = images @ self.weight
        if own is not None and measure != "standardised":
            scores = (projected @ semantics.T).max(0).values + own
            if measure == "cosine":
                length = (projected + identity * images).norm(dim=-1, keepdim=True)
                scores = ((projected @ semantics.T + own) / length.clamp(min=MIN_LENGTH)).max(0).values
            return scores
        if own is not None:
            projected = projected + identity * images
        if measure == "cosine":
            projected, semantics = normalise(projected), normalise(semantics)
        elif measure == "standardised":
            spread = projected.std(-1, keepdim=True, correction=0)
            projected = (projected - projected.mean(-1, keepdim=True)) / spread.clamp(min=MIN_LENGTH)
        largest: Tensor = (projected @ semantics.T).max(0).values
        return largest


@dataclass(frozen=True)
class Compatibility(Prior, CentredBoth, Fed, Steady):
    """A gradient method whose module reads images and class descriptions after they were scaled and centred."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    images: str = hyper(
        "unit",
        "length of images: as they come, one, or columns of spread one",
        choices=("as_given", "unit", "standardised"),
    )
    strength: float = hyper(1.0, "weight of the encoder's scores, in units of its logit scale", above=0)
    evaluate: str = hyper("dot", "what classes are ranked by at the exam", choices=("dot", "cosine"))

    @property
    def needs(self) -> frozenset[str]:
        """Descriptions of the classes."""
        return super().needs | {"texts"}

    def memory(self, study: Study, params: State) -> State:
        """The means, and the spread of images, by which images and descriptions are centred and scaled."""
        images = normalise(study.features) if self.images == "unit" else study.features
        statistics = {"image_mean": self.image_mean(images), "text_mean": self.text_mean(study.texts)}
        if self.images == "standardised":
            spread = images.std(0, correction=0)
            statistics["image_spread"] = torch.where(spread > MIN_LENGTH, spread, torch.ones_like(spread))
        if self.from_encoder(study):
            length = self.text_length(study.texts, statistics["text_mean"]).to(study.texts.dtype)
            identity = self.identity(study, length, statistics)
            statistics |= {"identity": identity, "strength": identity / length}
        return statistics

    def identity(self, study: Study, length: Tensor, memory: State) -> Tensor:
        """The multiple of the identity, between centred images and texts, that the encoder's scores stand for."""
        return self.strength * study.scale * length

    def scaled(self, features: Tensor, memory: State) -> Tensor:
        """(B, d) images as they are fitted and scored."""
        images = (normalise(features) if self.images == "unit" else features) - memory["image_mean"]
        return images / memory["image_spread"] if self.images == "standardised" else images

    def meet(self, net: Net, features: Tensor, memory: State, **options: Any) -> Any:
        """Run the module on scaled images and centred descriptions: (B, C) scores, unless the options ask for more."""
        centred = replace(net, texts=self.semantics(net.texts, memory["text_mean"]))
        if "strength" in memory:
            own = memory["strength"] * (features @ net.texts.T)
            options = {**options, "own": own, "identity": memory["identity"]}
        return centred(self.scaled(features, memory), **options)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """The loss on the scores; nothing else changes."""
        return self.loss(Output(self.meet(net, batch.features, batch.memory)), batch), Update()

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) scores."""
        scores: Tensor = self.meet(net, features, memory, measure=self.evaluate)
        return scores


@dataclass(frozen=True)
class Ranked(Compatibility):
    """A bilinear compatibility that is trained to rank a candidate above the classes outside of the set."""

    head: str = hyper("bilinear", "how images meet labels: x W s", choices=("bilinear",))
    start: str = hyper(
        "auto",
        "W before training, on top of the encoder's scores if there are any; auto: identity where there are none and"
        " descriptions are of the images' encoder, else zeros",
        choices=STARTS,
    )
    positive: str = hyper(
        "drawn",
        "the candidate that is ranked: drawn by the soft labels at every visit, or the best-scored they allow",
        choices=("drawn", "best"),
    )
    margin: float = hyper(1.0, "how far it should lie above others", search=(1e-2, 1e1), above=0)

    @property
    def needs(self) -> frozenset[str]:
        """A start at the identity needs images and texts in one space."""
        return super().needs | ({"alignment"} if self.start == "identity" else set())

    def module(self, study: Study) -> nn.Module:
        """The bilinear map."""
        return Bilinear(self.first_map(study)[None])

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """One number for every image, to draw its positive."""
        return {"positive": (images,)} if self.positive == "drawn" else {}

    def positives(self, scores: Tensor, batch: Batch) -> Tensor:
        """(B,) the candidate of each image that is ranked above other classes."""
        if self.positive == "drawn":
            return draw_class(batch.weights, batch.dice["positive"])
        return scores.detach().masked_fill(batch.weights <= 0, -math.inf).argmax(-1)

    def hinges(self, scores: Tensor, positive: Tensor) -> Tensor:
        """(B, K) margin + score of the class - score of the positive: above zero where a class comes too close."""
        return self.margin + scores - of_class(scores, positive).unsqueeze(-1)

    def first_map(self, study: Study) -> Tensor:
        """(d, a) W before training."""
        width, semantics = study.features.shape[-1], study.texts.shape[-1]
        if self.start == "random":
            return torch.randn(width, semantics) / math.sqrt(width)
        without_identity = self.from_encoder(study) or width != semantics or not study.aligned
        if self.start == "zeros" or (self.start == "auto" and without_identity):
            return torch.zeros(width, semantics)
        if width != semantics:
            raise UserError(
                "start: identity needs class texts as wide as the images,"
                f" not {semantics} and {width} numbers; zeros and random take any"
            )
        return torch.eye(width)
