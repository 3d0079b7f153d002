"""Weak assume-negative: a tag that nothing is said of counts as absent, with a small weight.

Family: tags (images with several tags).

loss = mean_i,k  y_ik softplus(-z_ik) + w_ik softplus(z_ik)
w = 1 where a tag is marked absent, 1 / (K - 1) where nothing is said of it

With one tag marked present and nothing else said, the paper's case, both sides of an image weigh the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.tag_heads import COLE, HEAD, BinaryTagger, is_absent, is_present
from pzsl_bench.contract import hyper, method


@method(
    "wan",
    title="WAN",
    family="tags",
    citation=COLE,
    deviations=(HEAD, "Tags that are marked absent, which the paper's images do not have, count fully."),
)
@dataclass(frozen=True)
class WeakAssumeNegative(BinaryTagger):
    """Assumed absences with a small weight."""

    unknown_weight: float = hyper(0.0, "weight of a tag that nothing is said of; 0: 1 / (number of tags - 1)")

    def sides(self, marks: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) weights of "present" and of "absent"."""
        setting = torch.as_tensor(self.unknown_weight, dtype=marks.dtype, device=marks.device)
        weak = torch.where(setting > 0, setting, 1 / max(marks.shape[-1] - 1, 1))
        return is_present(marks), is_absent(marks) + weak * (marks == 0)
