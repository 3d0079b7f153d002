"""CSL: of the tags that nothing is said of, those that are probably present are left out, others count as absent.

Family: tags (images with several tags).

L+ = -(1 - p)^g+ log p,   L- = -p_m^g log(1 - p_m),   p_m = max(0, p - shift)

The exponent g differs between marked absences and assumed ones. An assumed absence is left out if the prior of its
tag is above `prior_threshold`, or if it is among the most probable ones of its batch: `likeliest` x B x K of them, for
B images and K tags.

The prior of a tag is its mean probability during the first part of the training (`prior_share`), in which all tags that
nothing is said of are left out. Where absences are never marked, every tag would become present in that part. It is
then skipped, and the prior of a tag is the share of images that are marked with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.tag_heads import HEAD, Tagger, is_absent, is_present, marks_of
from pzsl_bench.blocks.tag_losses import asymmetric
from pzsl_bench.contract import Batch, Citation, Net, State, Study, Update, hyper, method


@method(
    "csl",
    title="CSL",
    family="tags",
    citation=Citation(
        "Ben-Baruch, Ridnik, Friedman, Ben-Cohen, Zamir, Noy and Zelnik-Manor",
        "Multi-label Classification with Partial Annotations using Class-aware Selective Loss",
        "CVPR",
        2022,
        "https://arxiv.org/abs/2110.10955",
    ),
    deviations=(
        HEAD,
        "The release trains a network for the priors beforehand and then begins anew: here one run has both parts, and"
        " only where absences are marked.",
        "The prior above which a tag is never assumed absent is twice the mean prior; the release's 0.05 is about that"
        " for COCO, whose images have three of 80 tags, and would spare every tag where images have more of them.",
        "The mean over entries replaces the sum.",
    ),
)
@dataclass(frozen=True)
class CSL(Tagger):
    """Class-aware selective loss."""

    gamma_positive: float = hyper(0.0, "exponent for present tags")
    gamma_negative: float = hyper(1.0, "exponent for tags marked absent")
    gamma_unknown: float = hyper(2.0, "exponent for tags that nothing is said of")
    shift: float = hyper(0.0, "probability below which an absent tag costs nothing", below=1)
    prior_threshold: float = hyper(0.0, "prior above which a tag is never assumed absent; 0: twice the mean prior")
    likeliest: float = hyper(
        0.0625, "share of a batch's entries that are left out for being probable; five of 80 in the release", fixed=True
    )
    prior_share: float = hyper(0.3, "share of the training in which priors are measured", below=1)

    def memory(self, study: Study, params: State) -> State:
        """Sums and counts whose quotients are the priors, and whether there is a first part to measure them in."""
        marks = marks_of(study)
        counts = (marks > 0).sum(0).to(study.features.dtype)
        images, marks_absences = counts.new_tensor(float(len(marks))), (marks < 0).any().to(counts.dtype)
        return {
            "sum": counts * (1 - marks_absences),
            "count": images * (1 - marks_absences),
            "measures": marks_absences,
        }

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """The loss, and the sums and counts of the priors."""
        logits, marks = net(batch.features), batch.marks
        with torch.no_grad():
            probability = logits.sigmoid()
            measuring = (batch.progress < self.prior_share).to(logits.dtype) * batch.memory["measures"]
            memory = {
                "sum": batch.memory["sum"] + measuring * probability.sum(0),
                "count": batch.memory["count"] + measuring * len(logits),
            }
            prior = memory["sum"] / memory["count"].clamp(min=1)
            threshold = torch.as_tensor(self.prior_threshold, dtype=logits.dtype, device=logits.device)
            unmarked = marks == 0
            assumed = (
                unmarked
                & ~self.probable(logits, unmarked)
                & (prior <= torch.where(threshold > 0, threshold, 2 * prior.mean()))
            )
            assumed = assumed.to(logits.dtype) * (1 - measuring)
        kinds = (
            (is_present(marks), self.gamma_positive),
            (is_absent(marks), self.gamma_negative),
            (assumed, self.gamma_unknown),
        )
        return asymmetric(logits, kinds, self.shift).mean(), Update(memory=memory)

    def probable(self, logits: Tensor, unmarked: Tensor) -> Tensor:
        """(B, K) whether a tag that nothing is said of is among the most probable ones of the batch."""
        scores = torch.where(unmarked, logits, torch.full_like(logits, -torch.inf)).flatten()
        number = min(round(self.likeliest * logits.numel()), logits.numel())
        if not number:
            return torch.zeros_like(unmarked)
        picked = torch.zeros_like(scores).scatter(-1, scores.topk(number).indices, 1.0)
        return (picked > 0).view(logits.shape) & unmarked
