"""Label-smoothed assume-negative: a tag that is not marked present counts as absent, with smoothed labels.

Family: tags (images with several tags).

loss = mean_i,k  (1 - eps) H(y_ik, z_ik) + eps H(1 - y_ik, z_ik),   H(y, z) = y softplus(-z) + (1 - y) softplus(z)

y is 1 where a tag is marked present and 0 elsewhere. Smoothing makes absences that were only assumed less
certain.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.tag_heads import COLE, HEAD, BinaryTagger, is_present
from pzsl_bench.contract import hyper, method


@method(
    "an_ls",
    title="AN-LS",
    family="tags",
    citation=COLE,
    deviations=(HEAD,),
)
@dataclass(frozen=True)
class SmoothedAssumeNegative(BinaryTagger):
    """Assumed absences, softened."""

    smoothing: float = hyper(0.1, "how much of every entry counts for the other side", below=1)

    def sides(self, marks: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) weights of "present" and of "absent"."""
        present = is_present(marks)
        smoothed = present + self.smoothing * (1 - 2 * present)
        return smoothed, 1 - smoothed
