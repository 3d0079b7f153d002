"""Tip-Adapter: training images vote for their labels beside zero-shot CLIP; nothing is trained.

Family: clip (CLIP's own classifier, adapted).

score(x, c) = scale x . t_c + alpha sum_i exp(-beta (1 - x . x_i)) q_ic

The cache is the training images and their soft labels q. A class that was never seen gets no vote and is scored by
its text alone, so seen classes are favoured where both compete: compare H with calibrated stacking.

The scale is the encoder's own, about 100 for CLIP. Settings of the release, with beta 1: alpha 1.17 for ImageNet,
SUN397, pets and food, 2 for DTD and EuroSAT, 3 for Caltech, cars and UCF, 5 for aircraft, 10 for flowers; then a grid
search on validation images.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pzsl_bench.blocks.clip_space import check_space
from pzsl_bench.blocks.image_cache import Cached, beside_texts, votes
from pzsl_bench.contract import Citation, ClosedForm, State, Study, method, normalise

CITATION = Citation(
    "Zhang, Fang, Zhang, Gao, Li, Dai, Qiao and Li",
    "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification",
    "ECCV",
    2022,
    "https://arxiv.org/abs/2207.09519",
)
CACHE_DEVIATIONS = (
    "All training images are keys; the paper keeps a few of each class. Votes are scaled as if a class had 16 (shots),"
    " so that one alpha serves data sets of any size.",
    "Cache values are soft labels; the paper's are one-hot true labels.",
    "Keys are the plain images; the release averages ten augmented forms of each (keys: crops).",
    "Unseen classes are scored by their texts alone; the paper has none.",
)


@method(
    "tip_adapter",
    title="Tip-Adapter",
    family="clip",
    citation=CITATION,
    deviations=(
        *CACHE_DEVIATIONS,
        "Alpha and beta are settings, searched like any other; the release has a grid search on validation images.",
    ),
)
@dataclass(frozen=True)
class TipAdapter(Cached, ClosedForm):
    """A cache that is not trained."""

    def solve(self, study: Study) -> State:
        """Keys (N, d), which runs share, values (N, K), and the encoder's scale."""
        check_space(self.info.name, study)
        keys = self.cached_keys(study)
        return {"keys": keys, "values": self.labels(study), "scale": keys.new_tensor(study.scale)}

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, d) -> (M, C) logits."""
        images = normalise(features)
        seen_votes = votes(images, state["keys"], state["values"], self.beta)
        return state["scale"] * images @ texts.T + self.alpha * beside_texts(seen_votes, texts)
