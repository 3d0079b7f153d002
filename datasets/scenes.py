"""Scenes: drawn images of several objects each, with their shapes, colours and textures as tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.identity import identity_hash
from pzsl_bench.base.randomness import key, uniform_at
from pzsl_bench.data.source import Dataset, Source, dataset
from pzsl_bench.datasets.shapes import ShapeImages
from pzsl_bench.datasets.shapes.draw import BENCH, SCENE_RADIUS, SIDE
from pzsl_bench.datasets.shapes.lexicon import (
    COLOURS,
    COMBINATIONS,
    KINDS,
    SHAPES,
    SIZES,
    TEXTURES,
    word,
)
from pzsl_bench.datasets.shapes.synonyms import concept_words

GENERATOR = 1
"""Raised whenever a pixel or a tag changes."""
TRAIN, TEST = 2000, 1000
MIN_OBJECTS, MAX_OBJECTS = 2, 5
"""Objects of a scene."""
TAGS = (*SHAPES, *COLOURS, *TEXTURES)
UNSEEN = ("heart", "hexagon", "arrow", "teal", "pink", "brown", "dotted", "bordered")
TEMPLATE = "a {}"


@dataset(
    "scenes",
    title="Scenes of several shapes",
    task="tags",
    licence="MIT",
    obtain="ships with the package",
)
class Scenes(Dataset):
    """An image shows two to five objects on different places; its tags are the shapes, the colours and the textures
    of all of them. Of the 29 tags 8 are unseen: heart, hexagon, arrow, teal, pink, brown, dotted and bordered. They
    occur in the training images as often as in others, and nobody says so there: no annotation of an unseen tag is
    ever trained on.

    What this can show, and what it cannot: the embedded encoder knows the words of all tags, as CLIP knows the
    words of most benchmarks, and it has been shown scenes of two or three objects. "Unseen" means that a tag is not
    annotated for the task, not that it is new to the encoder. Objects are drawn from all 700 combinations, those
    that the encoder never met among them.

    The encoder was brought up on phrases of three words and reads a single one poorly, so the text of a tag is the
    mean of all phrases of that form which contain it: 50 for a shape, 70 for a colour, 140 for a texture. The
    images are warmer and noisier than those it learnt from, with objects of half the size; whole images are
    encoded, not crops of them.
    """

    default_encoder = "embedded"

    def synonyms(self) -> Mapping[str, Sequence[str]]:
        """Other words of the lexicon for each tag."""
        return {tag: concept_words(tag) for tag in TAGS}

    def open(self) -> Source:
        """The first images are for training; nothing is drawn yet."""
        objects = scenes(key("scenes", "objects", GENERATOR), TRAIN + TEST)
        content = {
            "generator": GENERATOR,
            "objects": [MIN_OBJECTS, MAX_OBJECTS],
            "images": [TRAIN, TEST],
            "side": SIDE,
            "style": [repr(BENCH), *SCENE_RADIUS],
        }
        return Source(
            labels=None,
            tags=tags_of(objects),
            is_test=np.arange(len(objects)) >= TRAIN,
            class_names=TAGS,
            seen=tuple(i for i, tag in enumerate(TAGS) if tag not in UNSEEN),
            unseen=tuple(i for i, tag in enumerate(TAGS) if tag in UNSEEN),
            validation=(),
            checksum=identity_hash(content),
            templates=(TEMPLATE,),
            contexts=tuple(map(phrases, TAGS)),
            images=ShapeImages(key("scenes", "images", GENERATOR), objects),
        )


def scenes(stream: int, count: int) -> NDArray[np.int64]:
    """(count, 5) combinations, -1 for an empty place; a scene is a function of (stream, its number) alone."""
    u = uniform_at(stream, np.arange(count)[:, None] * 8 + np.arange(MAX_OBJECTS + 1))
    objects = (u[:, :MAX_OBJECTS] * COMBINATIONS).astype(np.int64)
    number = MIN_OBJECTS + (u[:, MAX_OBJECTS] * (MAX_OBJECTS - MIN_OBJECTS + 1)).astype(np.int64)
    return np.where(np.arange(MAX_OBJECTS) < number[:, None], objects, -1)


def tags_of(objects: NDArray[np.int64]) -> NDArray[np.int8]:
    """(M, 29) 1 where one of the scene's objects has the shape, the colour or the texture, else -1."""
    tags = np.full((len(objects), len(TAGS)), -1, dtype=np.int8)
    image, place = np.nonzero(objects >= 0)
    rest, shape = np.divmod(objects[image, place], SIZES[2])
    texture, colour = np.divmod(rest, SIZES[1])
    for column in (shape, len(SHAPES) + colour, len(SHAPES) + len(COLOURS) + texture):
        tags[image, column] = 1
    return tags


def phrases(tag: str) -> tuple[str, ...]:
    """Templates of three words: "{}" for the kind of the tag, with all combinations of words of the other two kinds."""
    words = [[word(words_of, "common") for words_of in kind.values()] for kind in KINDS]
    kind = next(i for i, names in enumerate((TEXTURES, COLOURS, SHAPES)) if tag in names)
    words[kind] = ["{}"]
    return tuple(TEMPLATE.format(" ".join(parts)) for parts in product(*words))
