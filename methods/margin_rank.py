"""Margin ranking: present tags should score a margin above absent ones, in the mean over the pairs that violate it.

Family: tags (images with several tags).

loss = mean_i  sum_p sum_n max(0, margin + z_in - z_ip) / max(1, number of pairs (p, n) that cost something)

p runs over tags that are marked present, n over those marked absent (`unknown: negative` adds the rest). An image
without one of the two costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.tag_heads import HEAD, UNKNOWN, Tagger, is_absent, is_present
from pzsl_bench.blocks.tag_pairs import attached, hinge, pair_sums
from pzsl_bench.contract import Batch, Citation, Output, hyper, method


@method(
    "margin_rank",
    title="Margin ranking",
    family="tags",
    citation=Citation(
        "Narayan, Gupta, Khan, Khan, Shao and Shah",
        "Discriminative Region-based Multi-Label Zero-Shot Learning",
        "ICCV",
        2021,
        "https://arxiv.org/abs/2108.09301",
    ),
    deviations=(
        HEAD,
        "The loss of the paper alone, without its attention over regions, which global features do not have.",
    ),
)
@dataclass(frozen=True)
class MarginRank(Tagger):
    """The ranking loss that BiAM and MKT train with."""

    margin: float = hyper(1.0, "how far a present tag should lie above an absent one", search=(1e-1, 1e1), above=0)
    unknown: str = hyper("negative", "tags that nothing is said of: absent, or left out", choices=UNKNOWN)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Mean over images of the mean violation."""
        scores = output.logits
        lower = is_absent(batch.marks, self.unknown)
        value, slopes = pair_sums(scores, is_present(batch.marks), lower, batch.most, hinge(self.margin))
        violations = slopes.clamp(min=0).sum(-1).clamp(min=1)
        return attached(value / violations, slopes / violations.unsqueeze(-1), scores).mean()
