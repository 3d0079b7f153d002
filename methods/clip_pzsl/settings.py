"""The settings of CLIP-PZSL: every choice that the paper's abstract leaves open, with its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Gradient, hyper
from pzsl_bench.methods.clip_pzsl.mining import ASSIGNMENTS
from pzsl_bench.methods.clip_pzsl.presets import PRESETS
from pzsl_bench.methods.clip_pzsl.relevance import ALIGNMENTS
from pzsl_bench.methods.clip_pzsl.unseen import ROUTES, TRANSDUCTIVE


@dataclass(frozen=True)
class Settings(Gradient):
    """The settings, and properties that follow from them."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    preset: str = hyper("default", "a named set of settings; what is set beside it wins", choices=tuple(PRESETS))
    temperature: str = hyper("learned", "scale of the cosine", choices=("learned", "fixed"))
    adapter: str = hyper(
        "shared", "image side: as all cosine heads here, or LN-GELU MLP", choices=("shared", "mlp", "linear", "none")
    )
    adapter_repeats: int = hyper(1, "how often the same adapter is applied", above=0)
    labels: str = hyper(
        "residual",
        "label embeddings: texts with a trained residual, moving average, the group's accumulator, trained, or texts",
        choices=("residual", "ema", "accumulate", "learnable", "frozen"),
    )
    labels_rate: float = hyper(0.01, "step of the moving average or accumulator", search=(1e-3, 1e-1))
    block: str = hyper("confidences", "how images are assigned to classes", choices=ASSIGNMENTS)
    evidence_share: float = hyper(
        0.1, "what the evidence of a class's images adds to the cosine of its label embedding", search=(3e-2, 1.0)
    )
    evidence_images: float = hyper(2.0, "images of a class at which their mean counts half", search=(0.5, 20.0))
    evidence_in: str = hyper(
        "labels",
        "what `block: confidences` adds evidence to: the scores that refresh the labels, or those of the loss as well",
        choices=("labels", "loss"),
    )
    block_norm: str = hyper("l2", "unit vectors, or layer norm as in the group's code", choices=("l2", "ln"))
    block_start: str = hyper("identity", "start of the block", choices=("identity", "random"))
    block_ffn: bool = hyper(False, "a learnt map reads the label embeddings")
    assignment_sharpness: float = hyper(
        1.0, "scale of the assignment scores, in units of the encoder's logit scale", search=(0.1, 3.0), above=0
    )
    eta: float = hyper(1.0, "1: mean of the assigned images, 0: their sum")
    mask_candidates: bool = hyper(False, "images are assigned to their own candidates only")
    confidence_weighted: bool = hyper(False, "an image counts by its largest confidence")
    leave_one_out: bool = hyper(False, "an image is not scored against what it gave the class it mostly counts for")
    evidence: str = hyper(
        "memory",
        "whose images move the label embeddings: those of earlier batches, as sums that fade, or the batch's own",
        choices=("memory", "batch"),
    )
    evidence_rate: float = hyper(0.1, "share of the remembered sums that a step forgets", search=(5e-3, 0.5), below=1)
    hide: float = hyper(0.0, "share of the classes that a step hides from the block: text only", fixed=True, below=1)
    aux_assign: float = hyper(0.0, "weight of a cross entropy between assignment and confidences")
    loss_embeddings: str = hyper("current", "label embeddings in the loss", choices=("current", "lagged"))
    relevance: str = hyper(
        "proden",
        "how a candidate's relevance enters its weight, besides by the confidences, which it refreshes",
        choices=("cosine", "softmax", "uniform", "proden"),
    )
    relevance_sharpness: float = hyper(
        1.0, "scale of the relevance softmax, in units of the encoder's logit scale", search=(0.1, 3.0), above=0
    )
    relevance_fades: bool = hyper(True, "relevance counts fully at the start and no more at the end of the training")
    normalise_weights: bool = hyper(True, "weights of an image sum to one")
    confidence: str = hyper("uniform", "confidences at the start", choices=("uniform", "multihot", "clip"))
    confidence_momentum: float = hyper(0.0, "m; 0 replaces the confidences at every visit", below=1.0000001)
    confidence_sharpness: float = hyper(
        1.0, "scale of the confidence refresh, in units of the encoder's logit scale", search=(0.1, 3.0), above=0
    )
    warmup: int = hyper(0, "epochs before confidences move")
    align: str = hyper("none", "alignment term", choices=ALIGNMENTS)
    align_weight: float = hyper(1.0, "weight of the alignment", search=(1e-2, 10.0))
    align_sharpness: float = hyper(1.0, "scale of `align: contrastive`, in units of the encoder's logit scale", above=0)
    anchor: float = hyper(0.0, "weight of the pull of label embeddings to their texts", search=(0.1, 10.0))
    unseen: str = hyper("transfer", "how classes without images get their embedding", choices=ROUTES)
    transfer_sharpness: float = hyper(
        0.5, "scale of the neighbours in `transfer`, in units of the encoder's logit scale", above=0
    )
    frozen_share: float = hyper(
        0.0, "share of an image that stays as the encoder gave it, when it is scored", below=1.0000001
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        on_test_images = self.unseen in ("single_image", *TRANSDUCTIVE) and self.block == "confidences"
        if on_test_images or (self.unseen == "seen_memory" and not self.attends):
            raise UserError(
                f"clip_pzsl.unseen: {self.unseen} needs attention between images and label embeddings;"
                " it goes with another block, such as block: soft_kmeans"
            )
        if self.leave_one_out and self.evidence == "memory":
            raise UserError("clip_pzsl.leave_one_out is for evidence: batch; in the memory an image has no part yet")

    @classmethod
    def unused(cls) -> Mapping[str, str]:
        """What moves is said by settings of its own."""
        return {**super().unused(), "moves": "adapter and labels say what moves"}

    @property
    def needs(self) -> frozenset[str]:
        """Label embeddings start at the texts."""
        return super().needs | {"texts", "alignment"}

    @property
    def transductive(self) -> bool:
        """Whether test images are mined together."""
        return self.unseen in TRANSDUCTIVE and self.attends

    @property
    def remembers(self) -> bool:
        """Whether images of earlier batches move the label embeddings."""
        return self.evidence == "memory" and self.attends

    @property
    def attends(self) -> bool:
        """Whether images are assigned to label embeddings by attention between the two."""
        return self.block not in ("none", "confidences")

    def base(self, texts: Tensor, centres: Tensor) -> Tensor:
        """(K, d) the rows to which the evidence of images is added: the texts, or the stored label embeddings."""
        return texts if self.labels in ("ema", "frozen") else centres


def is_off(weight: float | Tensor) -> bool:
    """Whether a term is switched off for all runs of the stack."""
    return isinstance(weight, float) and weight == 0
