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
    """(M,) test images; training images of unseen classes are never used."""
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

    def __post_init__(self) -> None:
        if set(self.seen) & set(self.unseen):
            raise ValueError("a class is both seen and unseen")
        if not set(self.validation) < set(self.seen):
            raise ValueError("validation classes must be some, not all, of the seen classes")
        if (self.images is None) == (self.features is None):
            raise ValueError("a source holds either images or features")


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
