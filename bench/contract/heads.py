"""The trainable heads that gradient methods share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract.study import Study, normalise

HEADS = ("auto", "cosine", "linear", "mlp")
"""The kinds that `build_head` builds."""
SPEED = 30.0
"""Factor by which the logarithm of a learned scale moves faster than other parameters."""


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


class CosineHead(Head):
    """A residual adapter on the image side, then scaled cosine to the class texts.

    x' = x + W2 relu(W1 x) with W2 starting at zero, so training starts at zero-shot CLIP and the same head scores
    classes it never saw. The scale starts at the encoder's own. With a fixed scale, a loss with flat targets can only
    be lowered by flattening the features themselves, which ruins them; a learned scale can become smaller instead.
    """

    def __init__(self, width: int, hidden: int, scale: float, learn_scale: bool = False):
        super().__init__()
        self.width = width
        self.down = Dense(width, hidden)
        self.up = Dense(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.scale = scale
        self.log_scale = nn.Parameter(torch.zeros(())) if learn_scale else None

    def embed(self, features: Tensor) -> Tensor:
        """(B, d) -> (B, d) adapted unit vectors."""
        return normalise(features + self.up(torch.relu(self.down(features))))

    def logits(self, embedded: Tensor, texts: Tensor) -> Tensor:
        """(B, d), (C, d) -> (B, C)."""
        if self.log_scale is not None:
            embedded = embedded * torch.exp(SPEED * self.log_scale)
        return embedded @ (self.scale * texts).T


class LinearHead(Head):
    """One linear layer to the seen classes; it cannot score a class it never saw."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.width = width
        self.out = classifier(width, classes)

    def embed(self, features: Tensor) -> Tensor:
        """(B, d) -> (B, d) the features as they are."""
        return features

    def logits(self, embedded: Tensor, texts: Tensor) -> Tensor:
        """(B, d) -> (B, K); the texts are not used."""
        logits: Tensor = self.out(embedded)
        return logits


class MLPHead(Head):
    """One hidden layer to the seen classes; it cannot score a class it never saw."""

    def __init__(self, width: int, hidden: int, classes: int):
        super().__init__()
        self.width = hidden
        self.inner = Dense(width, hidden)
        self.out = classifier(hidden, classes)

    def embed(self, features: Tensor) -> Tensor:
        """(B, d) -> (B, hidden) the hidden layer."""
        return torch.relu(self.inner(features))

    def logits(self, embedded: Tensor, texts: Tensor) -> Tensor:
        """(B, hidden) -> (B, K); the texts are not used."""
        logits: Tensor = self.out(embedded)
        return logits


def build_head(kind: str, study: Study, hidden: int, learn_scale: bool = False) -> Head:
    """The head of that kind for a study's sizes."""
    width, (classes, text_width) = study.features.shape[-1], study.texts.shape
    if kind == "cosine" or (kind == "auto" and text_width == width):
        if text_width != width:
            raise UserError(
                f"a cosine head needs images and class texts of one width, not {width} and {text_width};"
                " head: linear or mlp works without texts"
            )
        return CosineHead(width, hidden, study.scale, learn_scale)
    if kind == "mlp":
        return MLPHead(width, hidden, classes)
    return LinearHead(width, classes)
