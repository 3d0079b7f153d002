"""Synonyms from WordNet, where nltk and its data are installed: nouns, in the first sense that is a kind of thing.

Miller, "WordNet: A Lexical Database for English", Communications of the ACM 38, 1995. The weak point is names with
several meanings: "crane" gets the same meaning, machine or bird, in every dataset. A file of your own is better there.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from pzsl_bench.data.word_lists import Entry, plain

OBTAIN = "python -m nltk.downloader wordnet"


def wordnet_entries(class_names: Sequence[str]) -> dict[str, Entry]:
    """The WordNet synonyms of the names, by plain name; empty where it is not installed. Nothing is downloaded."""
    wordnet = _corpus()
    if wordnet is None:
        return {}
    entries = {}
    for name in class_names:
        senses = wordnet.synsets(plain(name).replace(" ", "_"), pos="n")
        # Classes are kinds of things; the first sense of "crane" is a writer of that name.
        kind = next((sense for sense in senses if not sense.instance_hypernyms()), None)
        if kind is not None:
            entries[plain(name)] = Entry(name, tuple(lemma.replace("_", " ") for lemma in kind.lemma_names()))
    return entries


def _corpus() -> Any:
    try:
        from nltk.corpus import wordnet
    except ImportError:
        return None
    try:
        wordnet.ensure_loaded()
    except (LookupError, OSError):
        warnings.warn(f"nltk is here, but not its WordNet, or not the whole of it: {OBTAIN}", stacklevel=4)
        return None
    return wordnet
