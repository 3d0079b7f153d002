"""What a dataset is: named images or ready features, with class names and a split into seen and unseen classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.errors import UserError, unknown
from pzsl_bench.registry import Registry

if TYPE_CHECKING:
    from PIL.Image import Image

D = TypeVar("D", bound="type[Dataset]")

DATASETS: Registry[type[Dataset]] = Registry("dataset", "pzsl_bench.datasets", plugins="pzsl_bench.datasets")


Table = tuple[str, Sequence[Sequence[object]]]
"""A title, and rows under it."""


class Images(Protocol):
    """Images by position; reading one may fail without harming the others."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Image: ...


@dataclass(frozen=True)
class Source:
    """A dataset opened: everything but the encoding. M images, C classes."""

    labels: NDArray[np.int64]
    """(M,) true class of every image."""
    is_test: NDArray[np.bool_]
    """(M,) test images; training images of unseen classes are never used. With `split`, those of seed 0."""
    class_names: tuple[str, ...]
    """C names as prompts use them."""
    seen: tuple[int, ...]
    unseen: tuple[int, ...]
    validation: tuple[int, ...]
    """Seen classes that play the unseen ones in the rehearsal, where calibration and tuning are decided."""
    checksum: str
    """Hash of all that determines images (or features) and labels."""
    templates: tuple[str, ...] = ("a photo of a {}.",)
    images: Images | None = None
    features: NDArray[np.float32] | None = None
    """(M, d) ready features, when there are no images."""
    texts: NDArray[np.float32] | None = None
    """(C, a) ready class semantics, when no encoder makes them."""
    scale: float = 100.0
    """Logit scale that goes with ready features."""
    candidates: NDArray[np.bool_] | None = None
    """(M, C) candidate sets that the images came with: the ambiguity `given`."""
    split: Callable[[int], NDArray[np.bool_]] | None = None
    """(M,) test images of a seed, where every seed has a split of its own, as with folds."""
    standardise: bool = False
    """Ready features that no encoder made: columns are z-scored on the training images, rows keep their lengths."""
    unit: bool = True
    """Rows of ready features are scaled to unit length; otherwise they keep their lengths."""
    aligned: bool = True
    """Ready texts are those of the encoder that made the features, and not of another origin, as attributes are."""
    ordinal: bool = False
    """Class numbers are positions on a scale, such as ages, so that near misses count for something."""
    views: Callable[[], NDArray[np.float32]] | None = None
    """Makes (V, N, d) other looks at the images of `training`, where ready features can have them."""

    def __post_init__(self) -> None:
        if set(self.seen) & set(self.unseen):
            raise ValueError("a class is both seen and unseen")
        if not set(self.validation) < set(self.seen):
            raise ValueError("validation classes must be some, not all, of the seen classes")
        if (self.images is None) == (self.features is None):
            raise ValueError("a source holds either images or features")
        if self.candidates is not None and self.candidates.shape != (len(self.labels), len(self.class_names)):
            raise ValueError("candidate sets need a row for each image and a column for each class")
        if self.candidates is not None and not self.candidates[np.arange(len(self.labels)), self.labels].all():
            raise ValueError("a true class is not among the candidates of its image")
        if (self.standardise or not self.unit) and self.features is None:
            raise ValueError("only ready features can be standardised or keep their lengths")
        if self.views is not None and (self.features is None or self.standardise or self.split is not None):
            raise ValueError("ready views go with ready features of unit length and one split")

    def offers(self, encoder: str) -> frozenset[str]:
        """What methods and ambiguities may need and this dataset has, through that encoder."""
        has = {
            "texts": self.texts is not None or encoder != "none",
            "alignment": encoder != "none" or self.is_aligned,
            "text tower": self.texts is None and encoder != "none",
            "views": self.has_views,
            "candidates": self.candidates is not None,
        }
        return frozenset(what for what, here in has.items() if here)

    @property
    def is_aligned(self) -> bool:
        """Whether ready texts can be taken to lie in the space of ready features: of one width, and both as encoded."""
        if self.features is None or self.texts is None or self.standardise or not self.aligned:
            return False
        return bool(self.features.shape[1] == self.texts.shape[1])

    def test_images(self, seed: int) -> NDArray[np.bool_]:
        """(M,) the test images of a seed."""
        return self.is_test if self.split is None else self.split(seed)

    @property
    def training(self) -> NDArray[np.int64]:
        """(N,) numbers of the training images of seen classes, those of seed 0 with `split`."""
        return np.flatnonzero(~self.is_test & np.isin(self.labels, self.seen))

    @property
    def has_views(self) -> bool:
        """Whether augmented views of the training images can be made; not where every seed trains on others."""
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
    """How to get it, as a command or an address."""
    variants: tuple[str, ...]
    """Words allowed after the colon of NAME:VARIANT."""
    deviations: tuple[str, ...]


class Dataset(ABC):
    """Base of all datasets: made for one variant, opened when needed."""

    info: ClassVar[DatasetInfo]
    default_encoder: ClassVar[str] = "none"

    def __init__(self, variants: tuple[str, ...] = (), root: Path | None = None):
        self.variants = variants
        self.root = root

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
        """What can be opened under this name; more than the name where a variant has to be chosen."""
        return (cls.info.name,)

    @classmethod
    def details(cls, variants: Sequence[str]) -> Table | None:
        """What `show` adds to the facts: about the whole dataset, or about the variants asked for."""
        return None

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
) -> Callable[[D], D]:
    """Register a dataset class under a name, with its facts."""

    def keep(cls: D) -> D:
        cls.info = DatasetInfo(name, title, version, citation, licence, obtain, tuple(variants), tuple(deviations))
        DATASETS.add(name, cls)
        return cls

    return keep


def find_dataset(spec: str, root: Path | None = None) -> Dataset:
    """The dataset named NAME or NAME:VARIANT:VARIANT."""
    name, *variants = spec.split(":")
    cls = DATASETS.get(name)
    cls.check(spec, variants)
    return cls(tuple(variants), root)
