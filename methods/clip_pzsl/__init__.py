"""CLIP-PZSL: label embeddings mined from images, and a partial zero-shot loss that weights the candidates.

Family: pzsl (zero-shot learning from ambiguous labels).

x = adapter(image),  E = mining(x, C)           label embeddings, see mining.py
w_ij ~ r_ij T_ij on the candidates              relevance of a candidate times its confidence, a constant
p_ij = softmax_j(kappa x_i . e_j)
loss = -mean_i sum_j w_ij log p_ij + align_weight A(x, e, w) + anchor mean_j (1 - e_j . t_j)
T_ij <- m T_ij + (1 - m) p_ij on the candidates, rescaled;   C <- (1 - a) C + a C'

The paper's body was not available to us: every choice that its abstract leaves open is a setting here, and
docs/clip-pzsl.md says for each of them what is verified, what the authors' earlier code does and what is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pzsl_bench.contract import (
    Batch,
    Citation,
    Net,
    Output,
    State,
    Study,
    Update,
    method,
    normalise,
    soft_cross_entropy,
)
from pzsl_bench.methods.clip_pzsl.model import Model
from pzsl_bench.methods.clip_pzsl.relevance import barrier, softmax_over_candidates
from pzsl_bench.methods.clip_pzsl.settings import Settings, is_off
from pzsl_bench.methods.clip_pzsl.mining import pool_sums
from pzsl_bench.methods.clip_pzsl.step import stored_centres, training_step
from pzsl_bench.methods.clip_pzsl.unseen import TRANSDUCTIVE, score_alone, score_together, unseen_centres


@method(
    "clip_pzsl",
    title="CLIP-PZSL",
    family="pzsl",
    citation=Citation(
        "Fan, Li, Yan, Zhong, Lu and Huang",
        "CLIP-driven Zero-shot Learning with Ambiguous Labels",
        "ICASSP",
        2026,
        "https://arxiv.org/abs/2603.05053",
    ),
    deviations=(
        "Our reading of the abstract and of the group's earlier public code; the paper's equations were not available.",
        "The block assigns by a softmax of the scores: with the released rule (Gumbel noise on probabilities) a certain"
        " image joins its own class with probability e/(e+K-1) only. The released rule is `block: gumbel_probs`.",
        "Label embeddings move by images of earlier batches; in the group's code by those of the batch itself, which"
        " are then scored against what they gave (`evidence: batch`).",
    ),
)
@dataclass(frozen=True)
class ClipPzsl(Settings):
    """Semantic mining and partial zero-shot loss."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    def module(self, study: Study) -> nn.Module:
        """Image adapter and mining block."""
        return Model(self, study)

    def first_weights(self, study: Study) -> Tensor:
        """(N, K) confidences at the start."""
        if self.confidence == "multihot":
            return study.candidates.to(study.features.dtype)
        if self.confidence == "clip":
            scores = self.confidence_sharpness * study.scale * study.features @ study.texts.T
            return softmax_over_candidates(scores, barrier(study.candidates, scores.dtype))
        return study.targets

    def memory(self, study: Study, params: State) -> State:
        """The label embeddings, and the sums and counts of the images that were assigned to them."""
        centres = {} if self.labels in ("residual", "learnable") else {"centres": study.texts.clone()}
        if not self.remembers:
            return centres
        count = torch.zeros_like(study.texts[:, 0])
        return {**centres, "evidence": torch.zeros_like(study.texts), "count": count}

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """One number for every image and class where the assignment is random, one for every class that may hide."""
        gumbel = {"gumbel": (images, classes)} if "gumbel" in self.block else {}
        return {**gumbel, "hide": (classes,)} if self.hide and self.block != "none" else gumbel

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the weights of the candidates."""
        return soft_cross_entropy(output, batch.weights)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """One mini-batch: mine label embeddings, weigh candidates, score, refresh confidences."""
        result: tuple[Tensor, Update] = net(
            batch.features, within=lambda model, x: training_step(self, model, x, batch)
        )
        return result

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) cosines of adapted images and label embeddings; unseen classes by `unseen`."""

        def within(model: Model, x: Tensor) -> Tensor:
            if not is_off(self.frozen_share):
                x = normalise(torch.lerp(x, features, self.frozen_share))
            return self._score(model, x, net.texts, memory)

        scores: Tensor = net(features, within=within)
        return scores

    def _score(self, model: Model, x: Tensor, texts: Tensor, memory: State) -> Tensor:
        centres = stored_centres(model, texts, memory)
        block, seen = model.block, len(centres)
        if self.labels == "residual" and self.remembers:
            mean = pool_sums(memory["evidence"], memory["count"], self.eta)
            centres = block.moved(centres, centres, mean, memory["count"] > 0)
        assignment_scale = self.assignment_sharpness * model.scale
        seen_texts, new_texts = texts[:seen], texts[seen:]
        embeddings = block.read(centres)
        if len(new_texts) == 0:
            return x @ embeddings.T
        # Without a block there is nothing to run on test images.
        if self.block != "none" and self.unseen in ("single_image", *TRANSDUCTIVE):
            base, all_centres = torch.cat([self.base(seen_texts, centres), new_texts]), torch.cat([centres, new_texts])
            if self.unseen == "single_image":
                return score_alone(block, x, base, all_centres, assignment_scale)
            size = self.batch if self.unseen == "batch" else len(x)
            return score_together(block, x, base, all_centres, assignment_scale, self.eta, self.block, size)
        if self.unseen == "bypass":
            return x @ torch.cat([embeddings, normalise(new_texts)]).T
        others = unseen_centres(
            self.unseen, block, seen_texts, new_texts, centres, self.transfer_sharpness * model.scale, assignment_scale
        )
        return x @ torch.cat([embeddings, block.read(others)]).T
