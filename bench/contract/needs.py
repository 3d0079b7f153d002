"""What a study can hold besides images and candidate sets, and which values of shared settings ask for it.

A need is a word that a dataset, through an encoder, can meet or not:

    texts             vectors of its classes
    alignment         texts in the images' own space
    views             encoded augmented crops of its images
    text tower        the part of the encoder that reads class names, which are then in the texts
    synonyms          the vectors of all names of a class, beside its texts
    every name        the same in the place of the texts, at the exam too: each class is a list of names
    ensemble texts    the mean of all names of a class in the place of its text
    s3 texts          the mean of those names that hang together in the place of its text
"""

from __future__ import annotations

FEEDS = ("uniform", "random", "refined", "clip_prior", "s3_prior")
"""How candidates can become the soft labels `Study.targets`; see `bench/training/soft_labels.py`."""
FEED_NEEDS = {"clip_prior": frozenset({"alignment"}), "s3_prior": frozenset({"alignment", "synonyms"})}
"""What a feed scores images by."""
STARTS = {"uniform": "uniform", "clip": "clip_prior", "s3": "s3_prior"}
"""The feed behind each `init_confidence`."""
PROTOTYPES = {
    "name": frozenset[str](),
    "ensemble": frozenset({"alignment", "ensemble texts"}),
    "s3_center": frozenset({"alignment", "s3 texts"}),
}
"""What stands for a class where images are compared with texts, and what that needs."""
OF_NAMES = frozenset({"synonyms", "every name", "ensemble texts", "s3 texts"})
"""Needs that only a dataset whose class names an encoder reads can meet, and that the words themselves determine."""
EXTRAS = OF_NAMES | {"text tower", "views"}
"""Needs that are more work than the features themselves, so that they are met only where they are asked for."""


def feed_needs(kind: str) -> frozenset[str]:
    """What the labels of a feed need."""
    return FEED_NEEDS.get(kind, frozenset())
