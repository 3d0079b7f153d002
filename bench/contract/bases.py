"""The base classes of methods: the contract between a method and the harness.

A method is a frozen dataclass of hyper-parameters, written for one run; it never sees a replica axis. The harness
lifts it over a stack of runs with `torch.func.vmap`, so code inside `loss`, `refine`, `solve` and `forward` must not
call `.item()` or branch on tensor values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract.class_texts import ClassTexts
from pzsl_bench.contract.heads import HEADS, MOVES, Head, build_head
from pzsl_bench.contract.info import MethodInfo
from pzsl_bench.contract.needs import FEEDS, PROTOTYPES, STARTS, feed_needs
from pzsl_bench.contract.settings import hyper
from pzsl_bench.contract.study import Batch, Net, Output, State, Study, Update

SCHEDULES = ("warmup", "cosine", "constant")
"""How the learning rate may go; see `pzsl_bench.training.optimiser`."""
SMALLEST_BATCH = 32
"""Images that a mini-batch of a small set has at least."""


@dataclass(frozen=True)
class Method(ABC):
    """Base of all methods; subclass `ClosedForm` or `Gradient`."""

    info: ClassVar[MethodInfo]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named sets of settings, for a method with a setting `preset`; settings given beside it take precedence."""
    tasks: ClassVar[frozenset[str]] = frozenset({"classes"})
    """The tasks that it can do: "classes", where every image has one, or "tags", where an image may have several."""

    @property
    def transductive(self) -> bool:
        """Whether an image's scores depend on the other images of the exam, without their labels.

        Such a method is given the whole exam at once, in its order, and has a block of its own in every table.
        """
        return self.info.transductive

    @property
    def feed(self) -> str:
        """How candidates become `Study.targets`, one of `FEEDS`."""
        return "uniform"

    @property
    def needs(self) -> frozenset[str]:
        """What a dataset must have for this method, by the names in `bench/contract/needs.py`."""
        return frozenset()

    @classmethod
    def unused(cls) -> Mapping[str, str]:
        """Inherited settings that have no effect for this method, each with the reason; setting one is an error."""
        return {}


@dataclass(frozen=True)
class Fed(Method):
    """A method for ordinary labels; a feed first turns candidate sets into such labels: `class Ale(Fed, Gradient)`."""

    candidates_as: str = hyper("uniform", "how candidates are fed", choices=FEEDS)

    @property
    def feed(self) -> str:
        """The setting `candidates_as`."""
        return self.candidates_as

    @property
    def needs(self) -> frozenset[str]:
        """Also what the feed needs: some score images by the encoder, which must have encoded the texts too."""
        return super().needs | feed_needs(self.candidates_as)


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

    def prepare(self, state: State, texts: ClassTexts) -> State:
        """What `score` receives in place of the state, computed once for C texts from the state of the first run.

        Only for methods that learn nothing from images, so that all runs are the same. If a method overrides this,
        `score` is called on plain tensors, outside of `vmap`.
        """
        return state

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
    """Which per-image tensors the loss reads: "weights", "candidates", "marks"."""
    looks: ClassVar[int] = 0
    """How many other views of an image a step reads; needs a setting `views` (see `Viewed`)."""

    head: str = hyper(
        "auto",
        "which head turns features into logits; auto: cosine where class texts lie in the images' space, else linear",
        choices=HEADS,
    )
    prototypes: str = hyper(
        "name",
        "what a cosine head compares images with: a class's name, the mean of all its names, or of the compact ones",
        choices=tuple(PROTOTYPES),
    )
    init_confidence: str = hyper(
        "uniform",
        "label weights at the start: equal, or by the encoder's score of the name, or of all names",
        choices=tuple(STARTS),
    )
    moves: str = hyper(
        "both",
        "what a cosine head moves: images by an adapter, the class vectors of seen classes by a residual, or both",
        choices=MOVES,
    )
    encoder_counts: float = hyper(
        2.0,
        "how many images of a class the encoder's own classifier counts for when what a cosine head learnt is weighed",
        fixed=True,
    )
    hidden: int = hyper(64, "width of the adapter or of the MLP", above=0)
    temperature: str = hyper("learned", "scale of the cosine", choices=("learned", "fixed"))
    optimiser: str = hyper("adamw", "optimiser", choices=("adamw", "adam", "sgd"))
    lr: float = hyper(2e-3, "learning rate at the start", search=(1e-4, 1e-1), above=0)
    weight_decay: float = hyper(1e-2, "weight decay", search=(1e-6, 1e-1))
    momentum: float = hyper(0.9, "momentum of SGD", below=1)
    schedule: str = hyper(
        "warmup",
        "learning rate: cosine falls from the start; warmup rises over a tenth of the epochs, at least one, before it",
        choices=SCHEDULES,
    )
    clip: float = hyper(0.0, "largest gradient norm of a run; 0 switches clipping off")
    epochs: int = hyper(30, "passes over the images", above=0)
    batch: int = hyper(256, "images in a mini-batch at most", above=0)
    batches: int = hyper(
        8, f"mini-batches of an epoch at least, if each can have {SMALLEST_BATCH} images: small sets get smaller ones"
    )
    rest: str = hyper("keep", "the smaller batch at the end of an epoch", choices=("keep", "drop"))

    def __post_init__(self) -> None:
        if self.prototypes != "name" and self.head in ("linear", "mlp"):
            raise UserError(f"prototypes: {self.prototypes} is for a cosine head; head: {self.head} compares with none")

    @property
    def feed(self) -> str:
        """The feed that the label weights start from."""
        return STARTS[self.init_confidence]

    @property
    def needs(self) -> frozenset[str]:
        """A cosine head needs texts beside images; prototypes and the start of the label weights may need more."""
        texts = frozenset({"texts", "alignment"} if self.head == "cosine" else ())
        return texts | PROTOTYPES[self.prototypes] | feed_needs(STARTS[self.init_confidence])

    @classmethod
    def unused(cls) -> Mapping[str, str]:
        """`init_confidence` needs label weights that start from `Study.targets`, `prototypes` the shared heads."""
        reasons = {}
        if issubclass(cls, Fed):
            reasons["init_confidence"] = "candidates_as says what its labels are"
        elif "weights" not in cls.reads or cls.first_weights is not Gradient.first_weights or cls.info.reveals_truth:
            reasons["init_confidence"] = "it does not start from label weights of that kind"
        if cls.__dataclass_fields__["head"].metadata["choices"] != HEADS:
            own = "it compares images with classes in a way of its own"
            reasons |= dict.fromkeys(("prototypes", "moves", "encoder_counts"), own)
        return reasons

    @property
    def second_pass(self) -> bool:
        """Whether the batch is seen again after the optimiser's step, by `revise`."""
        return False

    def module(self, study: Study) -> nn.Module:
        """The trainable part: forward(features (B, d), texts (C, a)) -> logits (B, C)."""
        return self.shared_head(study)

    def shared_head(self, study: Study) -> Head:
        """The head that most methods share, by the settings from `head` to `temperature`."""
        learned = self.temperature == "learned"
        return build_head(self.head, study, self.hidden, learned, self.moves, self.encoder_counts)

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
        """Names and shapes of the uniform random numbers that a step on so many images and classes reads."""
        return {}

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Scalar loss of one mini-batch; `method` refuses a class that has neither this nor a step of its own."""
        raise NotImplementedError

    def refine(self, output: Output, batch: Batch) -> Tensor | None:
        """(B, K) new label weights, from the forward pass of the loss or from the second pass; None keeps them."""
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
        """What the new parameters change after the optimiser's step; without gradients, only if `second_pass`."""
        return Update(self.refine(Output(net(batch.features)), batch))

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        """What the end of an epoch changes: all label weights, memory, and all rows of tables, (N, ...)."""
        return Update()

    def extra_floats(self, study: Study) -> int:
        """Estimated floats that one step of one run keeps in memory beyond the head's own."""
        return 0

    def prepare(self, net: Net, memory: State) -> State:
        """Further tensors in the memory of `score`, computed once for the C texts of `net` after training."""
        return {}

    def score(self, net: Net, memory: State, features: Tensor) -> Tensor:
        """(M, C) scores for the C texts of `net`, seen classes first; (M, K) from heads without unseen classes."""
        scores: Tensor = net(features)
        return scores


@dataclass(frozen=True)
class Steady(Gradient):
    """A gradient method whose other settings were chosen with a rate that falls from the start, and full batches."""

    schedule: str = hyper("cosine", "learning-rate schedule; cosine falls from the start", choices=SCHEDULES)
    batches: int = hyper(1, "mini-batches of an epoch at least, on small sets too")


@dataclass(frozen=True)
class Viewed(Gradient):
    """A gradient method that reads several views of an image."""

    views: str = hyper(
        "crops",
        "other looks at an image: encoded augmented crops, or its features with noise (a variant, not the paper's)",
        choices=("crops", "noise"),
    )
    view_noise: float = hyper(0.25, "length of the noise, relative to the mean distance of nearest neighbours")

    @property
    def needs(self) -> frozenset[str]:
        """Also encoded crops, unless the views are made with noise."""
        return super().needs | ({"views"} if self.views == "crops" else set())
