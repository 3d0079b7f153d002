"""A report on the synonyms of a dataset before they are used: words, tokens and space of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.data.word_lists import Entry
from pzsl_bench.encoding.prompts import fill, unit
from pzsl_bench.synonyms.space import Compactness, compact, distinct, pooled_scale
from pzsl_bench.synonyms.words import EDITABLE, Clash, Found, bare

if TYPE_CHECKING:
    from pzsl_bench.data.source import Source
    from pzsl_bench.encoding.open_clip_model import LoadedEncoder

Rows = NDArray[np.float64]

EXTRA_TOKENS = 512
"""Tokens beyond the context of an encoder up to which the length of a text is measured."""
CHARACTERS_SHOWN = 80
"""Characters of a text that a message shows, at most."""


@dataclass(frozen=True)
class Space:
    """The space of a class's names, as a report shows it."""

    eps: float
    kept: NDArray[np.bool_]
    """(n,) which of the names the space keeps."""
    twins: NDArray[np.bool_]
    """(n,) names with the vector of an earlier one, which are not counted again."""
    points: Rows
    """(n, a) unit rows."""

    @property
    def share(self) -> float:
        """The share of the different names that is kept."""
        return float(self.kept.sum() / max((~self.twins).sum(), 1))


@dataclass(frozen=True)
class ClassReport:
    """The report on one class."""

    name: str
    source: str
    names: tuple[str, ...]
    """Its own name, then the synonyms that are left."""
    repeated: tuple[str, ...]
    """Synonyms that repeat the name or an earlier synonym."""
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
    """The reports on all classes, in the dataset's order; tokens need a model, spaces need vectors (C, m, a)."""
    classes = range(len(source.class_names))
    prompts = [prompts_of(found, source, number) for number in classes]
    long = too_long(model, [text for texts in prompts for text in texts]) if model is not None else set()
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
            repeated=repeated(name, found.entries[number]) if found.synonyms.sources[number] in EDITABLE else (),
            clashes=tuple(clashes.get(name, [])),
            too_long=tuple(dict.fromkeys(text for text in prompts[number] if text in long)),
            space=spaces[number],
        )
        for number, name in enumerate(source.class_names)
    ]


def repeated(name: str, entry: Entry) -> tuple[str, ...]:
    """The synonyms that repeat the name or an earlier synonym."""
    seen, again = {bare(name)}, []
    for text in entry.synonyms:
        if bare(text) in seen:
            again.append(text)
        seen.add(bare(text))
    return tuple(again)


def prompts_of(found: Found, source: Source, number: int) -> list[str]:
    """All texts that are encoded for a class: whole prompts as they are, names in all templates."""
    templates = source.templates if source.contexts is None else source.contexts[number]
    class_name, *others = found.synonyms.names[number]
    return fill([class_name], templates) + (others if found.synonyms.as_prompt[number] else fill(others, templates))


def spaces_of(
    names: NDArray[np.float32], counts: Sequence[int], how: Compactness, seen: Sequence[int] | None = None
) -> list[Space]:
    """The spaces of all classes, as methods build them, from (C, m, a) vectors; `counts` says how many each class has.

    The rule `quantile` finds its scale on the seen classes.
    """
    import torch

    pooled = pooled_scale(torch.from_numpy(names if seen is None else names[list(seen)]), how)
    return [_space(unit(rows[:count]), how, pooled) for rows, count in zip(names, counts, strict=True)]


def _space(points: Rows, how: Compactness, pooled: float) -> Space:
    different = distinct(points)
    compact_part = compact(points[different], how, pooled)
    kept = np.zeros(len(points), dtype=bool)
    kept[different] = compact_part.kept
    return Space(compact_part.eps, kept, ~different, points)


def too_long(model: LoadedEncoder, texts: Sequence[str]) -> set[str]:
    """The texts that are longer than the encoder reads."""
    limit = int(model.tokenizer.context_length)
    long_texts = set()
    for text in dict.fromkeys(texts):
        # With the extra tokens nothing is cut off; after the text the same padding token is repeated.
        row = np.asarray(model.tokenizer([text], context_length=limit + EXTRA_TOKENS)[0])
        last = np.flatnonzero(row != row[-1])
        if len(last) and last[-1] + 1 > limit:
            long_texts.add(text)
    return long_texts


def as_table(classes: Sequence[ClassReport]) -> str:
    """A row for each class: number of names, their source, the space, and the names that it leaves out."""
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
    """What the user may want to know, one line each."""
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
    """What has to be corrected, one line each."""
    return [
        f"{one.name}: the end of '{text if len(text) <= CHARACTERS_SHOWN else text[:CHARACTERS_SHOWN] + '...'}'"
        " is not read; it is too long"
        for one in classes
        for text in one.too_long
    ]
