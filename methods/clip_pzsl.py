"""CLIP-PZSL: label embeddings mined from images, and a partial zero-shot loss that weights the candidates.

x = adapter(image),  E = mining(x, C)           label embeddings, see `pzsl_bench.mining`
w_ij ~ r_ij T_ij on the candidates              relevance of a candidate times its confidence, a constant
p_ij = softmax_j(kappa x_i . e_j)
loss = -mean_i sum_j w_ij log p_ij + align mean_i sum_j w_ij (1 - x_i . e_j) + anchor mean_j (1 - e_j . t_j)
T_ij <- m T_ij + (1 - m) p_ij on the candidates, rescaled;   C <- (1 - a) C + a C'

The paper's body was not available to us: every choice that its abstract leaves open is a setting here, and
docs/clip-pzsl.md says for each of them what is verified, what the authors' earlier code does and what is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pzsl_bench.contract import (
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
from pzsl_bench.heads import SPEED, Dense
from pzsl_bench.mining import ASSIGNMENTS, SemanticMining, assign, common, hard

UNSEEN = ("bypass", "shared_map", "transfer", "seen_memory", "single_image")
MINIMAL: dict[str, Any] = {"block": "none", "anchor": 0.0}
LINEAGE: dict[str, Any] = {
    "block_norm": "ln",
    "block_start": "random",
    "adapter": "mlp",
    "adapter_repeats": 2,
    "labels": "accumulate",
    "labels_rate": 1e-4,
    "eta": 0.0,
    "relevance": "cosine",
    "normalise_weights": False,
    "confidence_momentum": 0.0,
    "warmup": 0,
    "anchor": 0.0,
    "unseen": "shared_map",
    "optimiser": "sgd",
    "lr": 1e-2,
    "weight_decay": 1e-5,
    "schedule": "constant",
}
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "minimal": MINIMAL,
    "specification": {
        "temperature": "learned",
        "block_ffn": True,
        "align": "cosine",
        "anchor": 0.0,
        "unseen": "shared_map",
    },
    "lineage": {**LINEAGE, "block": "gumbel_probs"},
    "lineage_logits": {**LINEAGE, "block": "gumbel_logits"},
}
"""`default`: best validated; `minimal`: the weighted cross entropy alone; `lineage`: nearest to the group's code."""


class Model(nn.Module):
    """Image adapter, mining block, temperature and (if learnt) label embeddings."""

    def __init__(self, settings: ClipPzsl, study: Study):
        super().__init__()
        width = study.features.shape[-1]
        self.repeats = settings.adapter_repeats
        self.kind = settings.adapter
        if self.kind == "linear":
            self.up = Dense(width, width)
        elif self.kind != "none":
            hidden = settings.hidden if self.kind == "shared" else 2 * width
            self.down, self.up = Dense(width, hidden), Dense(hidden, width)
        if self.kind != "none":
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)
        self.block = SemanticMining(width, settings.block_norm, settings.block_start, settings.block_ffn)
        self.scale = study.scale
        self.log_scale = nn.Parameter(torch.zeros(())) if settings.temperature == "learned" else None
        self.centres = nn.Parameter(study.texts.clone()) if settings.labels == "learnable" else None

    def adapt(self, features: Tensor) -> Tensor:
        """(B, d) unit images after the adapter."""
        x = features
        for _ in range(self.repeats if self.kind != "none" else 0):
            if self.kind == "linear":
                x = x + self.up(x)
            elif self.kind == "shared":
                x = x + self.up(torch.relu(self.down(x)))
            else:
                x = x + self.up(F.gelu(self.down(F.layer_norm(x, x.shape[-1:]))))
        return normalise(x)

    def kappa(self) -> Tensor | float:
        """The logit scale, at most 100 times the encoder's own range."""
        return self.scale if self.log_scale is None else self.scale * torch.exp(SPEED * self.log_scale)

    def forward(self, features: Tensor, texts: Tensor, within: Any) -> Any:
        """Whatever `within` makes of this model and the adapted images."""
        return within(self, self.adapt(features))


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
        "The block assigns by argmax of the scores: with the released rule (Gumbel noise on probabilities) a certain"
        " image joins its own class with probability e/(e+K-1) only. The released rule is `block: gumbel_probs`.",
    ),
)
@dataclass(frozen=True)
class ClipPzsl(Gradient):
    """Semantic mining and partial zero-shot loss."""

    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    preset: str = hyper("default", "a named set of settings; what is set beside it wins", choices=tuple(PRESETS))
    temperature: str = hyper("fixed", "scale of the cosine", choices=("learned", "fixed"))
    adapter: str = hyper(
        "shared", "image side: as all cosine heads here, or LN-GELU MLP", choices=("shared", "mlp", "linear", "none")
    )
    adapter_repeats: int = hyper(1, "how often the same adapter is applied", above=0)
    labels: str = hyper(
        "ema",
        "label-embedding state: moving average, the group's accumulator, trained, or the texts throughout",
        choices=("ema", "accumulate", "learnable", "frozen"),
    )
    labels_rate: float = hyper(0.01, "step of the moving average or accumulator", search=(1e-3, 1e-1))
    block: str = hyper("argmax_st", "how images are assigned to classes", choices=ASSIGNMENTS)
    block_norm: str = hyper("l2", "unit vectors, or layer norm as in the group's code", choices=("l2", "ln"))
    block_start: str = hyper("identity", "start of the block", choices=("identity", "random"))
    block_ffn: bool = hyper(False, "a learnt map reads the label embeddings")
    tau_z: float = hyper(0.07, "temperature of the assignment scores", search=(0.01, 1.0), above=0)
    eta: float = hyper(1.0, "1: mean of the assigned images, 0: their sum")
    mask_candidates: bool = hyper(False, "images are assigned to their own candidates only")
    confidence_weighted: bool = hyper(False, "an image counts by its largest confidence")
    leave_one_out: bool = hyper(False, "an image is not scored against evidence that it gave itself")
    aux_assign: float = hyper(0.0, "weight of a cross entropy between assignment and confidences")
    loss_embeddings: str = hyper("current", "label embeddings in the loss", choices=("current", "lagged"))
    relevance: str = hyper(
        "softmax",
        "how a candidate's relevance enters its weight",
        choices=("cosine", "softmax", "uniform", "proden"),
    )
    relevance_scale: float = hyper(14.3, "kappa_w, of the relevance softmax", search=(1.0, 100.0), above=0)
    normalise_weights: bool = hyper(True, "weights of an image sum to one")
    confidence: str = hyper("uniform", "confidences at the start", choices=("uniform", "multihot", "clip"))
    confidence_momentum: float = hyper(0.9, "m; 0 replaces the confidences at every visit", below=1.0000001)
    confidence_scale: float = hyper(14.3, "kappa_c, of the confidence refresh", search=(1.0, 100.0), above=0)
    warmup: int = hyper(1, "epochs before confidences move")
    align: str = hyper("none", "alignment term", choices=("cosine", "none"))
    align_weight: float = hyper(1.0, "weight of the alignment", search=(1e-2, 10.0))
    anchor: float = hyper(3.0, "weight of the pull of label embeddings to their texts", search=(0.1, 10.0))
    unseen: str = hyper("transfer", "how classes without images get their embedding", choices=UNSEEN)
    transfer_scale: float = hyper(14.3, "kappa_r, of the neighbours in `transfer`", above=0)

    @property
    def needs(self) -> frozenset[str]:
        """Label embeddings start at the texts."""
        return frozenset({"texts"})

    def module(self, study: Study) -> nn.Module:
        """Adapter and block."""
        return Model(self, study)

    def first_weights(self, study: Study) -> Tensor:
        """(N, K) confidences at the start."""
        if self.confidence == "multihot":
            return study.candidates.to(study.features.dtype)
        if self.confidence == "clip":
            return among(study.features @ study.texts.T * self.confidence_scale, study.candidates)
        return study.targets

    def memory(self, study: Study, params: State) -> State:
        """The label embeddings."""
        return {} if self.labels == "learnable" else {"centres": study.texts.clone()}

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """One number for every image and class, where the assignment is thrown."""
        return {} if "gumbel" not in self.block else {"gumbel": (images, classes)}

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy with the weights of the candidates."""
        return soft_cross_entropy(output, batch.weights)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """One mini-batch: mine, weigh, score, refresh."""
        result: tuple[Tensor, Update] = net(batch.features, within=lambda model, x: self._step(model, x, batch))
        return result

    def _step(self, model: Model, x: Tensor, batch: Batch) -> tuple[Tensor, Update]:
        centres = batch.memory.get("centres", model.centres)
        assert centres is not None
        new, cosines, scores = self._mine(model, x, centres, batch)
        embeddings = model.block.read(centres if self.loss_embeddings == "lagged" else new)
        weights = self._weights(cosines.detach(), batch)
        loss = self.loss(Output(model.kappa() * cosines), replace(batch, weights=weights))
        if self.align == "cosine":
            loss = loss + self.align_weight * (weights * (1 - cosines)).sum(-1).mean()
        loss = loss + self.anchor * (1 - (embeddings * batch.texts).sum(-1)).mean()
        if scores is not None:
            loss = loss - self.aux_assign * (batch.weights * F.log_softmax(scores, -1)).sum(-1).mean()
        with torch.no_grad():
            update = Update(
                self._refreshed(cosines.detach(), batch),
                self._stored(centres, new.detach()),
                notes=self._notes(weights, scores, batch),
            )
        return loss, update

    def _mine(self, model: Model, x: Tensor, centres: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """(K, d) moved centres, (B, K) cosines of images and label embeddings, (B, K) assignment scores."""
        block = model.block
        if self.block == "none":
            return centres, x @ block.read(centres).T, None
        scores = block.scores(x, centres, self.tau_z)
        if self.mask_candidates:
            scores = scores.masked_fill(~batch.candidates, torch.finfo(scores.dtype).min / 4)
        assignment = assign(self.block, scores, batch.dice.get("gumbel"))
        if self.confidence_weighted:
            assignment = assignment * batch.weights.amax(-1, keepdim=True)
        base = batch.texts if self.labels in ("ema", "frozen") else centres
        values = block.values(x)
        mean, count = common(assignment, values, self.eta)
        new = block.moved(base, centres, mean, count > 0)
        cosines = x @ block.read(centres if self.loss_embeddings == "lagged" else new).T
        if self.leave_one_out:
            cosines = self._without_own(model, x, values, assignment, base, centres, cosines)
        return new, cosines, scores

    def _without_own(
        self,
        model: Model,
        x: Tensor,
        values: Tensor,
        assignment: Tensor,
        base: Tensor,
        centres: Tensor,
        cosines: Tensor,
    ) -> Tensor:
        """Cosines in which the class an image was assigned to is rebuilt without that image."""
        own = hard(assignment.detach())
        total = own @ (assignment.T @ values)
        others = own @ assignment.detach().sum(0) - assignment.detach().amax(-1)
        mean = (total - assignment.amax(-1, keepdim=True) * values) / others.clamp(min=1).pow(self.eta).unsqueeze(-1)
        moved = model.block.moved(own @ base, own @ centres, mean, others > 0.5)
        alone = (x * model.block.read(moved)).sum(-1, keepdim=True)
        return torch.where(own > 0, alone, cosines)

    def _weights(self, cosines: Tensor, batch: Batch) -> Tensor:
        """(B, K) relevance times confidence on the candidates."""
        if self.relevance == "uniform":
            return batch.candidates / batch.candidates.sum(-1, keepdim=True)
        if self.relevance == "proden":
            weights = batch.weights
        elif self.relevance == "cosine":
            weights = batch.weights * (1 + cosines) / 2
        else:
            weights = batch.weights * among(self.relevance_scale * cosines, batch.candidates)
        if not self.normalise_weights:
            return weights
        total = weights.sum(-1, keepdim=True)
        # Relevance and confidence that exclude each other: then the confidences alone.
        spare = batch.weights / batch.weights.sum(-1, keepdim=True)
        return torch.where(total > 1e-30, weights / total.clamp(min=1e-30), spare)

    def _refreshed(self, cosines: Tensor, batch: Batch) -> Tensor | None:
        """(B, K) confidences after this visit."""
        if self.relevance == "uniform":
            return None
        fresh = among(self.confidence_scale * cosines, batch.candidates)
        moved = self.confidence_momentum * batch.weights + (1 - self.confidence_momentum) * fresh
        return torch.where(batch.epoch >= self.warmup, moved, batch.weights)

    def _stored(self, centres: Tensor, new: Tensor) -> State:
        """The label embeddings as they are kept."""
        if self.labels in ("learnable", "frozen") or self.block == "none":
            return {}
        return {"centres": centres + self.labels_rate * (new - centres)}

    def _notes(self, weights: Tensor, scores: Tensor | None, batch: Batch) -> State:
        """How decided the labels are: largest weight, spread over the candidates, entropy of the assignment."""
        spread = (weights.square().sum(-1) - weights.sum(-1).square() / batch.candidates.sum(-1)).clamp(min=0)
        notes = {"confidence": batch.weights.amax(-1).mean(), "spread": spread.sqrt().mean()}
        if scores is not None:
            log_p = F.log_softmax(scores.detach(), -1)
            notes["assignment_entropy"] = -(log_p.exp() * log_p).sum(-1).mean()
        return notes

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) cosines of adapted images and label embeddings; unseen classes by `unseen`."""
        scores: Tensor = net(features, within=lambda model, x: self._score(model, x, net.texts, memory))
        return scores

    def _score(self, model: Model, x: Tensor, texts: Tensor, memory: State) -> Tensor:
        centres = memory.get("centres", model.centres)
        assert centres is not None
        block, seen = model.block, len(centres)
        known, new = texts[:seen], texts[seen:]
        embeddings = block.read(centres)
        if len(new) == 0:
            return x @ embeddings.T
        if self.unseen == "bypass":
            others = normalise(new)
        elif self.unseen == "transfer":
            near = (self.transfer_scale * new @ known.T).softmax(-1)
            others = block.read(new + near @ (centres - known))
        elif self.unseen == "seen_memory":
            near = (normalise(new) @ normalise(centres).T / self.tau_z).softmax(-1)
            others = block.read(new + block.out(near @ normalise(centres)))
        else:
            others = block.read(new)
        if self.unseen == "single_image":
            return self._score_alone(model, x, torch.cat([centres, new]))
        return x @ torch.cat([embeddings, others]).T

    def _score_alone(self, model: Model, x: Tensor, centres: Tensor) -> Tensor:
        """The block runs on one test image at a time; its nearest class moves towards it before it is scored."""
        block = model.block
        nearest = hard(block.scores(x, centres, self.tau_z))
        moved = block.read(nearest @ centres + block.out(block.values(x)))
        return torch.where(nearest > 0, (x * moved).sum(-1, keepdim=True), x @ block.read(centres).T)


def among(logits: Tensor, candidates: Tensor) -> Tensor:
    """(B, K) softmax over the candidates only."""
    return logits.masked_fill(~candidates, torch.finfo(logits.dtype).min / 4).softmax(-1) * candidates
