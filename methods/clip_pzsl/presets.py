"""Named settings of CLIP-PZSL: ablations of its parts, and settings nearest to related methods."""

from __future__ import annotations

from typing import Any

KMEANS: dict[str, Any] = {"block": "soft_kmeans"}
BATCH: dict[str, Any] = {**KMEANS, "evidence": "batch"}
EARLIER: dict[str, Any] = {
    **KMEANS,
    "labels": "ema",
    "temperature": "fixed",
    "relevance": "softmax",
    "confidence_momentum": 0.9,
    "warmup": 1,
    "anchor": 3.0,
    "frozen_share": 0.15,
    "encoder_counts": 0.0,
    "schedule": "cosine",
    "batches": 1,
}
"""The defaults of version 1 of the method."""
PLAIN: dict[str, Any] = {**EARLIER, **BATCH, "relevance_fades": False, "frozen_share": 0.0}
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
    "evidence_in_loss": {"evidence_in": "loss"},
    "soft_kmeans": KMEANS,
    "hard_kmeans": {"block": "argmax_st"},
    "cross_attention": {"block": "softmax_xattn"},
    "batch_evidence": BATCH,
    "masked_assignment": {**KMEANS, "mask_candidates": True},
    "hidden_classes": {**KMEANS, "hide": 0.1},
    "sum": {**BATCH, "eta": 0.0},
    "uniform_weights": {"relevance": "uniform"},
    "softmax_relevance": {"relevance": "softmax"},
    "cosine_relevance": {"relevance": "cosine"},
    "no_refresh": {"confidence_momentum": 1.0},
    "slow_refresh": {"confidence_momentum": 0.9},
    "clip_confidences": {"confidence": "clip"},
    "fixed_temperature": {"temperature": "fixed"},
    "frozen_share": {"frozen_share": 0.15},
    "alignment": {"align": "cosine"},
    "contrastive_alignment": {"align": "contrastive"},
    "mse_alignment": {"align": "mse"},
    "anchor": {"anchor": 3.0},
    "frozen_labels": {"labels": "frozen"},
    "learnable_labels": {"labels": "learnable"},
    "no_adapter": {"adapter": "none"},
    "unseen_bypass": {"unseen": "bypass"},
    "unseen_shared_map": {"unseen": "shared_map"},
    "unseen_seen_memory": {**KMEANS, "unseen": "seen_memory"},
    "unseen_single_image": {**KMEANS, "unseen": "single_image"},
    "unseen_batch": {**KMEANS, "unseen": "batch"},
    "unseen_full": {**KMEANS, "unseen": "full"},
}
"""The defaults with one change each: the rows of the grid `ablation`. Changes of what attention alone has set
`block: soft_kmeans` too, and are one change from `soft_kmeans`; `sum` is one change from `batch_evidence`."""
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "earlier": EARLIER,
    "minimal": MINIMAL,
    "specification": {
        **PLAIN,
        "block": "argmax_st",
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
