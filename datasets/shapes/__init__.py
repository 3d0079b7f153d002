"""The drawn world: textures, colours and shapes drawn by the package, and a small CLIP of its own.

An image shows one object; a class is a combination such as "dotted teal circle". The encoder in `encoder/` knows
the words. In its pre-training, no class of any split, seen or unseen, was ever drawn or named in a caption. The images
of the benchmark are noisier and warmer than those of its pre-training, so that methods have something to adapt to.

Zero-shot with the five templates on the 6,000 test images, in percent, averaged over classes (T1 unseen among the 20
unseen, S40 seen among the 40 seen, S and U all among 60, H their harmonic mean; standard error of T1 about one point):

    split   common names: T1   S40  S     U     H       odd names: T1   S40  S     U     H
    0                   71.1  71.4  65.1  54.7  59.4             61.3  59.5  52.3  45.2  48.5
    1                   73.1  63.7  59.3  54.1  56.6             68.0  56.0  50.4  49.8  50.1
    2                   71.7  67.7  60.7  54.6  57.5             65.4  59.0  49.0  42.9  45.7

Images, words and splits were not changed after these numbers were seen. The three splits share one encoder and,
pairwise, a few classes, so their spread tells little about other encoders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.base.randomness import key
from pzsl_bench.data.source import Dataset, Source, dataset
from pzsl_bench.datasets.shapes.draw import BENCH, SIDE, draw
from pzsl_bench.datasets.shapes.lexicon import OPENINGS, Naming, class_name
from pzsl_bench.datasets.shapes.splits import SPLITS, split
from pzsl_bench.datasets.shapes.synonyms import phrases

if TYPE_CHECKING:
    from PIL.Image import Image

GENERATOR = 1
"""Raised whenever a pixel or a label changes."""
PER_CLASS = 100
"""Test images of every class, and training images of every seen class."""
SPLIT_VARIANTS = tuple(f"split{i}" for i in range(1, SPLITS))
TEMPLATES = tuple(f"{opening} {{}}" for opening in dict.fromkeys(OPENINGS) if opening not in ("the", "one"))


class ShapeImages:
    """Images of one object, (M,) combinations, or of several, (M, k) with -1 for none; drawn when they are read."""

    def __init__(self, stream: int, combinations: NDArray[np.int64]):
        self.stream = stream
        self.combinations = combinations.reshape(len(combinations), -1)

    def __len__(self) -> int:
        return len(self.combinations)

    def __getitem__(self, index: int) -> Image:
        return self.many([index])[0]

    def many(self, indices: Sequence[int] | NDArray[np.int64]) -> list[Image]:
        """Many images at once, the same as one by one but faster."""
        from PIL.Image import fromarray

        ids = np.arange(len(self))[np.asarray(indices, np.int64)]
        return [fromarray(pixels) for pixels in draw(self.stream, ids, self.combinations[ids], BENCH)]


@dataset(
    "shapes",
    title="Shapes",
    licence="MIT",
    obtain="ships with the package",
    variants=("odd", *SPLIT_VARIANTS),
)
class Shapes(Dataset):
    """shapes, shapes:split1, shapes:split2; with `odd` each class goes by rarer, ambiguous words."""

    default_encoder = "embedded"

    @classmethod
    def check(cls, spec: str, variants: Sequence[str]) -> None:
        """Refuse unknown variants, and two splits at once."""
        super().check(spec, variants)
        if len(set(variants)) < len(variants) or len(set(variants) & set(SPLIT_VARIANTS)) > 1:
            raise UserError(f"dataset '{spec}' asks for more than one split, or for a variant twice")

    @cached_property
    def split(self) -> int:
        """The number of the split."""
        return next((i for i, name in enumerate(SPLIT_VARIANTS, 1) if name in self.variants), 0)

    @cached_property
    def naming(self) -> Naming:
        """Whether classes have common or odd names."""
        return "odd" if "odd" in self.variants else "common"

    def synonyms(self) -> Mapping[str, Sequence[str]]:
        """Other words of the lexicon for each class of the split."""
        roles = split(self.split)
        return {class_name(c, self.naming): phrases(c) for c in (*roles.seen, *roles.unseen)}

    def open(self) -> Source:
        """Seen classes are 0 to 39, unseen ones 40 to 59; nothing is drawn yet."""
        roles = split(self.split)
        classes = (*roles.seen, *roles.unseen)
        n_seen = len(roles.seen)
        labels = np.repeat(np.array([*range(n_seen), *range(len(classes))]), PER_CLASS)
        content = {
            "generator": GENERATOR,
            "split": self.split,
            "classes": classes,
            "validation": roles.validation,
            "per class": PER_CLASS,
            "side": SIDE,
            "style": repr(BENCH),
        }
        return Source(
            labels=labels,
            is_test=np.arange(len(labels)) >= n_seen * PER_CLASS,
            class_names=tuple(class_name(c, self.naming) for c in classes),
            seen=tuple(range(n_seen)),
            unseen=tuple(range(n_seen, len(classes))),
            validation=tuple(classes.index(c) for c in roles.validation),
            checksum=identity_hash(content),
            templates=TEMPLATES,
            images=ShapeImages(key("shapes", "images", GENERATOR, self.split), np.array(classes)[labels]),
        )
