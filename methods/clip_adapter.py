"""CLIP-Adapter: a bottleneck on the image side, blended with the image itself.

Family: clip (CLIP's own classifier, adapted).

A(x) = relu(W2 relu(W1 x)),   x' = ratio A(x) + (1 - ratio) x,   score(x, c) = scale cos(x', t_c)

Class texts stay the classifier, so classes that were never seen are scored with the same adapter. The layers have no
bias, so the blend of an image keeps its direction when the image is scaled to unit length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pzsl_bench.blocks.clip_space import CANDIDATE_DEVIATIONS, Tempered, Tuned, check_space
from pzsl_bench.contract import Citation, State, Study, hyper, method, normalise


class Adapter(Tempered):
    """Two layers without bias, each followed by a ReLU."""

    def __init__(self, study: Study, reduction: int, learn_scale: bool):
        super().__init__(study.scale, learn_scale)
        width = study.features.shape[-1]
        hidden = max(1, width // reduction)
        self.down = nn.Parameter(_uniform(width, hidden))
        self.up = nn.Parameter(_uniform(hidden, width))

    def forward(self, features: Tensor, texts: Tensor, ratio: float | Tensor) -> Tensor:
        """(B, d), (C, d) -> (B, C)."""
        adapted = torch.relu(torch.relu(features @ self.down) @ self.up)
        blend = normalise(ratio * adapted + (1 - ratio) * features)
        return self.tempered(self.scale * blend @ normalise(texts).T)


def _uniform(inputs: int, outputs: int) -> Tensor:
    """(inputs, outputs) as torch starts a linear layer."""
    return torch.empty(inputs, outputs).uniform_(-(inputs**-0.5), inputs**-0.5)


@method(
    "clip_adapter",
    title="CLIP-Adapter",
    family="clip",
    citation=Citation(
        "Gao, Geng, Zhang, Ma, Fang, Zhang, Li and Qiao",
        "CLIP-Adapter: Better Vision-Language Models with Feature Adapters",
        "International Journal of Computer Vision",
        2024,
        "https://arxiv.org/abs/2110.04544",
    ),
    deviations=(
        "AdamW with a cosine schedule replaces SGD.",
        "The scale of the cosine is learned (temperature: fixed keeps the encoder's own): with flat soft labels a fixed"
        " scale can only be met by flattening the features.",
        *CANDIDATE_DEVIATIONS,
        "Only the adapter on the image side, as in the release; the paper also tries one on the text side.",
    ),
)
@dataclass(frozen=True)
class ClipAdapter(Tuned):
    """A visual adapter."""

    ratio: float = hyper(0.2, "share of the adapter in the blend", search=(0.05, 0.8), below=1)
    reduction: int = hyper(4, "how many times narrower the hidden layer is", above=0)

    def module(self, study: Study) -> nn.Module:
        """The adapter."""
        check_space(self.info.name, study)
        return Adapter(study, self.reduction, self.temperature == "learned")

    def given(self, memory: State) -> dict[str, Any]:
        """The share of the adapter in the blend."""
        return {"ratio": self.ratio}
