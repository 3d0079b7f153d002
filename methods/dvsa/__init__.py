"""DVSA: attribute prototypes and images that calibrate each other, and label weights that follow their agreement.

Family: pzsl (zero-shot learning from ambiguous labels).

F(x, c) = scale * sum_k G_k Z_k s_ck      attribute scores Z of the image against the semantics of a class, see model.py
w_ij    ~ T_ij softmax_j F(x_i, j) on the candidates, a constant in the gradient
loss    = -mean_i sum_j w_ij log softmax_j F(x_i, j) + contrast_weight I(Z, T S) + anchor mean_k |p_k - p_k0|^2
T_ij   <- m T_ij + (1 - m) fresh_ij,   fresh: softmax over the candidates of F, or of the cosine of Z and s

I is a contrast between what images show of an attribute and what their classes have of it, see contrast.py.

The paper's body was not available to us: every choice that its abstract leaves open is a setting here, and
docs/dvsa.md says for each of them what is verified, what the authors' earlier code does and what is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.blocks.clip_space import check_space
from pzsl_bench.blocks.semantics import class_semantics
from pzsl_bench.contract import (
    Batch,
    Citation,
    Net,
    Output,
    State,
    Steady,
    Study,
    Update,
    hyper,
    method,
    normalise,
    soft_cross_entropy,
)
from pzsl_bench.methods.dvsa.contrast import BOUNDS, CONTRASTS, contrast
from pzsl_bench.methods.dvsa.model import DIRECTIONS, STARTS, Model, Seen, first_prototypes

MIN_COUNT = 1e-6
"""Attributes to which fewer images attended have no mean image."""
MIN_WEIGHT = 1e-30
"""Label weights below this count as this much, so that they have a logarithm."""


@method(
    "dvsa",
    title="DVSA",
    family="pzsl",
    citation=Citation(
        "Li, Huang, Yan, Gan, Lu and Fan",
        "Dynamic Visual-semantic Alignment for Zero-shot Learning with Ambiguous Labels",
        "arXiv",
        2026,
        "https://arxiv.org/abs/2604.17710",
    ),
    deviations=(
        "Our reading of the abstract and of the group's earlier public code; the paper's equations were not available.",
        "An image is one vector, not a map of regions: images attend to attributes, and attributes to the images of a"
        " batch, instead of to places in an image.",
        "Where class semantics are texts of the images' own encoder, their columns take the place of attributes.",
        "All defaults are ours, chosen on rehearsals; docs/dvsa.md has the figures.",
    ),
)
@dataclass(frozen=True)
class Dvsa(Steady):
    """Bidirectional attention, attribute contrast and dynamic disambiguation."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    head: str = hyper("attributes", "how images meet classes: by their attributes", choices=("attributes",))
    lr: float = hyper(7e-4, "learning rate at the start", search=(1e-4, 1e-2), above=0)
    epochs: int = hyper(20, "passes over the images", above=0)
    temperature: str = hyper("learned", "scale of the scores", choices=("learned", "fixed"))
    start: str = hyper("auto", "prototypes before training; auto: identity in CLIP's space, else ridge", choices=STARTS)
    start_ridge: float = hyper(
        10.0, "penalty of the ridge regression at the start", search=(1e-2, 1e2), above=0, fixed=True
    )
    centre: str = hyper(
        "auto",
        "whether mean image and mean seen semantics are subtracted; auto: unless in CLIP's space",
        choices=("auto", "centred", "as_given"),
    )
    attend: str = hyper("both", "whom attention calibrates", choices=DIRECTIONS)
    attention_sharpness: float = hyper(10.0, "scale of the cosines in the attention", search=(1.0, 100.0), above=0)
    attention_gain: float = hyper(
        0.1, "factor of what attention adds: its maps learn as much slower", search=(0.01, 1.0)
    )
    evidence_rate: float = hyper(0.1, "share of the remembered images that a step forgets", search=(5e-3, 0.5), below=1)
    reweigh: bool = hyper(True, "an attribute counts by the image's attention to it")
    measure: str = hyper("dot", "how attribute scores meet class semantics", choices=("dot", "cosine"))
    sharpness: float = hyper(
        1.0, "scale of the class scores, in units of the encoder's logit scale", search=(0.1, 3.0), above=0, fixed=True
    )
    attribute_scale: float = hyper(
        10.0, "scale of the class scores outside of CLIP's space", search=(1.0, 100.0), above=0, fixed=True
    )
    confidence: str = hyper(
        "uniform",
        "label weights before training: equal, or by the prototypes' first scores",
        choices=("uniform", "start"),
    )
    contrast: str = hyper("attributes", "what is contrasted", choices=CONTRASTS)
    contrast_bound: str = hyper("infonce", "bound of the mutual information", choices=BOUNDS)
    contrast_weight: float = hyper(0.1, "weight of the contrast", search=(1e-3, 10.0))
    contrast_sharpness: float = hyper(10.0, "scale of the cosines in the contrast", search=(1.0, 100.0), above=0)
    anchor: float = hyper(1.0, "weight of the pull of prototypes to their start", search=(1e-3, 1e3))
    relevance: str = hyper(
        "softmax",
        "candidates also count by this in the loss: nothing, agreement of attributes, or class probability",
        choices=("none", "cosine", "softmax"),
    )
    confidence_momentum: float = hyper(0.9, "m; 0 replaces the label weights at every visit", below=1.0000001)
    consistency: float = hyper(
        0.5, "share of a correction that agreement of attributes has, not class scores", below=1.0000001
    )
    warmup: int = hyper(1, "epochs before label weights move")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contrast == "none" and self.contrast_bound != "infonce":
            raise UserError("dvsa.contrast_bound has no effect with contrast: none")

    @property
    def needs(self) -> frozenset[str]:
        """Semantics of the classes; a start at the identity needs them in the space of the images."""
        return super().needs | {"texts"} | ({"alignment"} if self.start == "identity" else set())

    @property
    def remembers(self) -> bool:
        """Whether images of earlier steps calibrate the prototypes."""
        return self.attend in ("both", "to_prototypes")

    @classmethod
    def unused(cls) -> Mapping[str, str]:
        """No adapter of the images beside the attention."""
        return {**super().unused(), "hidden": "its maps are as wide as the images"}

    def module(self, study: Study) -> nn.Module:
        """Attribute prototypes and their attention."""
        prototypes = self.first_prototypes(study)
        return Model(prototypes, self.scale(study), self.attend, self.reweigh, self.temperature == "learned")

    def first_prototypes(self, study: Study) -> Tensor:
        """(a, d) attribute prototypes before training."""
        start = self.start if self.start != "auto" else "identity" if study.aligned else "ridge"
        if start == "identity":
            check_space("dvsa.start: identity", study)
        means = self.means(study)
        images, semantics = self.images(study.features, means), self.semantics(study.texts, means)
        return first_prototypes(start, images, semantics, study.targets, self.start_ridge)

    def scale(self, study: Study) -> float:
        """The scale of the class scores."""
        return self.sharpness * study.scale if study.aligned else self.attribute_scale

    def means(self, study: Study) -> State:
        """What is subtracted from images and semantics; nothing where they are taken as they come."""
        if self.centre == "as_given" or (self.centre == "auto" and study.aligned) or len(study.texts) < 2:
            return {}
        return {"image_mean": normalise(study.features).mean(0), "text_mean": study.texts.mean(0)}

    def images(self, features: Tensor, memory: State) -> Tensor:
        """(B, d) images as they are fitted and scored."""
        images = normalise(features)
        return images - memory["image_mean"] if "image_mean" in memory else images

    def semantics(self, texts: Tensor, memory: State) -> Tensor:
        """(C, a) unit semantics of any classes."""
        return class_semantics(texts, memory["text_mean"]) if "text_mean" in memory else normalise(texts)

    def first_weights(self, study: Study) -> Tensor:
        """(N, K) label weights at the start."""
        if self.confidence == "uniform":
            return study.targets
        means = self.means(study)
        scores = self.images(study.features, means) @ self.first_prototypes(study).T
        return softmax_on(self.scale(study) * scores @ self.semantics(study.texts, means).T, study.candidates)

    def memory(self, study: Study, params: State) -> State:
        """Means, prototypes at the start, and the images that attended to every attribute in earlier steps."""
        prototypes = params["prototypes"]
        memory = {**self.means(study), "first": prototypes.clone()}
        if self.remembers:
            memory |= {"evidence": torch.zeros_like(prototypes), "count": torch.zeros_like(prototypes[:, 0])}
        return memory

    def extra_floats(self, study: Study) -> int:
        """Attention, scores and their products, the memory, and the pairs of the contrast."""
        (images, width), attributes = study.features.shape, study.texts.shape[-1]
        batch = min(self.batch, images)
        pairs = {"attributes": attributes, "images": batch, "none": 0}[self.contrast]
        return 8 * batch * attributes + 3 * batch * width + 3 * attributes * width + 5 * pairs**2

    def see(self, model: Model, x: Tensor, memory: State) -> Seen:
        """Images as attributes see them."""
        pooled = memory["evidence"] / memory["count"].clamp(min=MIN_COUNT).unsqueeze(-1) if self.remembers else None
        return model.see(x, self.attention_sharpness, self.attention_gain, pooled)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """One mini-batch: attend, score, contrast, correct the label weights."""
        result: tuple[Tensor, Update] = net(batch.features, within=lambda model, x: self.training_step(model, x, batch))
        return result

    def training_step(self, model: Model, features: Tensor, batch: Batch) -> tuple[Tensor, Update]:
        """Loss of a mini-batch of (B, d) images, and what it changes."""
        x, semantics = self.images(features, batch.memory), self.semantics(batch.texts, batch.memory)
        seen = self.see(model, x, batch.memory)
        output = Output(model.logits(seen.weighted, semantics, self.measure))
        agreement = normalise(seen.scores.detach()) @ normalise(semantics).T
        weights = self.relevant(output.detached(), agreement, batch)
        loss = soft_cross_entropy(output, weights)
        if self.contrast != "none":
            expected = batch.weights @ semantics
            loss = loss + self.contrast_weight * contrast(
                self.contrast, self.contrast_bound, seen.scores, expected, batch.weights, self.contrast_sharpness
            )
        loss = loss + self.anchor * (model.prototypes - batch.memory["first"]).square().sum(-1).mean()
        with torch.no_grad():
            memory = self.remembered(seen.attention.detach(), x, batch.memory) if self.remembers else {}
            corrected = self.corrected(output.detached().log_probs, model.scale * agreement, batch)
            return loss, Update(corrected, memory, notes={"confidence": batch.weights.amax(-1).mean()})

    def remembered(self, attention: Tensor, x: Tensor, memory: State) -> State:
        """Sums and counts of the images that attended to every attribute: this batch's, and fading those of others."""
        kept = 1 - self.evidence_rate
        evidence = kept * memory["evidence"] + attention.T @ x
        return {"evidence": evidence, "count": kept * memory["count"] + attention.sum(0)}

    def relevant(self, output: Output, agreement: Tensor, batch: Batch) -> Tensor:
        """(B, K) what every candidate counts in the loss."""
        if self.relevance == "none":
            return batch.weights
        if self.relevance == "cosine":
            return batch.weights * (1 + agreement) / 2
        return softmax_on(output.log_probs + batch.weights.clamp(min=MIN_WEIGHT).log(), batch.candidates)

    def corrected(self, log_probs: Tensor, agreement: Tensor, batch: Batch) -> Tensor:
        """(B, K) label weights after this visit."""
        by_scores, by_attributes = softmax_on(log_probs, batch.candidates), softmax_on(agreement, batch.candidates)
        fresh = torch.lerp(by_scores, by_attributes, self.consistency)
        return torch.lerp(batch.weights, fresh, (1 - self.confidence_momentum) * (batch.epoch >= self.warmup))

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) scores of any classes by their semantics."""

        def within(model: Model, images: Tensor) -> Tensor:
            seen = self.see(model, self.images(images, memory), memory)
            return model.logits(seen.weighted, self.semantics(net.texts, memory), self.measure)

        scores: Tensor = net(features, within=within)
        return scores
