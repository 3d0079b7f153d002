"""DIRK: a student learns from its own moving average, whose predictions are first corrected by the candidates.

Family: pll (partial-label learning).

With p the teacher's prediction, S the candidates and n, c the prediction rescaled to sum to one off S and on S:

    target = a c + (1 - a) n,    a = max n / (max n + p(S) min_S c)    (1 where everything is a candidate)
    loss = -mean_i sum_k target_ik log p_ik of the student
    teacher <- momentum * teacher + (1 - momentum) * student

So the likeliest label off S gets p(S) times the target of the least likely candidate, and the proportions on S and off
S are kept. Student and teacher see the same view of an image. `variant: dirk-ref` adds the paper's refinement of
features: with z the student's projection of the view, k the teacher's of the plain image, and earlier k in a queue,

    - sum_j v_ij log [exp(z_i x_j / t) / sum_a exp(z_i x_a / t)],   v_ij ~ exp(cos(target_i, target_j) / t')

over the positives j: those z, k and queued k whose target has its maximum at the same label. v_i sums to one, and a
runs over all other vectors. Until `start` epochs are over, an image is compared with its own k, the only positive, and
the queue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.blocks.contrast import Projecting, average_from, averaged, enqueue, follow
from pzsl_bench.contract import (
    SHARED_HEAD,
    Batch,
    Citation,
    Gradient,
    Net,
    Output,
    State,
    Study,
    Update,
    hyper,
    method,
    normalise,
    soft_cross_entropy,
)


@method(
    "dirk",
    title="DIRK",
    family="pll",
    citation=Citation(
        "Wu, Wang and Zhang",
        "Distilling Reliable Knowledge for Instance-Dependent Partial Label Learning",
        "AAAI",
        2024,
        "https://github.com/wu-dd/DIRK",
    ),
    deviations=(
        SHARED_HEAD,
        "The release's README calls the method without contrast of features DIRK and the one with it DIRK-REF; its code"
        " has weight 1 as default. Here the variant is chosen by name and its weight stays 1.",
        "As in the release, teacher and student look at one and the same augmented image, here a cached crop, or noise"
        " on the features (views: noise). The contrast is between this view and the plain image, not two more views.",
        "The teacher starts as the student; in the release as another random network.",
        "A queue of 1,024 keys instead of 4,096 and a projection of 64 instead of 128 dimensions, for problems of some"
        " thousand images. It starts with random unit vectors of no class; the release's have random labels, so that"
        " noise counts as alike until it has left the queue.",
        "That positives must also share a candidate is left out: the maximum of a target always is a candidate.",
        "a is computed as max n / (max n + p(S) min c), without the release's division by p(S), which may be zero.",
    ),
)
@dataclass(frozen=True)
class Dirk(Projecting):
    """Self-distillation with rectified confidences."""

    reads: ClassVar[tuple[str, ...]] = ("candidates",)
    looks: ClassVar[int] = 1

    variant: str = hyper("dirk", "dirk-ref adds the contrast of features", choices=("dirk", "dirk-ref"))
    teacher_sees: str = hyper("same", "the same view as the student, or the plain image", choices=("same", "plain"))
    teacher_momentum: float = hyper(0.99, "momentum of the averaged parameters", search=(0.5, 0.999))
    contrast: float = hyper(1.0, "weight of the contrastive loss", search=(0.1, 1.0))
    contrast_temperature: float = hyper(0.07, "t", search=(0.03, 0.09), above=0)
    label_temperature: float = hyper(0.4, "t'", search=(0.2, 0.6), above=0)
    queue: int = hyper(1024, "keys that are kept for comparison", above=0)
    start: int = hyper(1, "epochs before targets decide which images are alike")

    def module(self, study: Study) -> nn.Module:
        """The shared head, with a projection if features are refined."""
        return super().module(study) if self.variant == "dirk-ref" else Gradient.module(self, study)

    def memory(self, study: Study, params: State) -> State:
        """The teacher, and a queue of random unit vectors of no class."""
        teacher = average_from(params)
        if self.variant == "dirk":
            return teacher
        like, classes = study.features, study.candidates.shape[1]
        keys = normalise(torch.randn(self.queue, self.projection)).to(like)
        return {**teacher, "keys": keys, "targets": like.new_zeros(self.queue, classes)}

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the teacher's targets, which `step` puts in place of the weights."""
        return soft_cross_entropy(output, batch.weights)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """Move the teacher towards the student, then train the student on the teacher's rectified targets."""
        plain, view = batch.features, batch.views[0]
        with torch.no_grad():
            average = follow(batch.memory, net.state, self.teacher_momentum)
            teacher = net.using(averaged(average))
            target = rectified(teacher(plain if self.teacher_sees == "plain" else view), batch.candidates)
            with_target = replace(batch, weights=target)
        if self.variant == "dirk":
            return self.loss(Output(net(view)), with_target), Update(target, average)
        logits, projected = net(view, give="both")
        distillation = self.loss(Output(logits), with_target)
        with torch.no_grad():
            keys = teacher(plain, give="projection")
        features = torch.cat([projected, keys, batch.memory["keys"]])
        targets = torch.cat([target, target, batch.memory["targets"]])
        contrast = self.refinement(features, targets, batch)
        queue = {
            "keys": enqueue(batch.memory["keys"], keys),
            "targets": enqueue(batch.memory["targets"], target),
        }
        notes = {"distillation": distillation, "contrast": contrast}
        return distillation + self.contrast * contrast, Update(target, {**average, **queue}, notes=notes)

    def refinement(self, features: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """Contrast of the batch's B projections with (A, P) features: these projections, their keys and the queue."""
        images, everything = len(batch.features), torch.arange(len(features), device=features.device)
        itself = everything[:images].unsqueeze(-1)
        own_key, queued = everything == itself + images, everything >= 2 * images
        started = batch.epoch >= self.start
        compared = torch.where(started, everything != itself, own_key | queued)
        eligible = torch.where(started, everything != itself, own_key)
        labels = torch.where(targets.any(-1), targets.argmax(-1), -1)
        with torch.no_grad():
            direction = normalise(targets)
            likeness = (direction[:images] @ (direction / self.label_temperature).T - 1 / self.label_temperature).exp()
            likeness = torch.where((labels == labels[:images].unsqueeze(-1)) & eligible, likeness, 0.0)
        similarities = features[:images] @ (features / self.contrast_temperature).T
        attraction = (likeness * similarities).sum(-1) / likeness.sum(-1)
        return (torch.where(compared, similarities, float("-inf")).logsumexp(-1) - attraction).mean()


def rectified(logits: Tensor, candidates: Tensor) -> Tensor:
    """(B, K) the prediction with every candidate at or above every other label; rows sum to one."""
    inside, outside = softmax_on(logits, candidates), softmax_on(logits, ~candidates)
    mass = (logits.softmax(-1) * candidates).sum(-1, keepdim=True)
    lowest_inside = torch.where(candidates, inside, 1.0).amin(-1, keepdim=True)
    highest_outside = outside.amax(-1, keepdim=True)
    trust = torch.where(
        highest_outside > 0,
        highest_outside / (highest_outside + mass * lowest_inside).clamp(min=torch.finfo(logits.dtype).tiny),
        1.0,
    )
    return trust * inside + (1 - trust) * outside
