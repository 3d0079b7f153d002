"""WiSE-FT: halfway between the zero-shot classifier and the one that was trained.

Family: clip (CLIP's own classifier, adapted).

W = (1 - alpha) W0 + alpha W1                                           merge: plain
W = (c0 W0 + c1 W1) / (c0 + c1),  c0 = (1 - alpha) F0,  c1 = alpha F1    merge: fisher, entry by entry

W0 is the zero-shot classifier, W1 the linear probe, F their Fisher information: mean_i p_ic (1 - p_ic) x_ij^2 for
entry (j, c), never below a floor. Classes that were never seen keep their zero-shot row. With frozen features and the
plain merge, this also interpolates the logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.clip_space import CANDIDATE_DEVIATIONS
from pzsl_bench.contract import Batch, Citation, Net, State, Study, Update, hyper, method
from pzsl_bench.methods.linear_probe import LinearProbe, Probe

Number = float | Tensor
FISHER_RATE = 0.1
"""Share of the newest batch in the running mean of the trained classifier's Fisher information."""


def merged(
    zero_shot: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    alpha: Number,
    fishers: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] = ({}, {}),
    floor: Number = 0.0,
) -> State:
    """The parameters between two models of one shape; entries without Fisher information count as one."""
    result = {}
    for name, start in zero_shot.items():
        first, second = (information.get(name, torch.ones_like(start)).clamp(min=floor) for information in fishers)
        first, second = (1 - alpha) * first, alpha * second
        total = first + second
        # Both are zero only without a floor: then the two count alike.
        empty = total == 0
        share = torch.where(empty, 0.5, second / torch.where(empty, 1.0, total))
        result[name] = (1 - share) * start + share * tuned[name]
    return result


def fisher(logits: Tensor, features: Tensor) -> Tensor:
    """(B, K), (B, d) -> (d, K) diagonal Fisher information of a softmax classifier's weights."""
    p = logits.softmax(-1)
    return features.square().T @ (p * (1 - p)) / len(features)


@method(
    "wise_ft",
    title="WiSE-FT",
    family="clip",
    citation=Citation(
        "Wortsman, Ilharco, Kim, Li, Kornblith, Roelofs, Gontijo Lopes, Hajishirzi, Farhadi, Namkoong and Schmidt",
        "Robust fine-tuning of zero-shot models",
        "CVPR",
        2022,
        "https://arxiv.org/abs/2109.01903",
    ),
    deviations=(
        "Only the classifier is trained and interpolated: the encoder is frozen here.",
        "The Fisher information of the trained classifier is a running mean over its last batches.",
        *CANDIDATE_DEVIATIONS,
    ),
)
@dataclass(frozen=True)
class WiseFT(LinearProbe):
    """A linear probe, then a step back."""

    alpha: float = hyper(0.5, "share of the trained classifier", below=1.0000001)
    merge: str = hyper("plain", "how entries are weighed: alike, or by Fisher information", choices=("plain", "fisher"))
    floor: float = hyper(1e-6, "smallest Fisher information that counts", above=0)

    def memory(self, study: Study, params: State) -> State:
        """Fisher information of the zero-shot classifier, which is that of the trained one at its start."""
        if self.merge == "plain":
            return {}
        start = fisher(study.features @ Probe(study).weight.detach(), study.features)
        return {"zero_shot": start, "tuned": start}

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """The step of the probe, and the running Fisher information where entries are weighed by it."""
        loss, update = super().step(net, batch)
        if self.merge == "plain":
            return loss, update
        with torch.no_grad():
            now = fisher(batch.features @ net.state["weight"].detach(), batch.features)
            before = batch.memory["tuned"]
        return loss, Update(update.weights, {"tuned": before + FISHER_RATE * (now - before)})

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) logits of the classifier between the two."""
        assert isinstance(net.module, Probe)
        tuned = net.state["weight"]
        zero_shot = net.module.zero_shot(net.texts[: tuned.shape[-1]])
        fishers = ({}, {}) if self.merge == "plain" else ({"weight": memory["zero_shot"]}, {"weight": memory["tuned"]})
        between = merged({"weight": zero_shot}, {"weight": tuned}, self.alpha, fishers, self.floor)
        scores: Tensor = net.using(between)(features)
        return scores
