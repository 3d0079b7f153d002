"""Class texts from more than a name: sentences, descriptors or nonsense words, set by a suffix of the encoder's name.

ENCODER+cupl=FILE     a JSON object, class -> sentences: the normalised mean of their normalised embeddings
ENCODER+dclip=FILE    a JSON object, class -> descriptors of "NAME, which has DESCRIPTOR": scores are the mean of the
                      cosines, so a class text is the plain mean of unit vectors and shorter than one
ENCODER+waffle        30 nonsense words, the same for every class, in the place of descriptors

CuPL: Pratt, Covert, Liu and Farhadi, "What does a platypus look like?", ICCV 2023. DCLIP: Menon and Vondrick, "Visual
Classification via Description from Large Language Models", ICLR 2023. WaffleCLIP: Roth, Kim, Koepke, Vinyals, Schmid
and Akata, "Waffling around for Performance", ICCV 2023; here without its half of words from a dictionary.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.data.word_lists import Entry, plain, read_listing
from pzsl_bench.encoding.prompts import fill, unit

ENDING = re.compile(r"\+(?:(?P<way>cupl|dclip)=(?P<file>.+)|(?P<alone>waffle))$")
NONSENSE = 30
"""Nonsense words of waffle: 15 pairs in the paper."""
EXAMPLE = "embedded+cupl=sentences.json"

Encode = Callable[[list[str]], NDArray[np.floating]]


@dataclass(frozen=True)
class Wording(ABC):
    """How class names become one vector per class."""

    renormalise = False

    @abstractmethod
    def prompts(self, name: str, templates: Sequence[str]) -> list[str]:
        """The prompts of a class: at least one."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that determines the prompts besides names and templates."""

    def fingerprint(self) -> str:
        """A hash of the identity."""
        return identity_hash(self.identity())[:16]

    def class_texts(self, encode: Encode, names: Sequence[str], templates: Sequence[str]) -> NDArray[np.float32]:
        """(C, a) the mean of each class's unit embeddings."""
        prompts_by_class = [self.prompts(name, templates) for name in names]
        rows = unit(encode([prompt for prompts in prompts_by_class for prompt in prompts]))
        means = np.stack([part.mean(0) for part in np.split(rows, np.cumsum([len(p) for p in prompts_by_class])[:-1])])
        return (unit(means) if self.renormalise else means).astype(np.float32)


@dataclass(frozen=True)
class FromFile(Wording):
    """Texts that a file gives for each class."""

    file: Path

    @cached_property
    def content(self) -> dict[str, list[str]]:
        """The texts, by the classes' plain names."""
        if not self.file.is_file():
            raise MissingDataError(f"there is no file {self.file} with texts of classes")
        return {name: list(self.texts(entry)) for name, entry in read_listing(self.file).entries.items()}

    @abstractmethod
    def texts(self, entry: Entry) -> tuple[str, ...]:
        """The texts of a file's entry that this wording uses."""

    def of(self, name: str) -> list[str]:
        """The texts of a class; capitals, underscores and hyphens do not matter."""
        if plain(name) not in self.content:
            raise UserError(f"{self.file} has no texts for class '{name}'")
        return self.content[plain(name)]

    def identity(self) -> dict[str, Any]:
        """The texts themselves, wherever the file lies."""
        return {"way": type(self).__name__.lower(), "texts": self.content}


@dataclass(frozen=True)
class CuPL(FromFile):
    """Whole sentences."""

    renormalise = True

    def texts(self, entry: Entry) -> tuple[str, ...]:
        """The list of the entry; in a full file of synonyms, only synonyms that are whole prompts."""
        return entry.synonyms if entry.as_prompt or not entry.full else ()

    def prompts(self, name: str, templates: Sequence[str]) -> list[str]:
        """The sentences as they are."""
        sentences = self.of(name)
        if not sentences:
            raise UserError(f"{self.file}: class '{name}' needs at least one sentence")
        return sentences


@dataclass(frozen=True)
class DCLIP(FromFile):
    """Descriptors of a class."""

    def texts(self, entry: Entry) -> tuple[str, ...]:
        """The list of the entry; in a full file of synonyms, its descriptors."""
        return entry.descriptors if entry.full else entry.synonyms

    def prompts(self, name: str, templates: Sequence[str]) -> list[str]:
        """A prompt for each descriptor; the name in the templates where there is no descriptor."""
        spaced_name = name.replace("_", " ")
        return [f"{spaced_name}, {clause(text)}" for text in self.of(name)] or fill([name], templates)


@dataclass(frozen=True)
class Waffle(Wording):
    """Nonsense in the place of descriptors."""

    def prompts(self, name: str, templates: Sequence[str]) -> list[str]:
        """The first template with each nonsense word."""
        start = fill([name], templates[:1])[0].removesuffix(".")
        return [f"{start}, which has {word}." for word in nonsense(NONSENSE)]

    def identity(self) -> dict[str, Any]:
        """The nonsense words."""
        return {"way": "waffle", "texts": nonsense(NONSENSE)}


def clause(descriptor: str) -> str:
    """A descriptor as part of a sentence, behind "which has", "which is" or "which" alone."""
    first = descriptor.split()[0].lower()
    if first in ("a", "an", "the", "used"):
        return f"which is {descriptor}"
    if first in ("has", "have", "is", "often", "typically", "may", "can"):
        return f"which {descriptor}"
    return f"which has {descriptor}"


def nonsense(count: int) -> list[str]:
    """Words of four to ten random letters, always the same ones."""
    dice = randomness.uniform(randomness.key("waffle"), count, 11)
    return ["".join(chr(ord("a") + int(26 * d)) for d in row[1 : 5 + int(7 * row[0])]) for row in dice]


def split_wording(spec: str) -> tuple[str, Wording | None]:
    """The encoder's own name, and the wording that is named behind it, if there is one."""
    suffix = ENDING.search(spec)
    if suffix is None:
        return spec, None
    base = spec[: suffix.start()]
    if base == "none":
        raise UserError(f"encoder '{spec}': without an encoder nothing is said of classes; write for example {EXAMPLE}")
    if suffix["alone"]:
        return base, Waffle()
    file = Path(suffix["file"]).expanduser()
    return base, CuPL(file) if suffix["way"] == "cupl" else DCLIP(file)
