"""CLIP-like features of any size from a generator, without images: a dataset for tests of scale.

Images and texts live in two cones with a gap between them, as CLIP's do. A class k has a concept c_k, a direction
shared in part with the other classes of its family. With m_x, m_t the axes of the cones and J a quarter turn,

    text_k = a m_t + sqrt(1 - a^2) c_k
    image  = b m_x + sqrt(1 - b^2) unit(align c_k + look J c_k + noise (other + plain))

`align` is the part that makes zero-shot classification possible. `look` is what images of a class share beyond the
text; since J is the same for all classes, a map that is learned on seen classes transfers to unseen ones. `other` is
noise among the concepts (whatever else an image shows), `plain` is noise in a few strong directions of its own. The
constants are fitted to measured features of CLIP ViT-B/32; the test of this module has the figures.

A view of an image, such as a crop, has the same class. Its noise (and its depth in the cone) correlates with that of
the image by VIEW_CORRELATION. So views have the distribution of images, and each is close to its own image.

With the variant `tags` an image shows one to four classes, frequent ones more often. Its parts `align` and `look` are
then the sums over its classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.special import ndtri

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.data.source import Dataset, Source, Task, dataset
from pzsl_bench.encoding.crops import VIEWS

Array = NDArray[np.float64]

NUMBERS_AT_ONCE = 2**15

IMAGE_AXIS, IMAGE_SPREAD = 0.83, 0.054
TEXT_SPREAD = 0.1
ALIGN, LOOK, OTHER, PLAIN = 0.2, 0.2, 0.33, 0.9
"""Lengths of the four parts of an image beside its cone's axis."""
FAMILY_SIZE, FAMILY_SHARE = 5, 0.2
"""Classes in a family, and the share of a concept that they have in common."""
VIEW_CORRELATION = 0.65
"""Puts views at a cosine of 0.9 to their images, which is what crops of `shapes` have in the embedded encoder."""
CONCEPT_RANK, PLAIN_RANK = 55.0, 9.0
"""Effective ranks of the two spectra, which decay exponentially from opposite ends of the axes."""


@dataclass(frozen=True)
class World:
    """The parameters of a world, as written after the colon: synthetic:seen=100:dim=256."""

    seen: int = 40
    unseen: int = 20
    dim: int = 64
    per_class: int = 100
    test: int = 50
    noise: float = 1.0
    gap: float = 0.97
    cone: float = 0.78
    seed: int = 0
    extra: int = 0


MEANING = {
    "seen": "seen classes",
    "unseen": "unseen classes",
    "dim": "width of the features",
    "per_class": "training images of a seen class",
    "test": "test images of every class",
    "noise": "spread within a class, 1 as in CLIP",
    "gap": "distance between the mean image and the mean text",
    "cone": "length of the mean text, 1 when all texts are the same",
    "seed": "another world of the same kind",
}
MINIMUMS = {"seen": 2, "unseen": 1, "dim": 8, "per_class": 1, "test": 1, "seed": 0}
PRESETS = {"cub": World(seen=150, unseen=50, dim=512, per_class=47, test=30, extra=7)}
TAGS = "tags"
MAX_TAGS = 4
"""Images with tags have one to so many of them, each number equally often."""
TAG_IMBALANCE = 4.0
"""How much more often the first tag is drawn than the last."""


def read_world(spec: str, variants: Sequence[str]) -> World:
    """The parameters named by the words after the colon; later words take precedence."""
    world = World()
    for word in variants:
        knob, equals, value = word.partition("=")
        if not equals:
            if word not in PRESETS:
                known = [*PRESETS, TAGS, *(f"{k}=VALUE" for k in MEANING)]
                raise unknown("variant of dataset 'synthetic'", word, known)
            world = PRESETS[word]
            continue
        if knob not in MEANING:
            raise unknown("setting of dataset 'synthetic'", knob, MEANING)
        change: dict[str, Any] = {knob: _number(spec, knob, value)}
        world = replace(world, **change)
        if knob in ("seen", "per_class"):
            world = replace(world, extra=0)
    low, high = abs(IMAGE_AXIS - world.cone), IMAGE_AXIS + world.cone
    if not low <= world.gap <= high:
        raise UserError(
            f"dataset '{spec}': with cone={world.cone:g} the gap must lie in [{low:.2f}, {high:.2f}], not {world.gap:g}"
        )
    return world


def _number(spec: str, knob: str, value: str) -> int | float:
    whole = knob in MINIMUMS
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        raise UserError(f"dataset '{spec}': {knob}={value} is not {'a whole' if whole else 'a'} number") from None
    if whole and number < MINIMUMS[knob]:
        raise UserError(f"dataset '{spec}': {knob} must be at least {MINIMUMS[knob]}, not {value}")
    if knob == "cone" and not 0 < number < 1:
        raise UserError(f"dataset '{spec}': cone must lie between 0 and 1, not {value}")
    if not whole and not (np.isfinite(number) and number >= 0):
        raise UserError(f"dataset '{spec}': {knob} must not be negative, not {value}")
    return number


class Generator:
    """A world's classes and axes, from which any number of images is drawn."""

    def __init__(self, world: World):
        self.world = world
        classes, d = world.seen + world.unseen, world.dim

        # An exponential spectrum with decay length r / 2 has the effective rank r.
        depth = np.arange(d)
        plain_axes = _unit(np.exp(-depth / PLAIN_RANK))
        concept_axes = _unit(np.exp(-(d - 1 - depth) / CONCEPT_RANK))
        # Two independent noises with these spectra add up to one.
        self.noise_axes = world.noise * np.hypot(OTHER * concept_axes, PLAIN * plain_axes)

        of_class, of_family = self.normal("concept", classes, d), self.normal("family", -(-classes // FAMILY_SIZE), d)
        family = randomness.permutation(randomness.key("synthetic", world.seed, "families"), classes) // FAMILY_SIZE
        concepts = np.sqrt(1 - FAMILY_SHARE) * of_class + np.sqrt(FAMILY_SHARE) * of_family[family]
        self.concepts = _unit(concepts * concept_axes)

        self.image_axis, across = _unit(self.normal("image axis", d)), self.normal("across", d)
        self.across = _unit(across - (across @ self.image_axis) * self.image_axis)

    def normal(self, what: str, *shape: int) -> Array:
        """Normally distributed numbers, different for every name `what`."""
        return _normal(randomness.key("synthetic", self.world.seed, self.world.dim, what), *shape)

    def texts(self) -> NDArray[np.float32]:
        """(C, d) unit rows."""
        world = self.world
        cosine = (IMAGE_AXIS**2 + world.cone**2 - world.gap**2) / (2 * IMAGE_AXIS * world.cone)
        text_axis = cosine * self.image_axis + np.sqrt(max(0.0, 1 - cosine**2)) * self.across
        spread = min(TEXT_SPREAD, (1 - world.cone) / 2)
        lengths = np.clip(world.cone + spread * self.normal("text depth", len(self.concepts), 1), 0, 0.98)
        return self._cone(text_axis, lengths, self.concepts.copy())

    def tags(self, images: int) -> NDArray[np.int8]:
        """(M, C) 1 for the classes that an image shows, else -1."""
        classes = len(self.concepts)
        number = 1 + np.floor(MAX_TAGS * self._uniform("numbers of tags", images)).astype(np.int64)
        # Exponential random numbers with the weights as rates: the smallest are a weighted draw without replacement.
        clock = -np.log1p(-self._uniform("which tags", images, classes)) * TAG_IMBALANCE ** np.linspace(0, 1, classes)
        last = np.take_along_axis(np.sort(clock, axis=1), np.minimum(number, classes)[:, None] - 1, axis=1)
        return np.where(clock <= last, 1, -1).astype(np.int8)

    def images(self, shown: NDArray[np.int64] | NDArray[np.int8], view: int = 0) -> NDArray[np.float32]:
        """(M, d) unit rows: images of these classes (M,), or with these tags (M, C), or another view of each."""
        rows = self._random("noise", len(shown), self.world.dim, view)
        depth = self._random("image depth", len(shown), 1, view)
        rows *= self.noise_axes
        class_parts = ALIGN * self.concepts + LOOK * _quarter_turn(self.concepts)
        rows += class_parts[shown] if shown.ndim == 1 else (shown > 0) @ class_parts
        lengths = np.clip(IMAGE_AXIS + IMAGE_SPREAD * depth, 0, 0.98)
        return self._cone(self.image_axis, lengths, rows)

    def _uniform(self, what: str, *shape: int) -> Array:
        return randomness.uniform(randomness.key("synthetic", self.world.seed, what), *shape)

    def _random(self, what: str, images: int, width: int, view: int) -> Array:
        """(M, width) normal numbers of the images, or of a view, which correlate with those of the images."""
        rows = self.normal(what, images, width)
        if view:
            rows *= VIEW_CORRELATION
            rows += np.sqrt(1 - VIEW_CORRELATION**2) * self.normal(f"{what} of view {view}", images, width)
        return rows

    def _cone(self, axis: Array, lengths: Array, rows: Array) -> NDArray[np.float32]:
        """Unit rows with a part of these lengths along the axis, and the rest in the directions of `rows`."""
        axes = np.stack([self.image_axis, self.across])
        rows -= (rows @ axes.T) @ axes
        rows *= np.sqrt(1 - lengths**2) / np.linalg.norm(rows, axis=1, keepdims=True)
        rows += lengths * axis
        return _rotate(rows.astype(np.float32), self.world.seed)


def _normal(stream: int, *shape: int) -> Array:
    """Normally distributed numbers, made in pieces that fit into the processor's cache."""
    count = int(np.prod(shape))
    flat = np.empty(count)
    for start in range(0, count, NUMBERS_AT_ONCE):
        positions = np.arange(start, min(start + NUMBERS_AT_ONCE, count), dtype=np.uint64)
        # Uniform numbers in the middle of the grid's steps, never 0 or 1, so that no normal number is infinite.
        uniform = ((randomness.bits(stream, positions) >> np.uint64(12)) + 0.5) * 2.0**-52
        ndtri(uniform, out=flat[start : start + len(positions)])
    return flat.reshape(shape)


def _quarter_turn(rows: Array) -> Array:
    """Every pair of axes turned by 90 degrees; a last axis without a partner becomes zero."""
    pairs = rows.shape[1] // 2
    turned = np.zeros_like(rows)
    turned[:, 0 : 2 * pairs : 2] = -rows[:, 1 : 2 * pairs : 2]
    turned[:, 1 : 2 * pairs : 2] = rows[:, 0 : 2 * pairs : 2]
    return turned


def _rotate(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """One rotation for all rows, so that no axis is special: signs and a cosine transform, twice."""
    for turn in range(2):
        signs = 1.0 - 2.0 * (
            randomness.bits(randomness.key("synthetic", seed, "signs", turn), rows.shape[1]) >> np.uint64(63)
        )
        rows = dct(rows * signs.astype(np.float32), norm="ortho", axis=-1, overwrite_x=True)
    return rows


def _unit(rows: Array) -> Array:
    unit: Array = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return unit


@dataset(
    "synthetic",
    title="Synthetic CLIP-like features",
    version=1,
    licence="generated; no rights attached",
    obtain="nothing to obtain: it is generated on the fly",
    variants=(*PRESETS, TAGS, *(f"{f.name}={f.default:g}" for f in fields(World) if f.name in MEANING)),
    deviations=("Not a dataset: a generator for tests of scale, whose accuracies say nothing about real images.",),
)
class Synthetic(Dataset):
    """Seen classes have training and test images, unseen ones test images only."""

    @classmethod
    def check(cls, spec: str, variants: Sequence[str]) -> None:
        """Presets and settings."""
        read_world(spec, [word for word in variants if word != TAGS])

    @property
    def task(self) -> Task:
        """One class an image, or several."""
        return "tags" if TAGS in self.variants else "classes"

    def open(self) -> Source:
        """Generate it."""
        words = [word for word in self.variants if word != TAGS]
        world = read_world(":".join([self.info.name, *self.variants]), words)
        if self.task == "tags":
            return self._tagged(world)
        classes = world.seen + world.unseen
        counts = world.per_class + (np.arange(world.seen) < world.extra)
        train = np.repeat(np.arange(world.seen), counts)
        test = np.repeat(np.arange(classes), world.test)
        labels = np.concatenate([train, test]).astype(np.int64)
        make = Generator(world)
        facts: dict[str, Any] = {f.name: getattr(world, f.name) for f in fields(world)}
        return Source(
            labels=labels,
            is_test=np.arange(len(labels)) >= len(train),
            class_names=tuple(f"concept {k}" for k in range(classes)),
            seen=tuple(range(world.seen)),
            unseen=tuple(range(world.seen, classes)),
            validation=tuple(range(0, world.seen, 4)),
            checksum=identity_hash({"synthetic": self.info.version, **facts}),
            features=make.images(labels),
            texts=make.texts(),
            views=lambda: np.stack([make.images(labels[: len(train)], view) for view in range(1, VIEWS + 1)]),
        )

    def _tagged(self, world: World) -> Source:
        """The variant with tags; its numbers of images are those without tags, divided by the mean number of tags."""
        mean = (1 + MAX_TAGS) / 2
        classes = world.seen + world.unseen
        train, test = (max(1, round(number / mean)) for number in (world.seen * world.per_class, classes * world.test))
        make = Generator(world)
        # Unseen tags are last in the numbering; shuffled places keep them from being the rare ones.
        place = randomness.permutation(randomness.key("synthetic", world.seed, "places of tags"), classes)
        tags = np.empty((train + test, classes), dtype=np.int8)
        tags[:, place] = make.tags(train + test)
        facts = {f.name: getattr(world, f.name) for f in fields(world)}
        return Source(
            labels=None,
            tags=tags,
            is_test=np.arange(train + test) >= train,
            class_names=tuple(f"concept {k}" for k in range(classes)),
            seen=tuple(range(world.seen)),
            unseen=tuple(range(world.seen, classes)),
            validation=(),
            checksum=identity_hash({"synthetic": self.info.version, TAGS: 1, **facts}),
            features=make.images(tags),
            texts=make.texts(),
        )
