"""What a method is: the contract between one row of the paper's table and the harness.

A method is a frozen dataclass of hyper-parameters, written for one run; it never sees a replica axis. The harness
lifts it over a stack of runs with `torch.func.vmap`, so code inside `loss`, `refine`, `solve` and `forward` must not
call `.item()` or branch on tensor values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from pzsl_bench.errors import UserError, unknown
from pzsl_bench.facts import SHARED_HEAD, Citation, Family, MethodInfo
from pzsl_bench.registry import Registry
from pzsl_bench.settings import checked, hyper
from pzsl_bench.tower import Tower

__all__ = ["SHARED_HEAD", "Citation", "Family", "MethodInfo", "hyper"]

State = dict[str, Tensor]
HEADS = ("auto", "cosine", "linear", "mlp")
FEEDS = ("uniform", "random", "refined", "clip_prior")
"""How candidates can become the soft labels `Study.targets`; see `bench/feeds.py`."""
M = TypeVar("M", bound="type[Method]")

METHODS: Registry[type[Method]] = Registry("method", "pzsl_bench.methods", plugins="pzsl_bench.methods")


@dataclass(frozen=True)
class Study:
    """All that a method may see. No true label, no test image and no unseen class name is in it."""

    features: Tensor
    """(N, d) the seen training images: unit vectors, or standardised columns where no encoder made them."""
    candidates: Tensor
    """(N, K) bool: the candidate set of every image."""
    targets: Tensor
    """(N, K) rows that sum to one: the candidates as soft labels, uniform unless the method asked otherwise."""
    texts: Tensor
    """(K, a) embeddings of the seen class names; a = 0 where classes have no texts."""
    class_names: tuple[str, ...]
    scale: float
    """The encoder's own logit scale (1 / temperature)."""
    views: Tensor | None = None
    """(V, N, d) encoded augmented crops of the same images, where there are any."""
    tower: Tower | None = None
    """The encoder's text tower, if asked for; the rows of `texts` are then such as it reads."""


def nothing() -> Tensor:
    """The place of a tensor that was not asked for."""
    return torch.empty(0)


@dataclass(frozen=True)
class Batch:
    """What a method sees of one mini-batch of one run; what it does not ask for is empty."""

    features: Tensor = field(default_factory=nothing)
    """(B, d)"""
    texts: Tensor = field(default_factory=nothing)
    """(K, a)"""
    weights: Tensor = field(default_factory=nothing)
    """(B, K) current label weights of these images, constants in the gradient; only if in `Gradient.reads`."""
    candidates: Tensor = field(default_factory=nothing)
    """(B, K) bool; only if in `Gradient.reads`."""
    views: Tensor = field(default_factory=nothing)
    """(V, B, d) other looks at the same images, V as `Gradient.looks` says."""
    rows: State = field(default_factory=dict)
    """The batch's rows of the tables that `Gradient.tables` made, each (B, ...)."""
    dice: State = field(default_factory=dict)
    """Uniform numbers in [0, 1), by the names and shapes that `Gradient.dice` gave."""
    memory: State = field(default_factory=dict)
    """What the run carries from step to step."""
    progress: Tensor = field(default_factory=nothing)
    """Share of the training done, a number in [0, 1)."""
    epoch: Tensor = field(default_factory=nothing)
    """Number of the pass over the images, from 0."""


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
class Net:
    """The module of one run with its current parameters; calling it is a forward pass."""

    module: nn.Module
    state: State
    texts: Tensor

    def __call__(self, features: Tensor, **asked: Any) -> Any:
        """What the module's forward returns for these features and the study's texts: logits, unless asked for more."""
        return functional_call(self.module, self.state, (features, self.texts), asked)

    def using(self, state: State) -> Net:
        """The same module with other parameters, such as their moving average."""
        return Net(self.module, state, self.texts)


@dataclass(frozen=True)
class Update:
    """What changes besides the parameters."""

    weights: Tensor | None = None
    """(B, K) new label weights of the batch's images; None keeps them."""
    memory: State = field(default_factory=dict)
    """New values of some of the run's memory."""
    rows: State = field(default_factory=dict)
    """New rows of some of its tables."""
    notes: State = field(default_factory=dict)
    """Numbers worth a curve, from `step`: their means over every epoch are recorded."""


@dataclass(frozen=True)
class Method(ABC):
    """Base of all methods; subclass `ClosedForm` or `Gradient`."""

    info: ClassVar[MethodInfo]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named sets of settings, for a method with a setting `preset`; what is set beside it wins."""

    @property
    def feed(self) -> str:
        """How candidates become `Study.targets`, one of `FEEDS`."""
        return str(getattr(self, "candidates_as", "uniform"))

    @property
    def needs(self) -> frozenset[str]:
        """What a dataset must have for this method.

        "texts" of its classes, "views" of its images, "alignment": texts in the images' own space, "text tower": the
        part of the encoder that reads class names, which are then in `Study.texts`.
        """
        return frozenset()


@dataclass(frozen=True)
class Fed(Method):
    """A method for ordinary labels, which candidate sets must first be made into: `class Ale(Fed, Gradient)`."""

    candidates_as: str = hyper("uniform", "how candidates are fed", choices=FEEDS)

    @property
    def needs(self) -> frozenset[str]:
        """The encoder's own scores exist only where it encoded texts and images alike."""
        return super().needs | ({"alignment"} if self.candidates_as == "clip_prior" else set())


@dataclass(frozen=True)
class ClosedForm(Method):
    """A method that is solved rather than trained."""

    @property
    def needs(self) -> frozenset[str]:
        """Class texts, unless a method says otherwise."""
        return frozenset({"texts"})

    @abstractmethod
    def solve(self, study: Study) -> State:
        """The learned tensors."""

    @abstractmethod
    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, C) scores of M images for C class texts; the first K texts are the study's classes, in its order."""


@dataclass(frozen=True)
class Gradient(Method):
    """A method that is trained by mini-batches: a small module, a loss and a rule that refines label weights.

    Most methods are a `loss` and a `refine` on one forward pass. Those that need more override `step` (several
    forward passes, memory), `revise` (after the optimiser's step) or `after_epoch`.
    """

    reads: ClassVar[tuple[str, ...]] = ("weights",)
    """Which per-image tensors the loss wants: "weights", "candidates"."""
    looks: ClassVar[int] = 0
    """How many other views of an image a step wants; needs a setting `views` (see `Viewed`)."""

    head: str = hyper(
        "auto",
        "how images meet labels; auto: cosine where classes have texts as wide as images, else linear",
        choices=HEADS,
    )
    hidden: int = hyper(64, "width of the adapter or of the MLP", above=0)
    temperature: str = hyper("learned", "scale of the cosine", choices=("learned", "fixed"))
    optimiser: str = hyper("adamw", "optimiser", choices=("adamw", "adam", "sgd"))
    lr: float = hyper(2e-3, "learning rate at the start", search=(1e-4, 1e-1), above=0)
    weight_decay: float = hyper(1e-2, "weight decay", search=(1e-6, 1e-1))
    momentum: float = hyper(0.9, "momentum of SGD", below=1)
    schedule: str = hyper("cosine", "learning-rate schedule", choices=("cosine", "constant"))
    clip: float = hyper(0.0, "largest gradient norm of a run; 0 switches clipping off")
    epochs: int = hyper(30, "passes over the images", above=0)
    batch: int = hyper(256, "images in a mini-batch", above=0)
    rest: str = hyper("keep", "the smaller batch at the end of an epoch", choices=("keep", "drop"))

    @property
    def needs(self) -> frozenset[str]:
        """A cosine head meets texts."""
        return frozenset({"texts"} if self.head == "cosine" else ())

    @property
    def second_pass(self) -> bool:
        """Whether the batch is seen again after the optimiser's step, by `revise`."""
        return False

    def module(self, study: Study) -> nn.Module:
        """The trainable part: forward(features (B, d), texts (C, a)) -> logits (B, C)."""
        from pzsl_bench.heads import build_head

        return build_head(self.head, study, self.hidden, learn_scale=self.temperature == "learned")

    def first_weights(self, study: Study) -> Tensor:
        """(N, K) label weights at the start."""
        return study.targets

    def tables(self, study: Study) -> State:
        """Tensors of one row per image, (N, ...), that the run carries beside the label weights."""
        return {}

    def memory(self, study: Study, params: State) -> State:
        """What the run carries from step to step without a gradient: prototypes, queues, moving averages."""
        return {}

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the uniform random numbers that a step on so many images and classes wants."""
        return {}

    @abstractmethod
    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Scalar loss of one mini-batch."""

    def refine(self, output: Output, batch: Batch) -> Tensor | None:
        """(B, K) new weights of the batch's images, from the loss's forward pass or the second one; None keeps them."""
        return None

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        """Loss of a mini-batch, and what it changes besides the parameters."""
        output = Output(net(batch.features))
        loss = self.loss(output, batch)
        if self.second_pass:
            return loss, Update()
        with torch.no_grad():
            return loss, Update(self.refine(output.detached(), batch))

    def revise(self, net: Net, batch: Batch) -> Update:
        """What the parameters after the optimiser's step change; called without gradients, if `second_pass`."""
        return Update(self.refine(Output(net(batch.features)), batch))

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State) -> Update:
        """What the end of an epoch changes, from the whole (N, K) tables of a run."""
        return Update()

    def held(self, study: Study) -> int:
        """About how many numbers a step on one run holds besides what a small module does."""
        return 0

    def prepare(self, net: Net, memory: State) -> State:
        """What `score` finds in the memory besides: made once for the C texts of `net`, after training."""
        return {}

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) scores for the C texts of `net`, seen classes first; (M, K) from heads that know no others."""
        scores: Tensor = net(features)
        return scores


@dataclass(frozen=True)
class Viewed(Gradient):
    """A gradient method that lives on several views of an image."""

    views: str = hyper(
        "crops",
        "other looks at an image: encoded augmented crops, or its features with noise (a variant, not the paper's)",
        choices=("crops", "noise"),
    )
    view_noise: float = hyper(0.25, "length of the noise, relative to the mean distance of nearest neighbours")

    @property
    def needs(self) -> frozenset[str]:
        """Crops must have been encoded."""
        return super().needs | ({"views"} if self.views == "crops" else set())


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
    for setting, value in {**_preset(cls, settings), **settings}.items():
        if setting not in known:
            raise unknown(f"setting of method '{name}'", setting, known)
        spec = known[setting]
        values[setting] = checked(f"{name}.{setting}", value, spec.default, spec.metadata)
    missing = [f.name for f in known.values() if f.default is MISSING and f.name not in values]
    if missing:
        raise UserError(f"method '{name}' needs a value for {', '.join(missing)}")
    return cls(**values)


def _preset(cls: type[Method], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings behind a preset; `checked` tells of a name that does not exist."""
    name = settings.get("preset")
    return cls.presets.get(name, {}) if isinstance(name, str) else {}


def normalise(rows: Tensor) -> Tensor:
    """Rows scaled to unit length."""
    return F.normalize(rows, dim=-1)


def renormalise(weights: Tensor) -> Tensor:
    """Rows scaled to sum to one; a row of zeros stays a row of zeros."""
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total > 0, total, torch.ones_like(total))
