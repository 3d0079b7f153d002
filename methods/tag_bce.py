"""Binary cross entropy for every tag, with three ways to treat tags that nothing is said of.

Family: tags (images with several tags).

loss = mean_i,k  w_i [ y_ik softplus(-z_ik) + n_ik softplus(z_ik) ]

y is 1 where a tag is marked present, n where it is marked absent. `unknown` says what becomes of the rest:
negative: n is 1 there too ("assume negative");  ignore: nothing;  normalised: nothing, and an image of which only a
share p of the tags is known counts w = alpha p + beta, where w(1) = 1 and w(0.1) = `sparse_weight`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.tag_heads import HEAD, UNKNOWN, BinaryTagger, is_absent, is_present
from pzsl_bench.contract import Citation, hyper, method


@method(
    "tag_bce",
    title="BCE",
    family="tags",
    citation=Citation(
        "Durand, Mehrasa and Mori",
        "Learning a Deep ConvNet for Multi-Label Classification with Partial Labels",
        "CVPR",
        2019,
        "https://arxiv.org/abs/1902.09720",
    ),
    deviations=(
        HEAD,
        "Without the paper's graph network and its curriculum, which predict what is not said.",
    ),
)
@dataclass(frozen=True)
class TagBCE(BinaryTagger):
    """One logistic loss per tag."""

    unknown: str = hyper(
        "negative",
        "tags that nothing is said of: absent, left out, or left out with weights",
        choices=(*UNKNOWN, "normalised"),
    )
    sparse_weight: float = hyper(5.0, "weight of an image with a tenth of its tags known, beside one with all", above=0)

    def sides(self, marks: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) weights of "present" and of "absent"."""
        present, absent = is_present(marks), is_absent(marks, self.unknown)
        if self.unknown != "normalised":
            return present, absent
        known = (marks != 0).to(marks.dtype).mean(-1, keepdim=True)
        weight = 1 + (self.sparse_weight - 1) * (1 - known) / 0.9
        return weight * present, weight * absent
