"""CLIP-PZSL: label embeddings mined from images, and a partial zero-shot loss that weights the candidates.

Family: pzsl (zero-shot learning from ambiguous labels).

x = adapter(image),  e_j = unit(t_j + residual_j)      label embeddings of the classes' texts t
loss = -mean_i sum_j T_ij log softmax_j(kappa x_i . e_j)
T_ij <- softmax_j(kappa (c_ij + share g_ij)) on the candidates
                                                       g: evidence of the other images of the class, prototypes.py
                                                       c: x_i . e_j as it counts after training (`encoder_counts`)

An unseen class moves from its text as its neighbours by name do (unseen.py). Settings bring back what the authors'
earlier code does instead: attention between images and embeddings (mining.py), relevance beside confidences with
momentum, a term that aligns images and labels, and an anchor of embeddings at their texts (`preset: earlier`).

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
from pzsl_bench.contract.heads import kept_share
from pzsl_bench.methods.clip_pzsl.mining import pool_sums
from pzsl_bench.methods.clip_pzsl.model import Model
from pzsl_bench.methods.clip_pzsl.prototypes import first_sums, visual_evidence, whitened, whitening
from pzsl_bench.methods.clip_pzsl.relevance import barrier, softmax_over_candidates
from pzsl_bench.methods.clip_pzsl.settings import Settings, is_off
from pzsl_bench.methods.clip_pzsl.step import stored_centres, training_step
from pzsl_bench.methods.clip_pzsl.unseen import TRANSDUCTIVE, score_alone, score_together, unseen_centres

NEARLY_ALL = 0.99
"""Where at least this share of what is learnt counts after training, labels are refreshed by the head as it is: that is
nearly the same, and the encoder's cosines of so many images would take as much memory as the labels."""


@method(
    "clip_pzsl",
    title="CLIP-PZSL",
    family="pzsl",
    version=3,
    citation=Citation(
        "Fan, Li, Yan, Zhong, Lu and Huang",
        "CLIP-driven Zero-shot Learning with Ambiguous Labels",
        "ICASSP",
        2026,
        "https://arxiv.org/abs/2603.05053",
    ),
    deviations=(
        "Our reading of the abstract and of the group's earlier public code; the paper's equations were not available.",
        "The block assigns by the confidences: with the released rule (Gumbel noise on probabilities) a certain image"
        " joins its own class with probability e/(e+K-1) only. The released rule is `block: gumbel_probs`.",
        "Evidence comes from all training images but the image itself; in the group's code from those of the batch,"
        " which are then scored against what they gave (`block: soft_kmeans` with `evidence: batch`).",
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

    def tables(self, study: Study) -> State:
        """The whitened images, where their evidence is read; and the encoder's cosines, where these count beside it."""
        if self.block != "confidences":
            return {}
        tables = {"whitened": whitened(whitening(study.features), study.features)}
        if self.evidence_in == "labels" and kept_share(study, self.encoder_counts) < NEARLY_ALL:
            tables["zero_shot"] = study.features @ study.texts.T
        return tables

    def memory(self, study: Study, params: State) -> State:
        """The label embeddings, and the sums and counts of the images that were assigned to them."""
        centres = {} if self.labels in ("residual", "learnable") else {"centres": study.texts.clone()}
        if self.block == "confidences":
            scale = whitening(study.features)
            return {**centres, **scale, **first_sums(whitened(scale, study.features), self.first_weights(study))}
        if not self.remembers:
            return centres
        count = torch.zeros_like(study.texts[:, 0])
        return {**centres, "evidence": torch.zeros_like(study.texts), "count": count}

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """One number for every image and class where the assignment is random, one for every class that may hide."""
        gumbel = {"gumbel": (images, classes)} if "gumbel" in self.block else {}
        return {**gumbel, "hide": (classes,)} if self.hide and self.attends else gumbel

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
            scores = self._score(model, x, net.texts, memory)
            if self.block != "confidences":
                return scores
            images = whitened(memory, features)
            evidence = visual_evidence(memory, images, None, self.evidence_images) - memory["level"]
            evidence, seen = self.evidence_share * evidence, evidence.shape[-1]
            return torch.cat([scores[:, :seen] + evidence, scores[:, seen:]], dim=1)

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
        # Without attention there is nothing to run on test images.
        if self.attends and self.unseen in ("single_image", *TRANSDUCTIVE):
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
