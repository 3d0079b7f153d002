"""Dual prototypes: every tag has a text for "present" and one for "absent", made by maps that all tags share.

Family: tags (images with several tags).

t+ = unit(t + A+(t)),   t- = unit(mean of seen texts + A-(t)),   z = scale (x . t+ - x . t-),   p = sigmoid(z)

A+ and A- are small networks that start at zero, so training starts at the encoder's own ranking of an image's tags.
Images stay as they are. The loss is asymmetric: see `asl`.

DualCoOp learns two contexts of words for these two roles and weighs regions of the image. With frozen vectors there is
neither a text tower to learn through nor a region, so a map of the text vector takes the place of the context.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pzsl_bench.blocks.clip_space import Tempered, check_space
from pzsl_bench.blocks.tag_heads import UNKNOWN, Tagger, is_absent, is_present
from pzsl_bench.blocks.tag_losses import asymmetric
from pzsl_bench.contract import Batch, Citation, Output, Study, hyper, method, normalise
from pzsl_bench.contract.heads import Dense


class Shared(nn.Module):
    """A residual for every text, zero before training."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.down, self.up = Dense(width, hidden), Dense(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, texts: Tensor) -> Tensor:
        """(C, d) -> (C, d)."""
        residual: Tensor = self.up(torch.relu(self.down(texts)))
        return residual


class TwoPrototypes(Tempered):
    """Logits by the difference of two cosines."""

    def __init__(self, study: Study, hidden: int, learn_scale: bool):
        super().__init__(study.scale, learn_scale)
        width = study.texts.shape[-1]
        self.there, self.not_there = Shared(width, hidden), Shared(width, hidden)
        self.register_buffer("mean", study.texts.mean(0))

    def forward(self, features: Tensor, texts: Tensor) -> Tensor:
        """(B, d), (C, d) -> (B, C)."""
        there = normalise(texts + self.there(texts))
        not_there = normalise(self.mean + self.not_there(texts))
        return self.tempered(self.scale * normalise(features) @ (there - not_there).T)


@method(
    "dual_prototypes",
    title="Dual prototypes",
    family="tags",
    citation=Citation(
        "Sun, Hu and Saenko",
        "DualCoOp: Fast Adaptation to Multi-Label Recognition with Limited Annotations",
        "NeurIPS",
        2022,
        "https://arxiv.org/abs/2206.09541",
    ),
    deviations=(
        "A relative of the paper's method on frozen vectors, not the method: shared maps of text vectors replace"
        " learned contexts of words, and there is no weighing of regions.",
        "AdamW with a cosine schedule replaces SGD.",
    ),
)
@dataclass(frozen=True)
class DualPrototypes(Tagger):
    """A positive and a negative text for every tag."""

    head: str = hyper("own", "how images meet tags: two texts each", choices=("own",))
    gamma_positive: float = hyper(1.0, "exponent for present tags")
    gamma_negative: float = hyper(2.0, "exponent for absent tags")
    shift: float = hyper(0.05, "probability below which an absent tag costs nothing", below=1)
    unknown: str = hyper("negative", "tags that nothing is said of: absent, or left out", choices=UNKNOWN)

    def module(self, study: Study) -> nn.Module:
        """The two maps."""
        check_space(self.info.name, study)
        return TwoPrototypes(study, self.hidden, self.temperature == "learned")

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Mean of all entries."""
        present = (is_present(batch.marks), self.gamma_positive)
        absent = (is_absent(batch.marks, self.unknown), self.gamma_negative)
        return asymmetric(output.logits, (present, absent), self.shift).mean()
