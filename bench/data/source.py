"""What a dataset provides: images or ready features, class names, and a split into seen and unseen classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.base.registry import Registry

if TYPE_CHECKING:
    from PIL.Image import Image

D = TypeVar("D", bound="type[Dataset]")

DATASETS: Registry[type[Dataset]] = Registry("dataset", "pzsl_bench.datasets", plugins="pzsl_bench.datasets")


Table = tuple[str, Sequence[Sequence[object]]]
"""A title, and the rows of the table."""
Task = Literal["classes", "tags"]
"""What is predicted for an image: its one class, or which tags it has."""


class Images(Protocol):
    """Images by position; reading one may fail without harming the others."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Image: ...


@dataclass(frozen=True)
class Source:
    """The content of a dataset, before it is encoded: M images, C classes."""

    labels: NDArray[np.int64] | None
    """(M,) true class of every image; None where images have `tags`."""
    is_test: NDArray[np.bool_]
    """(M,) test images; training images of unseen classes are never used. With `split`, those of seed 0."""
    class_names: tuple[str, ...]
    """C names as prompts use them."""
    seen: tuple[int, ...]
    unseen: tuple[int, ...]
    validation: tuple[int, ...]
    """Seen classes that play the unseen ones in the rehearsal, where calibration and tuning are decided."""
    checksum: str
    """Hash of everything that determines images (or features) and labels."""
    templates: tuple[str, ...] = ("a photo of a {}.",)
    contexts: tuple[tuple[str, ...], ...] | None = None
    """C lists of templates, one for each class, where a class name alone says too little. They replace `templates`
    when class texts are encoded."""
    images: Images | None = None
    features: NDArray[np.float32] | None = None
    """(M, d) ready features, when there are no images."""
    texts: NDArray[np.float32] | None = None
    """(C, a) ready class semantics, when no encoder makes them."""
    names: NDArray[np.float32] | None = None
    """(C, m, a) ready vectors of other names of the classes, beside `texts`; rows of zeros where a class has fewer."""
    scale: float = 100.0
    """Logit scale that goes with ready features."""
    candidates: NDArray[np.bool_] | None = None
    """(M, C) candidate sets that belong to the dataset: the ambiguity `given`."""
    split: Callable[[int], NDArray[np.bool_]] | None = None
    """seed -> (M,) its test images, where every seed has a split of its own, as with folds."""
    standardise: bool = False
    """For ready features not made by an encoder: columns are z-scored on training images, rows keep their lengths."""
    unit: bool = True
    """Rows of ready features are scaled to unit length; otherwise they keep their lengths."""
    aligned: bool = True
    """Whether ready texts are from the encoder that made the features, not of another origin, as attributes are."""
    ordinal: bool = False
    """Whether class numbers are positions on a scale, such as ages, so that near misses can be counted."""
    views: Callable[[], NDArray[np.float32]] | None = None
    """Makes (V, N, d) views of the images of `training`, where they can be made for ready features."""
    tags: NDArray[np.int8] | None = None
    """(M, C) annotations where an image may have several tags: 1 present, -1 absent, 0 unknown.

    Methods train on every image that is not a test image and has a seen tag. Images without a seen tag would be
    negatives only, and some ambiguities (one positive an image, candidate sets) are not defined for them.
    """
    top: tuple[int, ...] = (3, 5)
    """Numbers k for precision and recall at the k highest-scored tags of an image, where images have tags."""
    untunable: str = ""
    """Why nothing may be chosen on the training images, as the end of a sentence; empty where it may."""

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.tags is None):
            raise ValueError("a source holds either the class of every image or its tags")
        if self.tags is not None:
            self._check_tags(self.tags)
        if set(self.seen) & set(self.unseen):
            raise ValueError("a class is both seen and unseen")
        if not set(self.validation) < set(self.seen):
            raise ValueError("validation classes must be some, not all, of the seen classes")
        if (self.images is None) == (self.features is None):
            raise ValueError("a source holds either images or features")
        if self.names is not None and (self.texts is None or not self.aligned):
            raise ValueError("ready vectors of names go with ready texts of the encoder that made the features")
        if self.contexts is not None and len(self.contexts) != len(self.class_names):
            raise ValueError("contexts need a list of templates for each class")
        if self.candidates is not None and self.candidates.shape != (len(self), len(self.class_names)):
            raise ValueError("candidate sets need a row for each image and a column for each class")
        if self.candidates is not None and not self.candidates[np.arange(len(self)), self.labels].all():
            raise ValueError("a true class is not among the candidates of its image")
        if (self.standardise or not self.unit) and self.features is None:
            raise ValueError("only ready features can be standardised or keep their lengths")
        if self.views is not None and (self.features is None or self.standardise or self.split is not None):
            raise ValueError("ready views go with ready features of unit length and one split")

    def _check_tags(self, tags: NDArray[np.int8]) -> None:
        """Raise ValueError for tags of another shape, type or meaning than the harness expects."""
        if tags.shape != (len(self), len(self.class_names)):
            raise ValueError(f"tags need a row for each image and a column for each class, not {tags.shape}")
        if tags.dtype != np.int8:
            raise ValueError(f"tags are int8, not {tags.dtype}")
        if len(tags) and not -1 <= int(tags.min()) <= int(tags.max()) <= 1:
            values = ", ".join(map(str, np.unique(tags)[:8].tolist()))
            raise ValueError(f"tags are 1 (present), -1 (absent) or 0 (unknown), but these hold {values}")
        if not self.top or min(self.top) < 1:
            raise ValueError("top holds numbers of tags from 1 on")
        if self.candidates is not None or self.ordinal:
            raise ValueError("candidate sets and positions on a scale go with one class an image, not with tags")

    def __len__(self) -> int:
        """M, the number of images."""
        return len(self.is_test)

    @property
    def task(self) -> Task:
        """Whether an image is of one class or has tags."""
        return "classes" if self.tags is None else "tags"

    @property
    def is_aligned(self) -> bool:
        """Whether ready texts count as lying in the space of ready features: of one width, and both as encoded."""
        if self.features is None or self.texts is None or self.standardise or not self.aligned:
            return False
        return bool(self.features.shape[1] == self.texts.shape[1])

    def test_images(self, seed: int) -> NDArray[np.bool_]:
        """(M,) the test images of a seed."""
        return self.is_test if self.split is None else self.split(seed)

    @property
    def training(self) -> NDArray[np.int64]:
        """(N,) numbers of the training images of seen classes, those of seed 0 with `split`."""
        return np.flatnonzero(~self.is_test & self.has_seen)

    @property
    def has_seen(self) -> NDArray[np.bool_]:
        """(M,) images that are of a seen class, or have a seen tag."""
        if self.labels is not None:
            return np.isin(self.labels, self.seen)
        assert self.tags is not None
        has = np.zeros(len(self), dtype=bool)
        for k in self.seen:
            has |= self.tags[:, k] > 0
        return has

    @property
    def has_views(self) -> bool:
        """Whether augmented views of the training images can be made; not where these differ between seeds."""
        return self.split is None and (self.images is not None or self.views is not None)


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a dataset, as data."""

    name: str
    title: str
    version: int
    citation: Any
    licence: str
    obtain: str
    """How to get the dataset, as a command or an address."""
    variants: tuple[str, ...]
    """Words allowed after the colon of NAME:VARIANT."""
    deviations: tuple[str, ...]
    task: Task = "classes"
    """Whether its images are of one class each or have tags, unless a variant says otherwise."""


class Dataset(ABC):
    """Base of all datasets: an instance is one variant, opened when needed."""

    info: ClassVar[DatasetInfo]
    default_encoder: ClassVar[str] = "none"

    def __init__(self, variants: tuple[str, ...] = (), root: Path | None = None):
        self.variants = variants
        self.root = root

    @property
    def task(self) -> Task:
        """The task of this variant."""
        return self.info.task

    @classmethod
    def check(cls, spec: str, variants: Sequence[str]) -> None:
        """Raise UserError for variants that do not exist."""
        allowed = cls.info.variants
        for variant in variants:
            if not allowed:
                raise UserError(f"dataset '{cls.info.name}' has no variants, but '{spec}' asks for '{variant}'")
            if variant not in allowed:
                raise unknown(f"variant of dataset '{cls.info.name}'", variant, allowed)

    @classmethod
    def members(cls, root: Path | None = None) -> tuple[str, ...]:
        """Full names of what can be opened: the name itself, or each variant where one has to be chosen."""
        return (cls.info.name,)

    @classmethod
    def details(cls, variants: Sequence[str]) -> Table | None:
        """The table that `show` adds to the facts, about the whole dataset or about these variants."""
        return None

    def synonyms(self) -> Mapping[str, Sequence[str]]:
        """Other names of classes, where the dataset makes them by rule; word lists by hand are files instead."""
        return {}

    @abstractmethod
    def open(self) -> Source:
        """Read or make it; raises MissingDataError with the way to obtain it. Must not need torch."""


def dataset(
    name: str,
    *,
    title: str,
    version: int = 1,
    citation: Any = None,
    licence: str = "",
    obtain: str = "",
    variants: Sequence[str] = (),
    deviations: Sequence[str] = (),
    task: Task = "classes",
) -> Callable[[D], D]:
    """Register a dataset class under a name, with its facts."""

    def keep(cls: D) -> D:
        facts = (name, title, version, citation, licence, obtain, tuple(variants), tuple(deviations), task)
        cls.info = DatasetInfo(*facts)
        DATASETS.add(name, cls)
        return cls

    return keep


def find_dataset(spec: str, root: Path | None = None) -> Dataset:
    """The dataset named NAME or NAME:VARIANT:VARIANT."""
    name, *variants = spec.split(":")
    cls = DATASETS.get(name)
    cls.check(spec, variants)
    return cls(tuple(variants), root)
