"""POP: PRODEN that removes a candidate for good once its mean weight over some epochs is low.

Family: pll (partial-label learning).

loss = -mean_i sum_k q_ik log p_ik, with the weights q of `proden`
every R epochs, after the warm-up: a_i = mean of q_i at the end of the last R epochs
    a label with a_ik < theta max_j a_ij leaves the set, and q_i <- a_i on what is left, rescaled to sum to one
    theta <- theta (1 + inc) where hardly any label left, up to 0.4

The released defaults remove very little: theta starts at 0.001 and grows by at most one thousandth every R epochs, so
only labels of almost no weight ever leave. For purification to matter, theta and inc must be searched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.contract import (
    SHARED_HEAD,
    Batch,
    Citation,
    Gradient,
    Output,
    State,
    Study,
    Update,
    hyper,
    method,
    renormalise,
    soft_cross_entropy,
)

MAX_THETA = 0.4
"""Theta grows no more once it has reached this."""
MIN_REMOVED_SHARE = 1e-4
"""Theta grows where a purification removed a smaller share of all labels than this."""


@method(
    "pop",
    title="POP",
    family="pll",
    citation=Citation(
        "Xu, Liu, Lv, Qiao and Geng",
        "Progressive Purification for Instance-Dependent Partial Label Learning",
        "ICML",
        2023,
        "https://arxiv.org/abs/2206.00830",
    ),
    deviations=(
        SHARED_HEAD,
        "One view of an image; the release averages the loss over three augmented ones that share the target.",
        "The warm-up is 10 epochs of 30 instead of 20 of 500.",
        "variant: plench follows the PLENCH benchmark: weights from a second pass, restricted to the first candidates,"
        " so that removed labels return at the next step, and a purification every epoch. It comes at the end of an"
        " epoch here and after the first step of an epoch there.",
        "A row whose labels would all leave keeps them; PLENCH divides zero by zero there.",
    ),
)
@dataclass(frozen=True)
class POP(Gradient):
    """Progressive purification."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    variant: str = hyper(
        "original", "the authors' release, or the rule of the PLENCH benchmark", choices=("original", "plench")
    )
    window: int = hyper(
        5, "epochs over which weights are averaged, and between purifications (R)", search=(3, 7), above=0
    )
    warm_up: int = hyper(10, "first epoch that may end with a purification, counted from 0", search=(5, 20))
    theta: float = hyper(1e-3, "share of the largest weight below which a label leaves", search=(3e-5, 3e-3), below=1)
    inc: float = hyper(1e-3, "relative growth of theta", search=(3e-5, 3e-3), below=1)

    @property
    def second_pass(self) -> bool:
        """PLENCH takes the weights from the parameters after the step."""
        return self.variant == "plench"

    def memory(self, study: Study, params: State) -> State:
        """The weights at the end of the last epochs, the labels that remain, and the factor that theta has grown by."""
        past = {f"past {slot}": torch.zeros_like(study.targets) for slot in range(self.window)}
        return {**past, "left": study.candidates, "growth": study.targets.new_ones(())}

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the current weights."""
        return soft_cross_entropy(output, batch.weights)

    def refine(self, output: Output, batch: Batch) -> Tensor:
        """The prediction restricted to the support of the old weights, or in PLENCH to the first candidates."""
        return softmax_on(output.log_probs, batch.weights if self.variant == "original" else batch.candidates)

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        """Remember the weights, and purify when it is time."""
        slot = f"past {epoch % self.window}"
        past = {**memory, slot: weights.clone()}
        if epoch < self.warm_up or (self.variant == "original" and epoch % self.window):
            return Update(memory={slot: past[slot]})
        average = renormalise(sum((past[f"past {s}"] for s in range(self.window)), torch.zeros_like(weights)))
        theta, before = self.theta * memory["growth"], memory["left"]
        remaining = before & (average >= theta * average.amax(-1, keepdim=True))
        remaining = torch.where(remaining.any(-1, keepdim=True), remaining, before)
        removed = (before ^ remaining).sum()
        grows = (theta < MAX_THETA) & (removed < MIN_REMOVED_SHARE * remaining.shape[-2] * remaining.shape[-1])
        growth = memory["growth"] * (1 + self.inc * grows.to(theta))
        return Update(renormalise(average * remaining), {slot: past[slot], "left": remaining, "growth": growth})
