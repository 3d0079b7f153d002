"""TaskRes: a residual on the text of every seen class.

Family: clip (CLIP's own classifier, adapted).

t'_c = t_c + share R_c for seen classes, t_c for others,   score(x, c) = scale cos(x, t'_c)

R starts at zero, so training starts at zero-shot CLIP. Only seen classes are in the softmax and have a residual: every
image would push those of other classes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pzsl_bench.blocks.clip_space import CANDIDATE_DEVIATIONS, Tempered, Tuned, check_space
from pzsl_bench.contract import Citation, State, Study, hyper, method, normalise


class Residual(Tempered):
    """One learned row beside each seen text."""

    def __init__(self, study: Study, learn_scale: bool):
        super().__init__(study.scale, learn_scale)
        self.residual = nn.Parameter(torch.zeros_like(study.texts))

    def forward(self, features: Tensor, texts: Tensor, share: float | Tensor) -> Tensor:
        """(B, d), (C, d) -> (B, C)."""
        seen = len(self.residual)
        moved = torch.cat([texts[:seen] + share * self.residual, texts[seen:]])
        return self.tempered(self.scale * normalise(features) @ normalise(moved).T)


@method(
    "taskres",
    title="TaskRes",
    family="clip",
    citation=Citation(
        "Yu, Lu, Jin, Chen and Wang",
        "Task Residual for Tuning Vision-Language Models",
        "CVPR",
        2023,
        "https://arxiv.org/abs/2211.10277",
    ),
    deviations=(
        "The base is the unit class text; the release adds the residual to the text as the encoder leaves it, about ten"
        " times as long, so that a residual of one length turns a class less there.",
        "AdamW with a cosine schedule; the release has Adam with a warm-up epoch at a rate of 1e-5 before it.",
        "The scale of the cosine is learned (temperature: fixed keeps the encoder's own): with flat soft labels a fixed"
        " scale can only be met by making all texts alike.",
        *CANDIDATE_DEVIATIONS,
        "Without the enhanced base, a classifier that the release trains beforehand for a variant of the method.",
    ),
)
@dataclass(frozen=True)
class TaskRes(Tuned):
    """Text residuals."""

    share: float = hyper(0.5, "factor of the residual; 1 for fine-grained flowers in the release", above=0)

    def module(self, study: Study) -> nn.Module:
        """The residuals."""
        check_space(self.info.name, study)
        return Residual(study, self.temperature == "learned")

    def given(self, memory: State) -> dict[str, Any]:
        """The factor of the residual."""
        return {"share": self.share}
