"""One training step of CLIP-PZSL: mine label embeddings, weigh the candidates, score, refresh the confidences."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.contract import Batch, Output, State, Update
from pzsl_bench.methods.clip_pzsl.mining import assign, class_sums, entropy, hard, pool_sums
from pzsl_bench.methods.clip_pzsl.model import Model
from pzsl_bench.methods.clip_pzsl.prototypes import changed_sums, visual_evidence
from pzsl_bench.methods.clip_pzsl.relevance import alignment, barrier, combined, softmax_over_candidates, spread
from pzsl_bench.methods.clip_pzsl.settings import Settings, is_off


def stored_centres(model: Model, texts: Tensor, memory: State) -> Tensor:
    """(K, d) where the label embeddings of a step start from."""
    if model.residual is not None:
        return model.residual.moved(texts)
    centres = memory.get("centres", model.centres)
    assert centres is not None
    return centres


class Mined(NamedTuple):
    """The outputs of the mining block for a batch."""

    target_centres: Tensor
    """(K, d) the rows that the stored label embeddings move towards."""
    embeddings: Tensor
    """(K, d) unit label embeddings as the loss sees them."""
    cosines: Tensor
    """(B, K) of images and label embeddings."""
    scores: Tensor | None = None
    """(B, K) of the assignment; None without a block."""
    soft: Tensor | None = None
    """(B, K) their softmax."""
    remembered: State | None = None
    """Sums and counts of the images of every class, of this batch and earlier ones; None where none are stored."""
    believed: Tensor | None = None
    """(B, K) what weighs the candidates and refreshes the confidences, where it is not the cosines."""
    images: Tensor | None = None
    """(B, d) the whitened images; only with `block: confidences`."""
    evidence: Tensor | None = None
    """(B, K) of the other images of each class; likewise."""


def training_step(settings: Settings, model: Model, x: Tensor, batch: Batch) -> tuple[Tensor, Update]:
    """Loss of a mini-batch of adapted images x (B, d), and the update of everything besides the parameters."""
    centres = stored_centres(model, batch.texts, batch.memory)
    mined = mine(settings, model, x, centres, batch)
    constant = mined.cosines.detach() if mined.believed is None else mined.believed
    walls = barrier(batch.candidates, x.dtype)
    weights = candidate_weights(settings, model, constant, batch, walls)
    loss = settings.loss(Output(model.kappa() * mined.cosines), replace(batch, weights=weights))
    if settings.align != "none":
        term = alignment(
            settings.align, mined.cosines, weights, mined.embeddings, settings.align_sharpness * model.scale
        )
        loss = loss + settings.align_weight * term
    if not is_off(settings.anchor):
        loss = loss + settings.anchor * (1 - (mined.embeddings * batch.texts).sum(-1)).mean()
    if mined.scores is not None and not is_off(settings.aux_assign):
        loss = loss - settings.aux_assign * (batch.weights * F.log_softmax(mined.scores, -1)).sum(-1).mean()
    with torch.no_grad():
        after = refreshed(settings, model, constant, batch, walls)
        memory = {**stored(settings, centres, mined.target_centres.detach()), **(mined.remembered or {})}
        if mined.images is not None and mined.evidence is not None and after is not None:
            memory |= changed_sums(batch.memory, mined.images, batch.weights, after, mined.evidence)
        update = Update(after, memory, notes=notes(weights, mined, batch))
    return loss, update


def mine(settings: Settings, model: Model, x: Tensor, centres: Tensor, batch: Batch) -> Mined:
    """Run the mining block on a batch."""
    block = model.block
    if not settings.attends:
        embeddings = block.read(centres)
        mined = Mined(centres, embeddings, x @ embeddings.T)
        return with_evidence(settings, model, mined, batch) if settings.block == "confidences" else mined
    scores = block.scores(x, centres, settings.assignment_sharpness * model.scale)
    hidden = batch.dice["hide"] < settings.hide if "hide" in batch.dice else None
    if settings.mask_candidates:
        scores = scores + 2 * barrier(batch.candidates, scores.dtype)
    if hidden is not None:
        # An image whose candidates are all hidden is assigned to one of them, which has no effect, not elsewhere.
        scores = scores + barrier(~hidden, scores.dtype)
    soft = scores.softmax(-1)
    assignment = assign(settings.block, scores, soft, batch.dice.get("gumbel"))
    if settings.confidence_weighted:
        assignment = assignment * batch.weights.amax(-1, keepdim=True)
    base = settings.base(batch.texts, centres)
    values = block.values(x)
    total, count = class_sums(assignment, values)
    remembered = None
    if settings.remembers:
        # Evidence that contains the scored image itself gives its label away: where a batch has few images of a class,
        # the block would learn to reproduce them, which helps no other image.
        remembered = {
            "evidence": (1 - settings.evidence_rate) * batch.memory["evidence"] + total.detach(),
            "count": (1 - settings.evidence_rate) * batch.memory["count"] + count,
        }
        total, count = batch.memory["evidence"], batch.memory["count"]
    mean = pool_sums(total, count, settings.eta)
    target_centres = new = block.moved(base, centres, mean, count > 0)
    if hidden is not None:
        target_centres = torch.where(hidden.unsqueeze(-1), centres, new)
        new = torch.where(hidden.unsqueeze(-1), batch.texts, new)
    embeddings = block.read(centres if settings.loss_embeddings == "lagged" else new)
    cosines = x @ embeddings.T
    if settings.leave_one_out:
        visible = assignment if hidden is None else assignment * ~hidden
        cosines = without_own_image(settings, model, x, values, visible, base, centres, cosines)
    return Mined(target_centres, embeddings, cosines, scores, soft, remembered)


def with_evidence(settings: Settings, model: Model, mined: Mined, batch: Batch) -> Mined:
    """The same with the evidence of the other images in what is believed, and perhaps in the loss.

    Believed are the cosines as they count after training, when what was learnt is weighed against the encoder's own.
    """
    with torch.no_grad():
        images = batch.rows["whitened"]
        evidence = visual_evidence(batch.memory, images, batch.weights, settings.evidence_images)
    if settings.evidence_in == "loss":
        return mined._replace(
            cosines=mined.cosines + settings.evidence_share * evidence, images=images, evidence=evidence
        )
    with torch.no_grad():
        cosines = mined.cosines
        if "zero_shot" in batch.rows:
            cosines = torch.lerp(batch.rows["zero_shot"], cosines, model.kept)
        believed = cosines + settings.evidence_share * evidence
    return mined._replace(believed=believed, images=images, evidence=evidence)


def without_own_image(
    settings: Settings,
    model: Model,
    x: Tensor,
    values: Tensor,
    assignment: Tensor,
    base: Tensor,
    centres: Tensor,
    cosines: Tensor,
) -> Tensor:
    """Cosines in which the class an image was assigned to is rebuilt without that image."""
    assigned = hard(assignment.detach()) * (assignment.detach() > 0)
    total = assigned @ (assignment.T @ values)
    others = assigned @ assignment.detach().sum(0) - assignment.detach().amax(-1)
    mean = (total - assignment.amax(-1, keepdim=True) * values) / others.clamp(min=1).pow(settings.eta).unsqueeze(-1)
    moved = model.block.moved(assigned @ base, assigned @ centres, mean, others > 0.5)
    alone = (x * model.block.read(moved)).sum(-1, keepdim=True)
    return torch.where(assigned > 0, alone, cosines)


def candidate_weights(settings: Settings, model: Model, cosines: Tensor, batch: Batch, walls: Tensor) -> Tensor:
    """(B, K) relevance times confidence on the candidates; `walls` is their barrier."""
    if settings.relevance == "uniform":
        return batch.candidates / batch.candidates.sum(-1, keepdim=True)
    if settings.relevance == "proden":
        relevance = torch.ones_like(cosines)
    elif settings.relevance == "cosine":
        relevance = (1 + cosines) / 2
    else:
        scale = settings.relevance_sharpness * model.constant_kappa()
        relevance = softmax_over_candidates(
            (scale * (1 - batch.progress) if settings.relevance_fades else scale) * cosines, walls
        )
    return combined(relevance, batch.weights) if settings.normalise_weights else batch.weights * relevance


def refreshed(settings: Settings, model: Model, cosines: Tensor, batch: Batch, walls: Tensor) -> Tensor | None:
    """(B, K) confidences after this visit."""
    if settings.relevance == "uniform":
        return None
    fresh = softmax_over_candidates(settings.confidence_sharpness * model.constant_kappa() * cosines, walls)
    return torch.lerp(batch.weights, fresh, (1 - settings.confidence_momentum) * (batch.epoch >= settings.warmup))


def stored(settings: Settings, centres: Tensor, new: Tensor) -> State:
    """The stored label embeddings after this batch; empty where they do not move."""
    if settings.labels in ("residual", "learnable", "frozen") or not settings.attends:
        return {}
    return {"centres": centres + settings.labels_rate * (new - centres)}


def notes(weights: Tensor, mined: Mined, batch: Batch) -> State:
    """Measures of how certain the labels are: largest confidence, spread of the weights, entropy of the assignment."""
    measures = {
        "confidence": batch.weights.amax(-1).mean(),
        "spread": spread(weights, batch.candidates.sum(-1)).mean(),
    }
    if mined.scores is not None and mined.soft is not None:
        measures["assignment_entropy"] = entropy(mined.scores.detach(), mined.soft.detach()).mean()
    return measures
