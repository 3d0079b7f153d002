"""The optional inputs of a method (class texts, crops, synonyms, text tower), and the settings that need them.

Every study has images and candidate sets. Any other input is a need with one of these names. Whether a need can be met
depends on the dataset and the encoder:

    texts             a vector for each class
    alignment         class texts in the same space as the images
    views             encoded augmented crops of the images
    text tower        the part of the encoder that reads class names, and the tokens of the names
    synonyms          the vectors of all names of each class, in addition to the texts
    ensemble texts    in place of a class's text, the mean of all its names
    s3 texts          in place of a class's text, the mean of those of its names that are close to each other
"""

from __future__ import annotations

FEEDS = ("uniform", "random", "refined", "clip_prior", "s3_prior")
"""How candidates can become the soft labels `Study.targets`; see `bench/training/soft_labels.py`."""
FEED_NEEDS = {"clip_prior": frozenset({"alignment"}), "s3_prior": frozenset({"alignment", "synonyms"})}
"""What a feed needs to score the images by; a feed that is not listed needs nothing."""
STARTS = {"uniform": "uniform", "clip": "clip_prior", "s3": "s3_prior"}
"""Values of the setting `init_confidence`, each with the feed that it stands for."""
PROTOTYPES = {
    "name": frozenset[str](),
    "ensemble": frozenset({"alignment", "ensemble texts"}),
    "s3_center": frozenset({"alignment", "s3 texts"}),
}
"""Values of the setting `prototypes` (the vectors that stand for classes in a cosine head), each with its needs."""
OF_NAMES = frozenset({"synonyms", "ensemble texts", "s3 texts"})
"""Needs that only a dataset whose class names are read by an encoder can meet; results then depend on all names."""
EXTRAS = OF_NAMES | {"text tower", "views"}
"""Needs that cost additional work, so that they are met only for methods that have them."""


def feed_needs(kind: str) -> frozenset[str]:
    """The needs of a feed."""
    return FEED_NEEDS.get(kind, frozenset())
