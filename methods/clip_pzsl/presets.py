"""Named settings of CLIP-PZSL: ablations of its parts, and settings nearest to related methods."""

from __future__ import annotations

from typing import Any

BATCH: dict[str, Any] = {"evidence": "batch"}
PLAIN: dict[str, Any] = {**BATCH, "relevance_fades": False, "frozen_share": 0.0}
"""Switches off what we added to the abstract."""
MINIMAL: dict[str, Any] = {**PLAIN, "block": "none", "anchor": 0.0}
LINEAGE: dict[str, Any] = {
    **PLAIN,
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
ABLATIONS: dict[str, dict[str, Any]] = {
    "no_mining": {"block": "none"},
    "hard_kmeans": {"block": "argmax_st"},
    "cross_attention": {"block": "softmax_xattn"},
    "batch_evidence": BATCH,
    "stopped_gradient": {**BATCH, "block": "argmax_sg"},
    "uniform_weights": {"relevance": "uniform"},
    "no_relevance": {"relevance": "proden"},
    "cosine_relevance": {"relevance": "cosine"},
    "relevance_stays": {"relevance_fades": False},
    "no_frozen_share": {"frozen_share": 0.0},
    "no_refresh": {"confidence_momentum": 1.0},
    "clip_confidences": {"confidence": "clip"},
    "alignment": {"align": "cosine"},
    "contrastive_alignment": {"align": "contrastive"},
    "mse_alignment": {"align": "mse"},
    "frozen_labels": {"labels": "frozen"},
    "learnable_labels": {"labels": "learnable"},
    "accumulated_labels": {"labels": "accumulate"},
    "no_adapter": {"adapter": "none"},
    "masked_assignment": {"mask_candidates": True},
    "leave_one_out": {**BATCH, "block": "argmax_st", "leave_one_out": True},
    "hidden_classes": {"hide": 0.1},
    "sum": {**BATCH, "eta": 0.0},
    "unseen_bypass": {"unseen": "bypass"},
    "unseen_shared_map": {"unseen": "shared_map"},
    "unseen_seen_memory": {"unseen": "seen_memory"},
    "unseen_single_image": {"unseen": "single_image"},
    "unseen_batch": {"unseen": "batch"},
    "unseen_full": {"unseen": "full"},
    "anchor_0": {"anchor": 0.0},
    "anchor_0.1": {"anchor": 0.1},
    "anchor_1": {"anchor": 1.0},
}
"""The defaults with one change each: the rows of the grid `ablation`. Changes that need `evidence: batch` set it too
and are one change from `batch_evidence`; `leave_one_out` is one change from hard assignment with `evidence: batch`."""
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "minimal": MINIMAL,
    "specification": {
        "block": "argmax_st",
        **PLAIN,
        "temperature": "learned",
        "block_ffn": True,
        "align": "cosine",
        "anchor": 0.0,
        "unseen": "shared_map",
    },
    "lineage": {**LINEAGE, "block": "gumbel_probs"},
    "lineage_logits": {**LINEAGE, "block": "gumbel_logits"},
    **ABLATIONS,
}
"""`default`: best validated; `minimal`: the weighted cross entropy alone; `lineage`: nearest to the group's code."""
