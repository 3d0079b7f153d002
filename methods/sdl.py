"""SDL: an image becomes a matrix of vectors, and each class takes the one that suits it best.

Family: zsl (zero-shot learning from true labels).

A = rows a_1 .. a_k of the image,   s_c = max_r a_r . n_c,   n_c the text of class c
rank = sum_p u_p sum_n softplus(s_n - s_p),   u_p = 1 / |P|  (softplus(-s_p) where there is no n)
V    = sum over dimensions of the variance of n_p over P:  images of many different tags count more
R    = sum over dimensions of the variance of a_r over r:  rows should not drift apart
loss = mean_i  2 [(1 - lambda) (1 + V) rank + lambda R],   or (1 + V) rank where lambda (`var_weight`) is 0

p runs over the present tags P of an image, n over the absent ones; images without a present tag are left out.

Where an image has one class and a candidate set S, n runs over classes outside of S, and `candidate_loss` says what u
is. all: equal on S;  weighted: confidences on S that follow the softmax of the scores on S;  max: 1 for the best of S.
V is then 1 - |sum_c u_c n_c|^2. It is 0 for `all`, as the V of the whole set would grow with the distractors. For a
single certain class V is 0, so the diversity of tags plays no part in clean single-label training, but the best of k
rows does.

`start: random` is a linear map without bias, as in the release. `start: residual` is the same map seen from the
encoder's space, a_r = alpha scale (x + W_r x), and starts near zero-shot.

It was made for images of many tags. Where each image has one class, the ranking of uniform candidates costs what the
encoder knew: on real CLIP features of Caltech-101 T1 is 95.2 at rate 0.1 and 93.7 at 0.5, zero-shot CLIP has 96.6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pzsl_bench.blocks.candidate_softmax import softmax_on
from pzsl_bench.blocks.clip_space import check_space
from pzsl_bench.blocks.tag_heads import is_absent, is_present
from pzsl_bench.blocks.tag_pairs import GAPS_AT_ONCE, attached, logistic, pair_sums
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
    renormalise,
)


class EmbeddingMatrix(nn.Module):
    """k linear maps; a class is scored by the map that gives it the largest score."""

    def __init__(self, start: Tensor, gain: float | None):
        super().__init__()
        self.weight = nn.Parameter(start)
        """(k, d, a)"""
        self.gain = gain

    def forward(self, features: Tensor, texts: Tensor, give: str = "scores") -> Any:
        """(B, d), (C, a) -> (B, C) scores, and with give="both" also the (k, B, a) matrices."""
        rows = features @ self.weight
        if self.gain is not None:
            rows = self.gain * (features + rows)
        # One row after the other, as k times the scores of a whole exam would be the largest tensor of all.
        scores = rows[0] @ texts.T
        for row in rows[1:]:
            scores = torch.maximum(scores, row @ texts.T)
        return (scores, rows) if give == "both" else scores


@method(
    "sdl",
    title="SDL",
    family="zsl",
    citation=Citation(
        "Ben-Cohen, Zamir, Ben-Baruch, Friedman and Zelnik-Manor",
        "Semantic Diversity Learning for Zero-Shot Multi-Label Classification",
        "ICCV",
        2021,
        "https://arxiv.org/abs/2105.05926",
    ),
    deviations=(
        "Frozen image features replace the trained network, and class texts of the same encoder the word vectors.",
        "The map starts at the encoder's own space (start); AdamW with a cosine schedule replaces Adam with one cycle.",
        "The release keeps the epoch that is best on the images it reports: here the last one counts.",
        "It fails on images without a present tag, which are left out here, and with k = 1 and a regulariser, which is"
        " then 0.",
        "Candidate sets, weights for tags that nothing is said of, centred vectors for V and the mean over absent tags"
        " are ours.",
    ),
)
@dataclass(frozen=True)
class SDL(Steady):
    """Semantic diversity learning."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classes", "tags"})
    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates", "marks")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "parity": {"k": 2, "var_weight": 0.3, "start": "random", "negatives": "sum", "unknown": "negative"},
        "paper_coco": {
            "k": 2,
            "var_weight": 0.01,
            "start": "random",
            "negatives": "sum",
            "unknown": "negative",
            "optimiser": "adam",
            "lr": 2.5e-5,
            "weight_decay": 3e-4,
            "epochs": 10,
            "batch": 32,
        },
    }

    preset: str = hyper(
        "own",
        "own settings, the release's loss, or its loss with its COCO recipe, made for a network that is trained whole",
        choices=("own", "parity", "paper_coco"),
    )
    head: str = hyper("matrix", "how images meet classes: the best of k rows", choices=("matrix",))
    k: int = hyper(2, "rows of an image's matrix; the release has 2 for COCO and 7 for NUS-WIDE", above=0)
    start: str = hyper(
        "residual", "maps before training: the identity and noise, or random", choices=("residual", "random")
    )
    alpha: float = hyper(
        0.3,
        "length of a row before training as a share of the encoder's scale, with start: residual",
        above=0,
        fixed=True,
    )
    spread: float = hyper(0.01, "size of the noise in every number of a map, with start: residual", fixed=True)
    var_weight: float = hyper(0.01, "lambda, the share of the regulariser; 0: none", below=1, search=(1e-3, 5e-1))
    diversity_weight: bool = hyper(True, "whether images of diverse tags count more")
    diversity_vectors: str = hyper(
        "raw", "the vectors in V: texts, or texts without their mean at unit length", choices=("raw", "centered")
    )
    unknown: str = hyper(
        "negative",
        "tags that nothing is said of: absent, left out, or absent as far as zero-shot says so",
        choices=("negative", "ignore", "weighted"),
    )
    negatives: str = hyper("sum", "terms of the absent tags: their sum, or their mean", choices=("sum", "mean"))
    candidate_loss: str = hyper(
        "auto",
        "what stands for those present: all, by confidence, or the best; auto: all tags, but candidates by confidence",
        choices=("auto", "all", "weighted", "max"),
    )
    keep: float = hyper(0.9, "how much of a confidence stays at every visit", below=1)

    @property
    def needs(self) -> frozenset[str]:
        """Texts; only those of the images' own encoder are near the images before training."""
        aligned = self.start == "residual" or self.unknown == "weighted"
        return super().needs | {"texts"} | ({"alignment"} if aligned else set())

    def module(self, study: Study) -> nn.Module:
        """The maps."""
        width, semantics = study.features.shape[-1], study.texts.shape[-1]
        if self.start == "random":
            bound = 1 / math.sqrt(width)
            return EmbeddingMatrix(torch.empty(self.k, width, semantics).uniform_(-bound, bound), None)
        check_space(self.info.name, study)
        return EmbeddingMatrix(self.spread * torch.randn(self.k, width, width), self.alpha * study.scale)

    def memory(self, study: Study, params: State) -> State:
        """The encoder's scale, for zero-shot probabilities of tags that nothing is said of."""
        return {"scale": study.features.new_tensor(study.scale)} if self.unknown == "weighted" else {}

    def extra_floats(self, study: Study) -> int:
        """Gaps of pairs, and the rows and scores of a batch's images."""
        return 3 * GAPS_AT_ONCE + 4 * self.k * self.batch * (study.texts.shape[-1] + len(study.texts))

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """Loss, and confidences that follow the scores."""
        scores, rows = net(batch.features, give="both")
        tagged = batch.marks.numel() > 0
        labels = is_present(batch.marks) if tagged else batch.candidates.to(scores.dtype)
        rule = self.candidate_loss if self.candidate_loss != "auto" else ("all" if tagged else "weighted")
        upper = self.present_weights(rule, labels, batch.weights, scores.detach())
        lower = self.absent_weights(batch) if tagged else 1 - labels
        ranked = self.rank_term(scores, upper, lower, batch.most)
        if self.diversity_weight:
            ranked = (1 + self.diversity(upper, labels, batch.texts, rule, tagged)) * ranked
        spread = rows.var(0).sum(-1) if len(rows) > 1 else torch.zeros_like(ranked)
        share = torch.as_tensor(self.var_weight, dtype=scores.dtype, device=scores.device)
        per_image = torch.where(share > 0, 2 * ((1 - share) * ranked + share * spread), ranked)
        counted = (labels.sum(-1) > 0).to(scores.dtype)
        loss = (counted * per_image).sum() / counted.sum().clamp(min=1)
        if rule != "weighted":
            return loss, Update()
        with torch.no_grad():
            fresh = softmax_on(Output(scores).log_probs, upper) * counted.unsqueeze(-1)
            return loss, Update(self.keep * upper + (1 - self.keep) * fresh)

    def present_weights(self, rule: str, labels: Tensor, weights: Tensor, scores: Tensor) -> Tensor:
        """(B, K) u: weights of the present classes, which sum to one; all 0 where there are none."""
        if rule == "all":
            return renormalise(labels)
        if rule == "weighted":
            return renormalise(weights * labels)
        best = torch.where(labels > 0, scores, torch.full_like(scores, -torch.inf)).argmax(-1, keepdim=True)
        return torch.zeros_like(labels).scatter(-1, best, 1.0) * labels

    def absent_weights(self, batch: Batch) -> Tensor:
        """(B, K) weights of the absent tags."""
        if self.unknown != "weighted":
            return is_absent(batch.marks, self.unknown)
        with torch.no_grad():
            guess = (batch.memory["scale"] * normalise(batch.features) @ normalise(batch.texts).T).softmax(-1)
            return is_absent(batch.marks) + (batch.marks == 0) * (1 - guess)

    def rank_term(self, scores: Tensor, upper: Tensor, lower: Tensor, max_upper: int) -> Tensor:
        """(B,) rank: how far absent classes come up to present ones."""
        value, slopes = pair_sums(scores, upper, lower, max_upper, logistic)
        total = lower.sum(-1)
        if self.negatives == "mean":
            share = 1 / total.clamp(min=1)
            value, slopes = value * share, slopes * share.unsqueeze(-1)
        alone = (upper * F.softplus(-scores)).sum(-1)
        return torch.where(total > 0, attached(value, slopes, scores), alone)

    def diversity(self, upper: Tensor, labels: Tensor, texts: Tensor, rule: str, tagged: bool) -> Tensor:
        """(B,) V: how different the vectors of the present classes are."""
        if rule == "all" and not tagged:
            return upper.new_zeros(len(upper))
        vectors = normalise(texts - texts.mean(0)) if self.diversity_vectors == "centered" else texts
        within = upper @ vectors.square().sum(-1) - (upper @ vectors).square().sum(-1)
        if rule == "all":
            count = labels.sum(-1)
            within = within * count / (count - 1).clamp(min=1)
        return within.clamp(min=0)
