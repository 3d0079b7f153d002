"""The trainable heads that gradient methods share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pzsl_bench.contract import Study, normalise


class CosineHead(nn.Module):
    """A residual adapter on the image side, then scaled cosine to the class texts.

    x' = x + W2 relu(W1 x) with W2 starting at zero, so training starts at zero-shot CLIP and the same head scores
    classes it never saw.
    """

    def __init__(self, width: int, hidden: int, scale: float):
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.scale = scale

    def forward(self, features: Tensor, texts: Tensor) -> Tensor:
        """(B, d), (C, d) -> (B, C)."""
        adapted = features + self.up(torch.relu(self.down(features)))
        return normalise(adapted) @ (self.scale * texts).T


class LinearHead(nn.Module):
    """One linear layer to the seen classes; it cannot score a class it never saw."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.out = nn.Linear(width, classes)

    def forward(self, features: Tensor, texts: Tensor) -> Tensor:
        """(B, d) -> (B, K); the texts are not used."""
        logits: Tensor = self.out(features)
        return logits


class MLPHead(nn.Module):
    """One hidden layer to the seen classes; it cannot score a class it never saw."""

    def __init__(self, width: int, hidden: int, classes: int):
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, classes)

    def forward(self, features: Tensor, texts: Tensor) -> Tensor:
        """(B, d) -> (B, K); the texts are not used."""
        logits: Tensor = self.out(torch.relu(self.inner(features)))
        return logits


def build_head(kind: str, study: Study, hidden: int) -> nn.Module:
    """The head of that kind for a study's sizes."""
    width, classes = study.features.shape[-1], study.texts.shape[0]
    if kind == "cosine":
        return CosineHead(width, hidden, study.scale)
    if kind == "linear":
        return LinearHead(width, classes)
    return MLPHead(width, hidden, classes)
