"""PML ranking: tags that are marked present should score above others, weighted by the confidence in them.

Family: tags (images with several tags).

loss = mean_i  sum_j,k c_ij (1 - c_ik) max(0, margin + z_ik - z_ij) / sum_j,k c_ij (1 - c_ik)
c_ij <- keep c_ij + (1 - keep) r_ij,   r_ij = (z_ij - mean of z outside) / (largest z inside - mean of z outside)

The confidence c is 0 for tags that are not marked present. j runs over the tags that are marked present, of which some
are wrong. k runs over those that are not and over less confident ones among the present. Confidences start at 1. r is
cut to [0, 1], and the best tag of an image has r = 1, as at least one is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.blocks.tag_heads import HEAD, UNKNOWN, Tagger, is_absent, is_present
from pzsl_bench.blocks.tag_pairs import attached, hinge, pair_sums
from pzsl_bench.contract import Batch, Citation, Output, hyper, method

MIN_HEIGHT = 1e-6
"""Where the best score exceeds the mean of z outside by less, the scores give no order."""


@method(
    "pml_rank",
    title="PML ranking",
    family="tags",
    citation=Citation("Xie and Huang", "Partial Multi-Label Learning", "AAAI", 2018),
    deviations=(
        HEAD,
        "The paper says that a rank loss is weighted by confidences, and that these follow structure in features and"
        " labels; its formulas were not at hand. Weights of pairs and the rule for confidences are ours.",
    ),
)
@dataclass(frozen=True)
class PMLRank(Tagger):
    """Ranking weighted by confidences."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "marks")

    margin: float = hyper(1.0, "how far a present tag should lie above an absent one", search=(1e-1, 1e1), above=0)
    keep: float = hyper(0.9, "how much of a belief stays at every visit", below=1)
    unknown: str = hyper("negative", "tags that nothing is said of: absent, or left out", choices=UNKNOWN)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Mean over images of the mean violation."""
        scores, upper = output.logits, batch.weights * is_present(batch.marks)
        lower = is_absent(batch.marks, self.unknown) + is_present(batch.marks) - upper
        value, slopes = pair_sums(scores, upper, lower, batch.most, hinge(self.margin))
        pairs = upper.sum(-1) * lower.sum(-1) - (upper * lower).sum(-1)
        share = torch.where(pairs > 0, 1 / torch.where(pairs > 0, pairs, 1), 0)
        return attached(value * share, slopes * share.unsqueeze(-1), scores).mean()

    def refine(self, output: Output, batch: Batch) -> Tensor:
        """(B, K) confidences that follow the scores."""
        scores, inside = output.logits, is_present(batch.marks)
        outside = 1 - inside
        count = outside.sum(-1, keepdim=True)
        lowest = scores.min(-1, keepdim=True).values
        floor = torch.where(count > 0, (scores * outside).sum(-1, keepdim=True) / count.clamp(min=1), lowest)
        best = torch.where(inside > 0, scores, lowest).max(-1, keepdim=True).values
        height = best - floor
        clear = height > MIN_HEIGHT
        relative = torch.where(clear, (scores - floor) / torch.where(clear, height, 1), 1).clamp(0, 1)
        return inside * (self.keep * batch.weights + (1 - self.keep) * torch.where(scores >= best, 1, relative))
