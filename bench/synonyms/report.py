"""What there is to know of the synonyms of a dataset before they are used: words, tokens and spaces of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.data.word_lists import Entry
from pzsl_bench.encoding.prompts import fill, unit
from pzsl_bench.synonyms.space import Compactness, compact, distinct, pooled_scale
from pzsl_bench.synonyms.words import WRITTEN, Clash, Found, bare

if TYPE_CHECKING:
    from pzsl_bench.data.source import Source
    from pzsl_bench.encoding.encoder import Encoder
    from pzsl_bench.encoding.open_clip_model import LoadedEncoder

Rows = NDArray[np.float64]

ROOM = 512
"""Tokens beyond those that an encoder reads for which a text is measured."""
SHOWN = 80
"""Characters of a text that a message shows."""


@dataclass(frozen=True)
class Space:
    """The space of a class's names, as a reader wants to see it."""

    eps: float
    kept: NDArray[np.bool_]
    """(n,) which of the names."""
    twins: NDArray[np.bool_]
    """(n,) names with the vector of an earlier one, which are not counted again."""
    points: Rows
    """(n, a) unit rows."""

    @property
    def share(self) -> float:
        """How much of what is different is kept."""
        return float(self.kept.sum() / max((~self.twins).sum(), 1))


@dataclass(frozen=True)
class ClassReport:
    """One class."""

    name: str
    source: str
    names: tuple[str, ...]
    """Its own, then the synonyms that are left."""
    repeated: tuple[str, ...]
    """Synonyms that say the name, or an earlier synonym, over again."""
    clashes: tuple[Clash, ...]
    too_long: tuple[str, ...]
    """Prompts with more tokens than the encoder reads; their ends are cut off."""
    space: Space | None

    @property
    def removed(self) -> tuple[str, ...]:
        """The names that the space leaves out."""
        if self.space is None:
            return ()
        out = ~self.space.kept & ~self.space.twins
        return tuple(name for name, gone in zip(self.names, out, strict=True) if gone)


def report(
    found: Found,
    source: Source,
    model: LoadedEncoder | None = None,
    names: NDArray[np.float32] | None = None,
    how: Compactness | None = None,
) -> list[ClassReport]:
    """All classes, in the dataset's order; tokens need a model, spaces need vectors (C, m, a)."""
    classes = range(len(source.class_names))
    prompts = [prompts_of(found, source, number) for number in classes]
    long = too_long(model, [text for said in prompts for text in said]) if model is not None else set()
    spaces: Sequence[Space | None] = [None for _ in classes]
    if names is not None:
        spaces = spaces_of(names, found.synonyms.counts(), how or Compactness(), source.seen)
    clashes: dict[str, list[Clash]] = {}
    for clash in found.clashes:
        clashes.setdefault(clash.left_out_of, []).append(clash)
    return [
        ClassReport(
            name=name,
            source=found.synonyms.sources[number],
            names=found.synonyms.names[number],
            repeated=repeated(name, found.entries[number]) if found.synonyms.sources[number] in WRITTEN else (),
            clashes=tuple(clashes.get(name, [])),
            too_long=tuple(dict.fromkeys(text for text in prompts[number] if text in long)),
            space=spaces[number],
        )
        for number, name in enumerate(source.class_names)
    ]


def repeated(name: str, entry: Entry) -> tuple[str, ...]:
    """The synonyms that say the name, or one before them, over again."""
    seen, again = {bare(name)}, []
    for text in entry.synonyms:
        if bare(text) in seen:
            again.append(text)
        seen.add(bare(text))
    return tuple(again)


def prompts_of(found: Found, source: Source, number: int) -> list[str]:
    """All texts that are encoded for a class: whole prompts as they are, names in all templates."""
    templates = source.templates if source.contexts is None else source.contexts[number]
    own, *others = found.synonyms.names[number]
    return fill([own], templates) + (others if found.synonyms.as_prompt[number] else fill(others, templates))


def own_texts(source: Source, encoder: Encoder, model: LoadedEncoder) -> NDArray[np.float32]:
    """(C, a) the texts of the classes' own names."""
    encode = model.encode_texts
    if source.contexts is None:
        return encoder.class_texts(encode, source.class_names, source.templates)
    pairs = zip(source.class_names, source.contexts, strict=True)
    return np.concatenate([encoder.class_texts(encode, [name], own) for name, own in pairs])


def spaces_of(
    names: NDArray[np.float32], counts: Sequence[int], how: Compactness, seen: Sequence[int] | None = None
) -> list[Space]:
    """The spaces of all classes, as methods build them: (C, m, a) vectors, of which each class has so many.

    The rule `quantile` finds its scale on the seen classes.
    """
    import torch

    pooled = pooled_scale(torch.from_numpy(names if seen is None else names[list(seen)]), how)
    return [_space(unit(rows[:count]), how, pooled) for rows, count in zip(names, counts, strict=True)]


def _space(points: Rows, how: Compactness, pooled: float) -> Space:
    own = distinct(points)
    made = compact(points[own], how, pooled)
    kept = np.zeros(len(points), dtype=bool)
    kept[own] = made.kept
    return Space(made.eps, kept, ~own, points)


def too_long(model: LoadedEncoder, texts: Sequence[str]) -> set[str]:
    """The texts of which the encoder does not read the end."""
    reads = int(model.tokenizer.context_length)
    found = set()
    for text in dict.fromkeys(texts):
        # With room to spare nothing is cut off; what stands after the text is one padding token over and over.
        row = np.asarray(model.tokenizer([text], context_length=reads + ROOM)[0])
        last = np.flatnonzero(row != row[-1])
        if len(last) and last[-1] + 1 > reads:
            found.add(text)
    return found


def as_table(classes: Sequence[ClassReport]) -> str:
    """Classes down; names, where they come from, the space, and what it leaves out across."""
    from tabulate import tabulate

    with_space = any(one.space is not None for one in classes)
    heads = ["class", "names", "from", *(["eps", "kept", "left out by the space"] if with_space else [])]
    lines = []
    for one in classes:
        line = [one.name, str(len(one.names)), one.source]
        if one.space is not None:
            line += [f"{one.space.eps:.3f}", f"{100 * one.space.share:.0f} %", ", ".join(one.removed)]
        lines.append(line)
    align = ["left", "right", "left", "right", "right", "left"][: len(heads)]
    return tabulate(lines, heads, tablefmt="simple", disable_numparse=True, colalign=align)


def notes(classes: Sequence[ClassReport]) -> list[str]:
    """What the user may want to know, a line each."""
    lines = list(dict.fromkeys(str(clash) for one in classes for clash in one.clashes))
    for one in classes:
        lines += [f"{one.name}: '{text}' says the same as an earlier name" for text in one.repeated]
        if one.space is not None:
            twins = [name for name, twin in zip(one.names, one.space.twins, strict=True) if twin]
            lines += [f"{one.name}: '{name}' has the very vector of an earlier name" for name in twins]
    if bare_names := [one.name for one in classes if one.source == "name"]:
        lines.append(f"{len(bare_names)} of {len(classes)} classes have no list and go by their name alone")
    return lines


def errors(classes: Sequence[ClassReport]) -> list[str]:
    """What has to be mended, a line each."""
    return [
        f"{one.name}: the end of '{text if len(text) <= SHOWN else text[:SHOWN] + '...'}' is not read; it is too long"
        for one in classes
        for text in one.too_long
    ]
