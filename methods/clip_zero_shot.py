"""Zero-shot CLIP: the cosine of image and class text, nothing learned.

Family: clip (CLIP's own classifier, adapted).

score(x, c) = x . t_c

Every other method must be compared with this one: a method that scores lower would do better without training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pzsl_bench.blocks.clip_space import InClipSpace, check_space
from pzsl_bench.contract import Citation, ClosedForm, State, Study, method


@method(
    "clip_zero_shot",
    title="CLIP zero-shot",
    family="clip",
    citation=Citation(
        "Radford et al.",
        "Learning Transferable Visual Models From Natural Language Supervision",
        "ICML",
        2021,
        "https://arxiv.org/abs/2103.00020",
    ),
    reference=True,
)
@dataclass(frozen=True)
class ClipZeroShot(InClipSpace, ClosedForm):
    """The encoder as it is."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classes", "tags"})

    def solve(self, study: Study) -> State:
        """Nothing to learn."""
        check_space(self.info.name, study)
        return {}

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, d) -> (M, C) cosines."""
        return features @ texts.T
