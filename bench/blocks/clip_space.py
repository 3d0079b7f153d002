"""Methods that start at a joint encoder's zero-shot classifier and learn a little on top of it.

All of them compare images with class texts in one space. What they learn belongs to the seen classes. A class that was
never seen is scored by its text alone, as the encoder itself would score it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.contract import (
    Batch,
    Fed,
    Gradient,
    Method,
    Net,
    Output,
    State,
    Study,
    Update,
    hyper,
    soft_cross_entropy,
)
from pzsl_bench.contract.heads import SPEED

CANDIDATE_DEVIATIONS = (
    "The paper trains on true labels of a few images: here all training images are seen with soft labels, which follow"
    " the model's own confidence among the candidates as PRODEN's do (candidate_loss: soft keeps them as fed).",
)
"""A deviation of every method that is trained on top of the zero-shot classifier."""


@dataclass(frozen=True)
class InClipSpace(Method):
    """A method that needs class texts in the images' own space."""

    @property
    def needs(self) -> frozenset[str]:
        """Texts by the encoder of the images."""
        return super().needs | {"texts", "alignment"}


def check_space(name: str, study: Study) -> None:
    """Raise a UserError where images and texts differ in width, so that they cannot lie in one space."""
    width, semantics = study.features.shape[-1], study.texts.shape[-1]
    if width != semantics:
        raise UserError(
            f"{name} needs class texts in the images' own space, from an encoder of both,"
            f" but images have {width} numbers and texts {semantics}"
        )


class Tempered(nn.Module):
    """A module whose logits have the encoder's own scale, times a learned factor if `learn_scale`."""

    def __init__(self, scale: float, learn_scale: bool):
        super().__init__()
        self.scale = scale
        self.log_scale = nn.Parameter(torch.zeros(())) if learn_scale else None

    def tempered(self, logits: Tensor) -> Tensor:
        """(B, C) logits at the encoder's scale -> (B, C) at the learned scale."""
        return logits if self.log_scale is None else logits * torch.exp(SPEED * self.log_scale)


@dataclass(frozen=True)
class Tuned(InClipSpace, Fed, Gradient):
    """A gradient method on top of the zero-shot classifier: a subclass gives the module, and what its forward reads."""

    head: str = hyper("own", "how images meet labels: the method's own module", choices=("own",))
    candidate_loss: str = hyper(
        "proden",
        "soft: cross entropy with the labels as fed; proden: with labels that follow the model's own confidence",
        choices=("soft", "proden"),
    )

    def given(self, memory: State) -> dict[str, Any]:
        """Keyword arguments of the module's forward besides images and class texts."""
        return {}

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the current labels."""
        return soft_cross_entropy(output, batch.weights)

    def refine(self, output: Output, batch: Batch) -> Tensor | None:
        """The prediction on the labels that still have weight."""
        return softmax_on(output.log_probs, batch.weights) if self.candidate_loss == "proden" else None

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """The loss and the new labels, both from one forward pass."""
        output = Output(net(batch.features, **self.given(batch.memory)))
        loss = self.loss(output, batch)
        with torch.no_grad():
            return loss, Update(self.refine(output.detached(), batch))

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) logits; unseen classes by their texts."""
        scores: Tensor = net(features, **self.given(memory))
        return scores
