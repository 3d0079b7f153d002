"""What a method is: the contract between one row of the paper's table and the harness.

A method is a frozen dataclass of hyper-parameters, written for one run; it never sees a replica axis. The harness
lifts it over a stack of runs with `torch.func.vmap`, so code inside `loss`, `refine`, `solve` and `forward` must not
call `.item()` or branch on tensor values.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pzsl_bench.errors import UserError, unknown
from pzsl_bench.registry import Registry

State = dict[str, Tensor]
M = TypeVar("M", bound="type[Method]")

METHODS: Registry[type[Method]] = Registry("method", "pzsl_bench.methods", plugins="pzsl_bench.methods")


@dataclass(frozen=True)
class Study:
    """All that a method may see. No true label, no test image and no unseen class name is in it."""

    features: Tensor
    """(N, d) unit vectors of the seen training images."""
    candidates: Tensor
    """(N, K) bool: the candidate set of every image."""
    targets: Tensor
    """(N, K) rows that sum to one: the candidates as soft labels, uniform unless the method asked otherwise."""
    texts: Tensor
    """(K, a) embeddings of the seen class names."""
    class_names: tuple[str, ...]
    scale: float
    """The encoder's own logit scale (1 / temperature)."""


@dataclass(frozen=True)
class Batch:
    """What a loss sees of one mini-batch of one run."""

    weights: Tensor
    """(B, K) current label weights of these images, constants in the gradient; only if in `Gradient.reads`."""
    candidates: Tensor
    """(B, K) bool; only if in `Gradient.reads`."""
    progress: Tensor
    """Share of the training done, a number in [0, 1)."""


@dataclass
class Output:
    """What the module made of a batch; `log_probs` is computed once for loss and refinement."""

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
class Citation:
    """Where a method or data set comes from."""

    authors: str
    title: str
    venue: str
    year: int
    url: str = ""

    def __str__(self) -> str:
        return f"{self.authors}. {self.title}. {self.venue}, {self.year}." + (f" {self.url}" if self.url else "")


Family = Literal["clip", "zsl", "pll", "pzsl", "bound"]


@dataclass(frozen=True)
class MethodInfo:
    """Facts about a method, as data."""

    name: str
    title: str
    family: Family
    version: int
    """Raised whenever results change; part of every record's identity."""
    citation: Citation | None
    deviations: tuple[str, ...]
    """What differs from the paper or its released code, and why."""
    reveals_truth: bool
    """A bound that is trained on true labels; marked in every table."""


def hyper(
    default: Any,
    meaning: str,
    *,
    search: tuple[float, float] | None = None,
    choices: Sequence[str] | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A hyper-parameter: default, half a line of meaning, log-uniform search range, allowed values."""
    meta = {"meaning": meaning, "search": search, "choices": choices, "above": above, "below": below}
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class Method(ABC):
    """Base of all methods; subclass `ClosedForm` or `Gradient`."""

    info: ClassVar[MethodInfo]

    @property
    def feed(self) -> str:
        """How candidates become `Study.targets`: uniform, random, or refined."""
        return str(getattr(self, "candidates_as", "uniform"))


@dataclass(frozen=True)
class ClosedForm(Method):
    """A method that is solved rather than trained."""

    @abstractmethod
    def solve(self, study: Study) -> State:
        """The learned tensors."""

    @abstractmethod
    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, C) scores of M images for C class texts; the first K texts are the study's classes, in its order."""


@dataclass(frozen=True)
class Gradient(Method):
    """A method that is trained by mini-batches: a small module, a loss and a rule that refines label weights."""

    reads: ClassVar[tuple[str, ...]] = ("weights",)
    """Which per-image tensors the loss wants: "weights", "candidates"."""

    head: str = hyper("cosine", "how images meet labels", choices=("cosine", "linear", "mlp"))
    hidden: int = hyper(64, "width of the adapter or of the MLP", above=0)
    optimiser: str = hyper("adamw", "optimiser", choices=("adamw", "adam", "sgd"))
    lr: float = hyper(2e-3, "learning rate at the start", search=(1e-4, 1e-1), above=0)
    weight_decay: float = hyper(1e-2, "weight decay", search=(1e-6, 1e-1))
    momentum: float = hyper(0.9, "momentum of SGD", below=1)
    schedule: str = hyper("cosine", "learning-rate schedule", choices=("cosine", "constant"))
    clip: float = hyper(0.0, "largest gradient norm of a run; 0 switches clipping off")
    epochs: int = hyper(30, "passes over the images", above=0)
    batch: int = hyper(256, "images in a mini-batch", above=0)

    def module(self, study: Study) -> nn.Module:
        """The trainable part: forward(features (B, d), texts (C, a)) -> logits (B, C)."""
        from pzsl_bench.heads import build_head

        return build_head(self.head, study, self.hidden)

    @abstractmethod
    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Scalar loss of one mini-batch."""

    def refine(self, output: Output, batch: Batch) -> Tensor | None:
        """(B, K) new weights of the batch's images from the same forward pass; None keeps them."""
        return None


def soft_cross_entropy(output: Output, weights: Tensor) -> Tensor:
    """Mean over the batch of -sum_k weights_k log softmax(logits)_k."""
    return -(weights * output.log_probs).sum(-1).mean()


def method(
    name: str,
    *,
    title: str,
    family: Family,
    version: int = 1,
    citation: Citation | None = None,
    deviations: Sequence[str] = (),
    reveals_truth: bool = False,
) -> Callable[[M], M]:
    """Register a method class under a name, with its facts."""

    def keep(cls: M) -> M:
        cls.info = MethodInfo(name, title, family, version, citation, tuple(deviations), reveals_truth)
        METHODS.add(name, cls)
        return cls

    return keep


def configure(name: str, settings: Mapping[str, Any]) -> Method:
    """The method of that name with some hyper-parameters set; mistakes are told in the user's words."""
    cls = METHODS.get(name)
    known = {f.name: f for f in fields(cls)}
    values: dict[str, Any] = {}
    for setting, value in settings.items():
        if setting not in known:
            raise unknown(f"setting of method '{name}'", setting, known)
        spec = known[setting]
        values[setting] = _checked(f"{name}.{setting}", value, spec.default, spec.metadata)
    missing = [f.name for f in known.values() if f.default is MISSING and f.name not in values]
    if missing:
        raise UserError(f"method '{name}' needs a value for {', '.join(missing)}")
    return cls(**values)


KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
"""Types of hyper-parameters in the user's words."""


def _checked(where: str, value: Any, default: Any, rules: Mapping[str, Any]) -> Any:
    """The value in the type of the default, or an error that says what would be right."""
    kind = type(default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is float and isinstance(value, str):
        # YAML reads 1e-3 (no dot) as text.
        with suppress(ValueError):
            value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise UserError(f"{where}: {value!r} is not {KINDS[kind]} (default {default!r})")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where}: {value!r} is not a finite number")
    choices = rules.get("choices")
    if choices and value not in choices:
        raise unknown(f"value of {where}", str(value), choices)
    if rules.get("above") is not None and not value > rules["above"]:
        raise UserError(f"{where}: {value!r} must be above {rules['above']}")
    if rules.get("below") is not None and not value < rules["below"]:
        raise UserError(f"{where}: {value!r} must be below {rules['below']}")
    if kind in (int, float) and value < 0:
        raise UserError(f"{where}: {value!r} must not be negative")
    return value


def normalise(rows: Tensor) -> Tensor:
    """Rows scaled to unit length."""
    return F.normalize(rows, dim=-1)


def renormalise(weights: Tensor) -> Tensor:
    """Rows scaled to sum to one; a row of zeros stays a row of zeros."""
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total > 0, total, torch.ones_like(total))
