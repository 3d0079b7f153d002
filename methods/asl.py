"""ASL: tags that are predicted well count less, absent ones among them still less, and the easiest not at all.

Family: tags (images with several tags).

L+ = -(1 - p)^g+ log p,   L- = -p_m^g- log(1 - p_m),   p_m = max(0, p - shift),   p = sigmoid(z)
loss = mean_i,k  y_ik L+ + n_ik L-

y is 1 where a tag is marked present, n where it is marked absent. Of the rest, `unknown: negative` makes n 1 as well,
`ignore` leaves it out (partial ASL). With both exponents and the shift at 0 this is binary cross entropy.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.tag_heads import HEAD, UNKNOWN, Tagger, is_absent, is_present
from pzsl_bench.blocks.tag_losses import asymmetric
from pzsl_bench.contract import Batch, Citation, Output, hyper, method


@method(
    "asl",
    title="ASL",
    family="tags",
    citation=Citation(
        "Ridnik, Ben-Baruch, Zamir, Noy, Friedman, Protter and Zelnik-Manor",
        "Asymmetric Loss for Multi-Label Classification",
        "ICCV",
        2021,
        "https://arxiv.org/abs/2009.14119",
    ),
    deviations=(
        HEAD,
        "The mean over entries replaces the sum; the release floors probabilities at 1e-8, which is not needed on"
        " logits.",
    ),
)
@dataclass(frozen=True)
class ASL(Tagger):
    """Asymmetric loss."""

    gamma_positive: float = hyper(0.0, "exponent for present tags")
    gamma_negative: float = hyper(4.0, "exponent for absent tags")
    shift: float = hyper(0.05, "probability below which an absent tag costs nothing", below=1)
    unknown: str = hyper("negative", "tags that nothing is said of: absent, or left out", choices=UNKNOWN)
    differentiate_focus: bool = hyper(False, "whether the powers have a gradient of their own")

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Mean of all entries."""
        present = (is_present(batch.marks), self.gamma_positive)
        absent = (is_absent(batch.marks, self.unknown), self.gamma_negative)
        return asymmetric(output.logits, (present, absent), self.shift, self.differentiate_focus).mean()
