"""EPR: only marked tags are learned, and predictions should have about the expected number of tags per image.

Family: tags (images with several tags).

loss = mean_i,k [ y_ik softplus(-z_ik) + n_ik softplus(z_ik) ] + weight ((mean_i sum_k sigmoid(z_ik) - e) / K)^2

e is the number of tags that an image is expected to have.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.tag_heads import (
    ABSENCES,
    COLE,
    EXPECTED,
    HEAD,
    ExpectsPositives,
    binary_cross_entropy,
    is_absent,
    is_present,
)
from pzsl_bench.contract import Batch, Output, method


@method(
    "epr",
    title="EPR",
    family="tags",
    citation=COLE,
    deviations=(
        HEAD,
        ABSENCES,
        EXPECTED,
    ),
)
@dataclass(frozen=True)
class ExpectedPositives(ExpectsPositives):
    """Expected positive regularisation."""

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The term of the marked tags, and that of the number of tags."""
        entries = binary_cross_entropy(output.logits, is_present(batch.marks), is_absent(batch.marks))
        surplus = self.surplus(output.logits.sigmoid(), batch.memory)
        return entries.mean() + self.expected_weight * surplus.square()
