"""What methods for tags share: a head that scores for every tag whether an image has it, and ways to read marks.

An image may have several tags, so every tag is a yes-or-no question. Its logit is how far the cosine of image and text
lies above a threshold that all tags share. Seen and unseen tags are therefore scored alike.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pzsl_bench.blocks.clip_space import InClipSpace, check_space
from pzsl_bench.contract import Batch, Citation, Output, State, Steady, Study, hyper, normalise
from pzsl_bench.contract.heads import Adapter, CosineHead

UNKNOWN = ("negative", "ignore")
HEAD = (
    "A residual adapter on frozen features, a scaled cosine to the tags' texts and one threshold for all tags replace"
    " the paper's networks, so that unseen tags can be scored; AdamW with a cosine schedule replaces the paper's"
    " optimiser and schedule."
)
"""A deviation of every method for tags that is trained on the shared head."""
EXPECTED = (
    "The paper takes the expected number of tags from the full annotation, which a study does not have: it is the"
    " share of present ones among the tags that are said, times their number, where absences are marked too, and else"
    " the mean number of marks (`expected` sets it by hand)."
)
"""A deviation of every method that counts on a number of tags per image."""
ABSENCES = "Tags that are marked absent, which the paper's images do not have, are learned as such."
"""A deviation of methods whose paper has images with a single present tag marked."""
COLE = Citation(
    "Cole, Mac Aodha, Lorieul, Perona, Morris and Jojic",
    "Multi-Label Learning from Single Positive Labels",
    "CVPR",
    2021,
    "https://arxiv.org/abs/2106.09708",
)
"""The paper behind four of the losses: `an_ls`, `wan`, `epr` and `role`."""
THRESHOLD_IMAGES = 2048
"""Number of images by which the threshold is set before training."""


class TagHead(CosineHead):
    """scale (cos(x', t) - threshold), with x' as in `CosineHead`.

    The threshold starts where as many zero-shot cosines lie above it as tags are marked present. Cosines of one encoder
    lie in a narrow band far from zero: a loss that had to find this band first would bend the features on its way.
    """

    def __init__(self, study: Study, hidden: int, learn_scale: bool):
        width = study.features.shape[-1]
        super().__init__(width, study.scale, learn_scale, Adapter(width, hidden))
        self.threshold = nn.Parameter(torch.tensor(first_threshold(study)))

    def logits(self, embedded: Tensor, texts: Tensor) -> Tensor:
        """(B, d), (C, d) -> (B, C)."""
        # With one more number on both sides, the product with the texts also subtracts and scales the threshold.
        wider = torch.cat([embedded, -self.threshold.expand(*embedded.shape[:-1], 1)], dim=-1)
        return super().logits(wider, F.pad(texts, (0, 1), value=1.0))


def first_threshold(study: Study) -> float:
    """The cosine that is exceeded by as many zero-shot cosines as tags are marked present."""
    cosines = (normalise(study.features[:THRESHOLD_IMAGES]) @ normalise(study.texts).T).flatten()
    present = marks_of(study)[:THRESHOLD_IMAGES] > 0
    above = min(max(int(present.sum()), 1), len(cosines))
    return float(cosines.sort(descending=True).values[above - 1])


def marks_of(study: Study) -> Tensor:
    """(N, K) the marks of a study. Where images have one class, candidates are present and other classes absent."""
    return study.candidates.to(torch.int8) * 2 - 1 if study.marks is None else study.marks


@dataclass(frozen=True)
class Tagger(InClipSpace, Steady):
    """A method that is trained on marks, with the shared head."""

    tasks: ClassVar[frozenset[str]] = frozenset({"tags"})
    reads: ClassVar[tuple[str, ...]] = ("marks",)

    head: str = hyper("cosine", "how images meet tags: adapter, cosine to texts, one threshold", choices=("cosine",))

    def module(self, study: Study) -> nn.Module:
        """The shared head."""
        check_space(self.info.name, study)
        return TagHead(study, self.hidden, self.temperature == "learned")


@dataclass(frozen=True)
class BinaryTagger(Tagger):
    """Mean binary cross entropy over images and tags: a subclass gives the weights of both sides of an entry."""

    @abstractmethod
    def sides(self, marks: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) weights of "present" and of "absent"."""

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Binary cross entropy."""
        return binary_cross_entropy(output.logits, *self.sides(batch.marks)).mean()


@dataclass(frozen=True)
class ExpectsPositives(Tagger):
    """A method that uses the expected number of tags of an image."""

    expected: float = hyper(0.0, "tags per image; 0: estimated from the marks")
    expected_weight: float = hyper(1.0, "weight of the term that holds a batch to that number")

    def memory(self, study: Study, params: State) -> State:
        """The expected number of tags, estimated once from the marks."""
        return {"expected": study.features.new_tensor(positives_per_image(study))}

    def surplus(self, probabilities: Tensor, memory: State) -> Tensor:
        """Predicted less expected number of tags per image, as a share of all tags."""
        setting = torch.as_tensor(self.expected, dtype=probabilities.dtype, device=probabilities.device)
        expected = torch.where(setting > 0, setting, memory["expected"].to(probabilities.dtype))
        return (probabilities.sum(-1).mean() - expected) / probabilities.shape[-1]


def binary_cross_entropy(logits: Tensor, present: Tensor, absent: Tensor) -> Tensor:
    """(B, K) -present log sigmoid(z) - absent log(1 - sigmoid(z)), finite at any logits."""
    return present * F.softplus(-logits) + absent * F.softplus(logits)


def is_present(marks: Tensor) -> Tensor:
    """(B, K) 1 where a tag is marked present."""
    return (marks > 0).to(marks.dtype)


def is_absent(marks: Tensor, unknown: str = "ignore") -> Tensor:
    """(B, K) 1 where a tag is marked absent, or with `negative` also where nothing is said of it."""
    return ((marks <= 0) if unknown == "negative" else (marks < 0)).to(marks.dtype)


def positives_per_image(study: Study) -> float:
    """The number of tags of an image, estimated from the marks: share of present ones among the marks, times K.

    Where no tag is marked absent, this is just the mean number of marks per image.
    """
    marks = marks_of(study)
    present, known = float((marks > 0).sum()), float((marks != 0).sum())
    if not (marks < 0).any():
        return present / len(marks)
    return marks.shape[-1] * present / max(known, 1.0)
