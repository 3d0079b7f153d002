"""Linear probe: a softmax classifier that starts as the zero-shot one.

Family: clip (CLIP's own classifier, adapted).

score(x, c) = x w_c for seen classes, with w_c starting at scale t_c;   scale x . t_c for others

Only seen classes are in the softmax, so the other classes are scored as the encoder scores them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pzsl_bench.blocks.clip_space import CANDIDATE_DEVIATIONS, Tuned, check_space
from pzsl_bench.contract import Citation, Study, hyper, method


class Probe(nn.Module):
    """One learned row of each seen class."""

    def __init__(self, study: Study):
        super().__init__()
        self.scale = study.scale
        self.weight = nn.Parameter(self.zero_shot(study.texts))

    def zero_shot(self, texts: Tensor) -> Tensor:
        """(C, d) -> (d, C) the encoder's own classifier."""
        return self.scale * texts.T

    def forward(self, features: Tensor, texts: Tensor) -> Tensor:
        """(B, d), (C, d) -> (B, C)."""
        return features @ torch.cat([self.weight, self.zero_shot(texts[self.weight.shape[1] :])], dim=1)


@method(
    "linear_probe",
    title="Linear probe",
    family="clip",
    citation=Citation(
        "Radford et al.",
        "Learning Transferable Visual Models From Natural Language Supervision",
        "ICML",
        2021,
        "https://arxiv.org/abs/2103.00020",
    ),
    deviations=(
        "Starts at the zero-shot classifier, as WiSE-FT does, and has no bias; CLIP's own probe is a logistic"
        " regression from zero, fitted by L-BFGS with a penalty chosen on validation images.",
        *CANDIDATE_DEVIATIONS,
        "Trained by AdamW with a cosine schedule.",
    ),
)
@dataclass(frozen=True)
class LinearProbe(Tuned):
    """Softmax regression."""

    lr: float = hyper(3e-2, "learning rate at the start", search=(1e-3, 1.0), above=0)
    temperature: str = hyper("fixed", "the weights have a length of their own, which is learned", choices=("fixed",))

    def module(self, study: Study) -> nn.Module:
        """The classifier."""
        check_space(self.info.name, study)
        return Probe(study)
