"""Methods that imagine (generate) examples of unseen classes and then fit an ordinary classifier to them.

Once the classes of an exam are known, softmax regression is fitted to examples of all of them: real examples of seen
classes, chosen by their soft labels, and imagined examples of the others. That classifier scores the exam's images.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.blocks.compatibility import Compatibility
from pzsl_bench.blocks.ranking import draw_class
from pzsl_bench.blocks.semantics import MIN_LENGTH
from pzsl_bench.blocks.softmax_regression import softmax_regression
from pzsl_bench.contract import Batch, Net, State, Study, hyper

GENERATIVE_DEVIATIONS = (
    "Images and class descriptions are centred on their training means, and descriptions scaled to unit length"
    " (center_images, center_texts): CLIP vectors lie in narrow cones.",
    "One classifier for seen and unseen classes answers everything, also which unseen class an image is of; it has as"
    " many examples of each class, and a fixed number of accelerated full-batch steps fits it.",
    "The paper has true labels: at every visit an image is shown with one class, drawn by its soft labels, or with"
    " their mean description (condition); real examples of a seen class are drawn by the soft labels too.",
    "AdamW with a cosine schedule, networks a tenth as wide and fewer passes, for features of some hundred numbers.",
)
"""Deviations of every generating method here."""


@dataclass(frozen=True)
class Generative(Compatibility):
    """A gradient method that ends in softmax regression on real and imagined examples."""

    reads: ClassVar[tuple[str, ...]] = ("weights",)

    rescale: bool = hyper(False, "divide images by the mean size of their numbers")
    condition: str = hyper(
        "drawn",
        "description that an image is shown with: of a class drawn by its soft labels, or the mean they expect",
        choices=("drawn", "expected"),
    )
    known: str = hyper("real", "examples of seen classes: real, or imagined too", choices=("real", "imagined"))
    examples: int = hyper(200, "examples of each class for the final classifier", above=0)
    latent: int = hyper(16, "how many random numbers an example is imagined from", above=0)
    ridge: float = hyper(1e-2, "ridge of the final classifier, for each of a class's examples", above=0)
    steps: int = hyper(30, "steps of the final classifier's solver", above=0)
    evaluate: str = hyper("classifier", "what names images: the final classifier", choices=("classifier",))

    def memory(self, study: Study, params: State) -> State:
        """Statistics of images and descriptions, real examples of seen classes, and noise for imagined ones."""
        statistics = super().memory(study, params)
        images = super().scaled(study.features, statistics)
        size = images.square().mean().sqrt() if self.rescale else images.new_ones(())
        size = torch.where(size > MIN_LENGTH, size, torch.ones_like(size))
        rows, has_images = evenly_chosen(study.targets, self.examples)
        return {
            **statistics,
            "size": size,
            "real": images[rows] / size,
            "found": has_images,
            "noise": torch.randn(self.examples, self.latent).to(images),
        }

    def scaled(self, features: Tensor, memory: State) -> Tensor:
        """(..., d) images as they are fitted and scored."""
        return super().scaled(features, memory) / memory["size"]

    def unscaled(self, images: Tensor, memory: State) -> Tensor:
        """(..., d) the inverse of `scaled`, except for the length of images."""
        spread = memory["image_spread"] if self.images == "standardised" else 1.0
        return images * memory["size"] * spread + memory["image_mean"]

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """One number for every image, to draw the class whose description it is shown with."""
        return {"label": (images,)} if self.condition == "drawn" else {}

    def labels_and_descriptions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, K) labels and (B, a) descriptions that the images of the batch are shown with, as `condition` says."""
        labels = batch.weights
        if self.condition == "drawn":
            classes = torch.arange(labels.shape[-1], device=labels.device)
            labels = (draw_class(labels, batch.dice["label"]).unsqueeze(-1) == classes).to(labels.dtype)
        return labels, labels @ self.semantics(batch.texts, batch.memory["text_mean"])

    @abstractmethod
    def imagined_examples(self, net: Net, memory: State, semantics: Tensor) -> Tensor:
        """(C, a) -> (C, n, w) examples of these classes, from the memory's noise (n, latent)."""

    def real_examples(self, net: Net, memory: State) -> Tensor:
        """(K, n, w) the real examples, in the space of the imagined ones."""
        return memory["real"]

    def embedded(self, net: Net, images: Tensor) -> Tensor:
        """(M, d) -> (M, w) images in the space of the examples."""
        return images

    def prepare(self, net: Net, memory: State) -> State:
        """The final classifier: weight (w, C) and bias (C,)."""
        examples = self.imagined_examples(net, memory, self.semantics(net.texts, memory["text_mean"]))
        if self.known == "real":
            real = self.real_examples(net, memory)
            # A seen class that is no image's candidate has no real examples and keeps its imagined ones.
            seen_examples = torch.where(memory["found"][:, None, None], real, examples[: len(real)])
            examples = torch.cat([seen_examples, examples[len(real) :]])
        classes, count = examples.shape[:2]
        labels = torch.eye(classes, device=examples.device, dtype=examples.dtype).repeat_interleave(count, dim=0)
        return softmax_regression(examples.flatten(0, 1), labels, self.ridge * count, self.steps)

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) logits of the final classifier."""
        images = self.embedded(net, self.scaled(features, memory))
        return images @ memory["weight"] + memory["bias"]


def evenly_chosen(soft: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(N, K) soft labels -> (K, n) images of every class, as often as the labels say, and (K,) whether it has any.

    Images are chosen at even steps of the running total of a class's labels. They are thus spread from the first image
    to the last, and the same labels give the same images.
    """
    total = soft.T.double().cumsum(-1).contiguous()
    places = (torch.arange(count, device=soft.device, dtype=total.dtype) + 0.5) / count
    rows = torch.searchsorted(total, places * total[:, -1:], right=True)
    return rows.clamp(max=len(soft) - 1), total[:, -1] > 0
