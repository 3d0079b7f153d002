"""The tensors of one run that a method receives and returns, with their names and shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from pzsl_bench.contract.text_tower import Tower

State = dict[str, Tensor]


@dataclass(frozen=True)
class Study:
    """All that a method may see. No true label, no test image and no unseen class name is in it."""

    features: Tensor
    """(N, d) the seen training images: unit vectors, or standardised columns where no encoder made them."""
    candidates: Tensor
    """(N, K) bool: the candidate set of every image."""
    targets: Tensor
    """(N, K) rows that sum to one: the candidates as soft labels, uniform unless the method has another `feed`."""
    texts: Tensor
    """(K, a) an embedding for each seen class, of its name; a = 0 where classes have no texts."""
    class_names: tuple[str, ...]
    scale: float
    """The encoder's own logit scale (1 / temperature)."""
    views: Tensor | None = None
    """(V, N, d) encoded augmented crops of the same images; None where there are none."""
    tower: Tower | None = None
    """The encoder's text tower, only if the method needs it; it reads `tokens`."""
    marks: Tensor | None = None
    """(N, K) the annotations of images with tags: 1 present, -1 absent, 0 not annotated; None where every image is of
    one class."""
    synonyms: Tensor | None = None
    """(K, m, a) vectors of all names of each class, the class name first, padded with rows of zeros; only if needed."""
    tokens: Tensor | None = None
    """(K, L) the class names as the text tower reads them; only if the method needs the tower."""
    aligned: bool = True
    """Whether texts, where they are as wide as images, lie in the images' own space: both are from one encoder."""


def nothing() -> Tensor:
    """An empty tensor, in place of one that the method does not read."""
    return torch.empty(0)


@dataclass(frozen=True)
class Batch:
    """What a method sees of one mini-batch of one run; tensors that it does not read are empty."""

    features: Tensor = field(default_factory=nothing)
    """(B, d)"""
    texts: Tensor = field(default_factory=nothing)
    """(K, a)"""
    weights: Tensor = field(default_factory=nothing)
    """(B, K) current label weights of these images, constants in the gradient; only if in `Gradient.reads`."""
    candidates: Tensor = field(default_factory=nothing)
    """(B, K) bool; only if in `Gradient.reads`."""
    marks: Tensor = field(default_factory=nothing)
    """(B, K) 1, -1 or 0 as floats: present, absent, not annotated; only if in `Gradient.reads`."""
    views: Tensor = field(default_factory=nothing)
    """(V, B, d) other views of the same images; V is `Gradient.looks`."""
    rows: State = field(default_factory=dict)
    """The batch's rows of the tables that `Gradient.tables` made, each (B, ...)."""
    dice: State = field(default_factory=dict)
    """Uniform numbers in [0, 1), by the names and shapes that `Gradient.dice` gave."""
    memory: State = field(default_factory=dict)
    """Tensors that the run carries from step to step; see `Gradient.memory`."""
    progress: Tensor = field(default_factory=nothing)
    """Share of the training done, a number in [0, 1)."""
    epoch: Tensor = field(default_factory=nothing)
    """Number of the pass over the images, from 0."""
    most: int = 0
    """Largest number of labels of an image in the stack: present tags, or candidates; 0 where it is not known."""


@dataclass
class Output:
    """The module's output for a batch; `log_probs` is computed once for loss and refinement."""

    logits: Tensor
    """(B, K)"""

    @cached_property
    def log_probs(self) -> Tensor:
        """(B, K) log softmax of the logits."""
        return F.log_softmax(self.logits, dim=-1)

    def detached(self) -> Output:
        """The same numbers as constants."""
        constant = Output(self.logits.detach())
        if "log_probs" in self.__dict__:
            constant.__dict__["log_probs"] = self.log_probs.detach()
        return constant


@dataclass(frozen=True)
class Net:
    """The module of one run with its current parameters; calling it is a forward pass."""

    module: nn.Module
    state: State
    texts: Tensor
    tokens: Tensor | None = None
    """The classes of `texts` as the encoder's text tower reads them; only when an exam is scored, and if needed."""

    def __call__(self, features: Tensor, **options: Any) -> Any:
        """What the module's forward returns for these features and the study's texts: logits, unless options differ."""
        return functional_call(self.module, self.state, (features, self.texts), options)

    def using(self, state: State) -> Net:
        """The same module with other parameters, such as their moving average."""
        return Net(self.module, state, self.texts, self.tokens)


@dataclass(frozen=True)
class Update:
    """What a step changes besides the parameters."""

    weights: Tensor | None = None
    """(B, K) new label weights of the batch's images; None keeps them."""
    memory: State = field(default_factory=dict)
    """New values of some of the run's memory."""
    rows: State = field(default_factory=dict)
    """New rows of some of its tables."""
    notes: State = field(default_factory=dict)
    """Numbers to record as curves, only from `step`: their means over every epoch."""


def soft_cross_entropy(output: Output, weights: Tensor) -> Tensor:
    """Mean over the batch of -sum_k weights_k log softmax(logits)_k."""
    return -(weights * output.log_probs).sum(-1).mean()


def normalise(rows: Tensor) -> Tensor:
    """Rows scaled to unit length."""
    return F.normalize(rows, dim=-1)


def renormalise(weights: Tensor) -> Tensor:
    """Rows scaled to sum to one; a row of zeros stays a row of zeros."""
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total > 0, total, torch.ones_like(total))
