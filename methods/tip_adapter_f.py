"""Tip-Adapter-F: Tip-Adapter whose keys are trained.

Family: clip (CLIP's own classifier, adapted).

score(x, c) = scale x . t_c + alpha sum_i exp(-beta (1 - x . k_i)) q_ic

Keys k_i start at the training images; values stay the soft labels that were fed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pzsl_bench.blocks.clip_space import CANDIDATE_DEVIATIONS, Tempered, Tuned, check_space
from pzsl_bench.blocks.image_cache import Cached, affinity, beside_texts
from pzsl_bench.contract import State, Study, hyper, method, normalise
from pzsl_bench.methods.tip_adapter import CACHE_DEVIATIONS, CITATION


class Keys(Tempered):
    """The trained keys, kept as columns: their gradient then lies in memory as they do."""

    def __init__(self, keys: Tensor, scale: float, learn_scale: bool):
        super().__init__(scale, learn_scale)
        self.keys = nn.Parameter(keys.T.clone(memory_format=torch.contiguous_format))

    def forward(
        self, features: Tensor, texts: Tensor, values: Tensor, alpha: float | Tensor, beta: float | Tensor
    ) -> Tensor:
        """(B, d), (C, d), (N, K) -> (B, C)."""
        images = normalise(features)
        seen_votes = affinity(images @ self.keys, beta) @ values
        return self.tempered(self.scale * images @ texts.T + alpha * beside_texts(seen_votes, texts))


@method(
    "tip_adapter_f",
    title="Tip-Adapter-F",
    family="clip",
    citation=CITATION,
    deviations=(
        *CACHE_DEVIATIONS,
        *CANDIDATE_DEVIATIONS,
        "The scale of all logits is learned (temperature: fixed keeps the encoder's own), as for all adapters here.",
        "The keys after the last epoch count; the release keeps those with the best test accuracy.",
        "Trained on plain images; the release augments them anew in every epoch.",
    ),
)
@dataclass(frozen=True)
class TipAdapterF(Cached, Tuned):
    """A cache with trained keys."""

    lr: float = hyper(3e-4, "learning rate at the start", search=(3e-5, 1e-2), above=0)
    eps: float = hyper(1e-4, "what AdamW adds to the root of the second moment", above=0, fixed=True)

    def module(self, study: Study) -> nn.Module:
        """The keys."""
        check_space(self.info.name, study)
        return Keys(self.cached_keys(study), study.scale, self.temperature == "learned")

    def memory(self, study: Study, params: State) -> State:
        """The values."""
        return {"values": self.labels(study)}

    def given(self, memory: State) -> dict[str, Any]:
        """The cache's values and weights."""
        return {"values": memory["values"], "alpha": self.alpha, "beta": self.beta}
