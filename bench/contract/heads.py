"""The trainable heads that gradient methods share."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract.study import Study, normalise

HEADS = ("auto", "cosine", "linear", "mlp")
"""The kinds that `build_head` builds."""
MOVES = ("both", "images", "classes")
"""What a cosine head may move."""
SPEED = 30.0
"""Factor by which the logarithm of a learned scale moves faster than other parameters."""
IMAGE_REACH = 28.0
"""How far an adapter moves images, in units of one over the logit scale: logits then change alike for all encoders."""
CLASS_REACH = 4.5
"""How far a step moves a class vector at most, in units of the learning rate, whatever the number of its entries."""


ALREADY_STANDARD = 0.02
"""How far the mean square root of entries may be from one for features to be left as they are."""
INPUT_VERSION = 2
"""Raised when linear and MLP heads read their features in another way."""


class Dense(nn.Module):
    """x W + b with W stored as (in, out).

    The gradient of a stacked weight then leaves the backward product contiguous, and the fused optimisers take it
    without a copy; nn.Linear's (out, in) layout costs one more pass over all parameters in every step.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in) -> (B, out)."""
        return x @ self.weight + self.bias


def classifier(inputs: int, classes: int) -> Dense:
    """A last layer, initialised as in the partial-label literature: Xavier-uniform weights, a bias of zero."""
    layer = Dense(inputs, classes)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Head(nn.Module):
    """A head in two steps: `embed` makes features of its own, `logits` scores classes by them."""

    width: int
    """Width of the features that `embed` makes."""

    def embed(self, features: Tensor) -> Tensor:
        """(B, d) -> (B, width) the features that `logits` reads."""
        raise NotImplementedError

    def logits(self, embedded: Tensor, texts: Tensor) -> Tensor:
        """(B, width), (C, a) -> (B, C)."""
        raise NotImplementedError

    def forward(self, features: Tensor, texts: Tensor) -> Tensor:
        """(B, d), (C, a) -> (B, C)."""
        return self.logits(self.embed(features), texts)


class FromZero(nn.Module):
    """A part of a head that changes nothing before training: some of its parameters, `grown`, start at zero.

    After training their share `kept` is kept. As what the part does is nearly linear in them, this is a weighted mean
    of the trained head and of the encoder's own classifier.
    """

    grown: ClassVar[tuple[str, ...]]
    """Names of the parameters that start at zero."""
    kept: float


class Adapter(FromZero):
    """Moves images: x + reach W2 relu(W1 x), with W2 starting at zero."""

    grown: ClassVar[tuple[str, ...]] = ("up.weight", "up.bias")

    def __init__(self, width: int, hidden: int, reach: float = 1.0, kept: float = 1.0):
        super().__init__()
        self.reach, self.kept = reach, kept
        self.down = Dense(width, hidden)
        self.up = Dense(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    @classmethod
    def of(cls, study: Study, hidden: int, encoder_counts: float) -> Adapter:
        """An adapter whose reach suits the study's logit scale."""
        width = study.features.shape[-1]
        return cls(width, hidden, IMAGE_REACH / study.scale, kept_share(study, encoder_counts))

    def forward(self, features: Tensor) -> Tensor:
        """(B, d) -> (B, d) adapted unit vectors."""
        return normalise(features + self.reach * self.up(torch.relu(self.down(features))))


class ClassResidual(FromZero):
    """Moves class vectors: a row is added to the text of each seen class. Other classes keep their texts."""

    grown: ClassVar[tuple[str, ...]] = ("rows",)

    def __init__(self, classes: int, width: int, reach: float = 1.0, kept: float = 1.0):
        super().__init__()
        self.reach, self.kept = reach, kept
        self.rows = nn.Parameter(torch.zeros(classes, width))

    @classmethod
    def of(cls, study: Study, encoder_counts: float) -> ClassResidual:
        """A residual whose reach suits the study's width."""
        classes, width = study.texts.shape
        return cls(classes, width, CLASS_REACH / math.sqrt(width), kept_share(study, encoder_counts))

    def moved(self, texts: Tensor) -> Tensor:
        """(C, d) -> (K, d) texts of the seen classes with their rows, of any length."""
        return texts[: len(self.rows)] + self.reach * self.rows

    def forward(self, texts: Tensor) -> Tensor:
        """(C, d) -> (C, d) unit class vectors; the first rows are the seen classes."""
        seen = normalise(self.moved(texts))
        return seen if len(texts) == len(seen) else torch.cat([seen, texts[len(seen) :]])


class CosineHead(Head):
    """Scaled cosines of images and class texts; an adapter may move the images, a residual the texts of seen classes.

    Training starts at zero-shot CLIP, and the same head scores classes it never saw. The scale starts at the encoder's
    own. With a fixed scale, a loss with flat targets can only be lowered by flattening the features themselves, which
    ruins them; a learned scale can become smaller instead.
    """

    def __init__(
        self,
        width: int,
        scale: float,
        learn_scale: bool = False,
        adapter: Adapter | None = None,
        residual: ClassResidual | None = None,
    ):
        super().__init__()
        self.width = width
        self.adapter = adapter
        self.residual = residual
        self.scale = scale
        self.log_scale = nn.Parameter(torch.zeros(())) if learn_scale else None

    def embed(self, features: Tensor) -> Tensor:
        """(B, d) -> (B, d) adapted unit vectors."""
        return normalise(features) if self.adapter is None else self.adapter(features)

    def logits(self, embedded: Tensor, texts: Tensor) -> Tensor:
        """(B, d), (C, d) -> (B, C)."""
        if self.log_scale is not None:
            embedded = embedded * torch.exp(SPEED * self.log_scale)
        return embedded @ (self.scale * (texts if self.residual is None else self.residual(texts))).T


class LinearHead(Head):
    """One linear layer to the seen classes, of features times `reach`; it cannot score a class it never saw."""

    def __init__(self, width: int, classes: int, reach: float = 1.0):
        super().__init__()
        self.width, self.reach = width, reach
        self.out = classifier(width, classes)

    def embed(self, features: Tensor) -> Tensor:
        """(B, d) -> (B, d) the features, at the length that the layer is made for."""
        return features if self.reach == 1 else self.reach * features

    def logits(self, embedded: Tensor, texts: Tensor) -> Tensor:
        """(B, d) -> (B, K); the texts are not used."""
        logits: Tensor = self.out(embedded)
        return logits


class MLPHead(Head):
    """One hidden layer to the seen classes, of features times `reach`; it cannot score a class it never saw."""

    def __init__(self, width: int, hidden: int, classes: int, reach: float = 1.0):
        super().__init__()
        self.width, self.reach = hidden, reach
        self.inner = Dense(width, hidden)
        self.out = classifier(hidden, classes)

    def embed(self, features: Tensor) -> Tensor:
        """(B, d) -> (B, hidden) the hidden layer."""
        return torch.relu(self.inner(features if self.reach == 1 else self.reach * features))

    def logits(self, embedded: Tensor, texts: Tensor) -> Tensor:
        """(B, hidden) -> (B, K); the texts are not used."""
        logits: Tensor = self.out(embedded)
        return logits


def build_head(
    kind: str, study: Study, hidden: int, learn_scale: bool = False, moves: str = "both", encoder_counts: float = 0.0
) -> Head:
    """The head of that kind for a study's sizes; `moves` and `encoder_counts` are for a cosine head."""
    width, (classes, text_width) = study.features.shape[-1], study.texts.shape
    if kind == "cosine" or (kind == "auto" and study.aligned):
        if text_width != width:
            raise UserError(
                f"a cosine head needs images and class texts of one width, not {width} and {text_width};"
                " head: linear or mlp works without texts"
            )
        adapter = Adapter.of(study, hidden, encoder_counts) if moves != "classes" else None
        residual = ClassResidual.of(study, encoder_counts) if moves != "images" else None
        return CosineHead(width, study.scale, learn_scale, adapter, residual)
    if kind == "mlp":
        return MLPHead(width, hidden, classes, input_reach(study))
    return LinearHead(width, classes, input_reach(study))


def input_reach(study: Study) -> float:
    """The factor that gives the entries of a study's features a mean square of one, as standardised columns have it.

    The rate of learning of a linear layer suits such entries. Those of unit rows are shorter by the root of their
    number, and a layer on them hardly leaves its start.
    """
    reach = float(study.features.square().mean().rsqrt())
    return 1.0 if abs(reach - 1) < ALREADY_STANDARD or not math.isfinite(reach) else reach


def uses_input_reach(head: str, aligned: bool) -> bool:
    """Whether `build_head` makes a head that depends on `input_reach`."""
    return head in ("linear", "mlp") or (head == "auto" and not aligned)


def kept_share(study: Study, encoder_counts: float) -> float:
    """The share of what was learnt that is kept if the encoder's own classifier counts for so many images a class."""
    images = len(study.features) / len(study.texts)
    return images / (images + encoder_counts)
