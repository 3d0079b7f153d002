"""FREDIS: labels move out of the candidate sets and into them, beside a disambiguation of what the sets hold.

Family: pll (partial-label learning).

The true label may be missing from a candidate set.

loss = c sum_v mean_i KL(w_i || p_i^v)  -  a sum_v mean_i sum_{k not in S_i} log(1 - p_ik^v),    p = softmax(z / T)
w_i <- geometric mean over the three views of p_i^v on S_i, rescaled to sum to one

After the warm-up, every few epochs, with g_ik = max_j p_ij - p_ik of the plain image as it was last seen:

    a label joins S_i where g_ik < theta, and leaves it where g_ik > delta
    delta falls in steps of `dec` until at least `ratio` labels leave for each that joins
    where few labels moved, theta <- theta + inc, delta <- delta - dec,  while theta < 0.9 and delta > 0.1
    w_i <- p_i of the plain image on S_i, rescaled to sum to one

theta starts at next to nothing, so that only an image's likeliest label joins. In one refinement at most `limit` labels
an image join, and at most `ratio` times as many leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.blocks.consistency import agreement, divergences, outside, view_logits
from pzsl_bench.contract import SHARED_HEAD, Batch, Citation, Net, State, Study, Update, Viewed, hyper, method

MAX_THETA, MIN_DELTA = 0.9, 0.1
"""The thresholds move no more once either has passed its bound, as in the release."""
UNSEEN = -20.0
"""Logarithm, but for a constant, of the prediction for a non-candidate of an image that no step has seen yet."""


@method(
    "fredis",
    title="FREDIS",
    family="pll",
    citation=Citation(
        "Qiao, Xu, Lv, Ren and Geng",
        "FREDIS: A Fusion Framework of Refinement and Disambiguation for Unreliable Partial Label Learning",
        "ICML",
        2023,
        "https://github.com/palm-ml/fredis",
    ),
    deviations=(
        SHARED_HEAD,
        "The two other views are cached crops, or noise on the features (views: noise), instead of AutoAugment and"
        " Cutout.",
        "The warm-up is 6 of 30 epochs of one training, and a refinement follows every epoch; the release warms up for"
        " 250 epochs in a training of its own, then refines every 10 to 50 of 250 epochs.",
        "Where more labels could move than the limit allows, those move of which the predictions are surest. The"
        " release draws as many places at random, most of which already hold what they are to hold, so that fewer"
        " labels move.",
        "The limit is a share of the images (in the release 100 to 1,000 labels, whatever the set). It, the warm-up and"
        " the weight of the consistency (1 or 10 in the release, with an a from 0.001 to 10) were chosen on rehearsals;"
        " inc, dec and ratio are values from among the release's tuned ones.",
        "delta does not fall below zero, and an image that would lose all its labels keeps them: the release's own test"
        " for this compares a function with zero, and such an image divides zero by zero.",
        "The release averages the parameters at every refinement (decay up to 0.2); here nothing is averaged.",
        "No early stopping by the accuracy on true labels of validation images.",
    ),
)
@dataclass(frozen=True)
class Fredis(Viewed):
    """Refinement of the candidate sets, fused with disambiguation."""

    looks: ClassVar[int] = 2

    consistency: float = hyper(0.3, "c, weight of the divergence of the views from the label weights", search=(0.1, 10))
    outside: float = hyper(1.0, "a, weight of the mass outside of the set", search=(1e-3, 10.0))
    softness: float = hyper(1.0, "T, temperature of all predictions", search=(0.8, 10.0), above=0)
    warm_up: int = hyper(6, "epochs before the first refinement")
    interval: int = hyper(1, "epochs from one refinement to the next", search=(1, 5), above=0)
    theta: float = hyper(1e-6, "gap to the likeliest label below which a label joins the set, at first", above=0)
    inc: float = hyper(1e-3, "how far theta rises at a time", search=(1e-4, 1e-1))
    delta: float = hyper(1.0, "gap above which a label leaves the set, at first", above=0)
    dec: float = hyper(1e-3, "how far delta falls at a time", search=(1e-4, 1e-1), above=0)
    ratio: float = hyper(2.0, "labels that leave for each that joins, at least", search=(1.0, 5.0))
    limit: float = hyper(0.02, "labels an image that join in one refinement, at most", search=(0.002, 0.05))

    def tables(self, study: Study) -> State:
        """The sets as they are now, and the logarithm of p when the image was last seen: at first of any candidate."""
        believed = study.candidates.to(study.features.dtype).log().clamp(min=UNSEEN)
        return {"set": study.candidates, "log p": F.log_softmax(believed, dim=-1)}

    def memory(self, study: Study, params: State) -> State:
        """How far the thresholds have moved."""
        return {name: study.features.new_zeros(()) for name in ("risen", "fallen")}

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """Both parts of the loss on all three views, the new label weights, and the prediction."""
        inside = batch.rows["set"]
        log_probs = F.log_softmax(view_logits(net, batch, self.looks) / self.softness, dim=-1)
        disagreement, spilt = divergences(batch.weights, log_probs).sum(), outside(log_probs, inside).sum()
        seen = log_probs.detach()
        notes = {"consistency": disagreement, "outside": spilt}
        loss = self.consistency * disagreement + self.outside * spilt
        return loss, Update(agreement(seen, inside), rows={"log p": seen[0]}, notes=notes)

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        """Refine the sets when it is time, and move the thresholds."""
        if epoch < self.warm_up or (epoch - self.warm_up) % self.interval:
            return Update()
        before, log_p = tables["set"], tables["log p"]
        theta, delta = self.theta + memory["risen"], self.delta - memory["fallen"]
        most = self.limit * len(before)
        gap = log_p.exp().amax(-1, keepdim=True) - log_p.exp()
        # As logarithms, far labels of sharp predictions still differ: there all gaps are one.
        among = log_p.masked_fill(~before, float("-inf")).amax(-1, keepdim=True)
        joining = first_of(~before & (gap < theta), log_p - among, most)
        delta = lowered(delta, self.dec, torch.where(before, gap, -1.0), joining.sum() * self.ratio)
        leaving = first_of(before & (gap > delta), -log_p, most * self.ratio)
        after = (before | joining) & ~leaving
        after = torch.where(after.any(-1, keepdim=True), after, before)
        few = ((before ^ after).sum() < most) & (theta < MAX_THETA) & (delta > MIN_DELTA)
        moved = {
            "risen": memory["risen"] + few * self.inc,
            "fallen": self.delta - delta + few * self.dec,
        }
        return Update(softmax_on(log_p, after), moved, {"set": after})


def first_of(eligible: Tensor, score: Tensor, most: Tensor | float) -> Tensor:
    """(N, K) bool: of the eligible entries at most so many, those with the highest scores; ties go together."""
    scores = score.masked_fill(~eligible, float("-inf"))
    return eligible & (scores >= at_rank(scores, most))


def at_rank(values: Tensor, rank: Tensor | float) -> Tensor:
    """The value that so many entries reach, counted from the highest; that of the first for a rank below one."""
    place = torch.as_tensor(rank, device=values.device).ceil().long().clamp(1, values.numel()) - 1
    return values.flatten().sort(descending=True).values.gather(0, place.view(1)).squeeze(0)


def lowered(delta: Tensor, step: float, gaps: Tensor, count: Tensor) -> Tensor:
    """delta after as many steps down as it takes until so many gaps lie above it; it does not fall below zero."""
    target = at_rank(gaps, count)
    low = delta - step * (((delta - target) / step).floor() + 1).clamp(min=0)
    # Once more where rounding leaves it on the target.
    low = torch.where(low >= target, low - step, low)
    return torch.where(count > 0, low, delta).clamp(min=0)
