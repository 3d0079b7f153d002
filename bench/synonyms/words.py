"""Synonyms of class names: who gives them for a class, and what is left once no two classes share a word.

The first of these that knows a class has the say, also when it says that there is no other word:

    user      DIR/synonyms/DATASET-VARIANT.json, then DIR/synonyms/DATASET.json, where --data says DIR
    cache     the same names under the cache folder, where `pzsl-bench synonyms generate` writes
    bundled   the list that comes with the package
    wordnet   nouns of the first sense, if nltk and its data are installed
    name      nothing but the name
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.data.source import find_dataset
from pzsl_bench.data.word_lists import Entry, bundled, file_names, find_files, plain, read_listing
from pzsl_bench.synonyms.wordnet import wordnet_entries

SOURCES = ("user", "cache", "bundled", "wordnet", "name")
WRITTEN = ("user", "cache")
"""Sources that the user can mend, so that what is wrong with them is told."""
SHOWN = 3
"""Examples in a warning."""


@dataclass(frozen=True)
class Synonyms:
    """What each class may be called. C classes, in the order of the names that were asked for."""

    names: tuple[tuple[str, ...], ...]
    """(C, 1 or more) the class's own name, then its synonyms, those of more use first."""
    as_prompt: tuple[bool, ...]
    """(C,) whether the synonyms, not the name, are whole prompts that go into no template."""
    sources: tuple[str, ...]
    """(C,) one of SOURCES."""

    def fingerprint(self) -> str:
        """A hash of the words, whoever gave them."""
        return identity_hash({"names": self.names, "as_prompt": self.as_prompt})[:16]

    def counts(self) -> tuple[int, ...]:
        """(C,) how many names each class has, its own included."""
        return tuple(len(names) for names in self.names)


@dataclass(frozen=True)
class Clash:
    """A text that was left out, because it stands for several classes."""

    text: str
    left_out_of: str
    also: str
    """The other class, or the first of several."""
    source: str

    def __str__(self) -> str:
        first, second = sorted((self.left_out_of, self.also))
        return f"'{bare(self.text)}' stands for {first} and for {second}, so it is a synonym of neither"


@dataclass(frozen=True)
class Found:
    """All that is known of the synonyms of a dataset."""

    synonyms: Synonyms
    entries: tuple[Entry, ...]
    """(C,) as they were written."""
    clashes: tuple[Clash, ...]
    files: tuple[str, ...]
    """The files and lists that were read."""


def find_synonyms(dataset: str, class_names: Sequence[str], data: Path | None, cache: Path) -> Synonyms:
    """The synonyms of a dataset's classes; what is worth mending is warned of, once."""
    found = look_up(dataset, class_names, data, cache)
    synonyms = found.synonyms
    bare = [names[0] for names, source in zip(synonyms.names, synonyms.sources, strict=True) if source == "name"]
    if bare:
        warnings.warn(
            f"synonyms of {dataset}: {len(bare)} of {len(class_names)} classes have none and go by their name alone"
            f" ({_some(bare)}); pzsl-bench synonyms show {dataset} tells where they are looked for",
            stacklevel=2,
        )
    if clashes := [clash for clash in found.clashes if clash.source in WRITTEN]:
        texts = list(dict.fromkeys(map(str, clashes)))
        warnings.warn(f"synonyms of {dataset}: {len(texts)} left out: {_some(texts)}", stacklevel=2)
    return synonyms


def look_up(dataset: str, class_names: Sequence[str], data: Path | None, cache: Path) -> Found:
    """The synonyms of a dataset's classes, and how they came about; warns only of strangers in the user's files."""
    known = {plain(name): name for name in class_names}
    given: dict[str, tuple[str, Entry]] = {}
    files: list[str] = []
    for source, where, known_here in _lists(dataset, known, data, cache):
        files.append(where)
        given = {**{key: (source, entry) for key, entry in known_here.items() if key in known}, **given}
    missing = [name for key, name in known.items() if key not in given]
    given |= {key: ("wordnet", entry) for key, entry in (wordnet_entries(missing) if missing else {}).items()}
    pairs = [given.get(plain(name), ("name", Entry(name))) for name in class_names]
    sources, entries = tuple(source for source, _ in pairs), tuple(entry for _, entry in pairs)
    kept, clashes = without_clashes(class_names, entries, sources)
    synonyms = Synonyms(tuple(kept), tuple(entry.as_prompt for entry in entries), sources)
    return Found(synonyms, entries, tuple(clashes), tuple(files))


def _lists(
    dataset: str, known: Mapping[str, str], data: Path | None, cache: Path
) -> Iterator[tuple[str, str, Mapping[str, Entry]]]:
    """Source, file and entries of every list, in the order in which they have the say."""
    for source, root in (("user", data), ("cache", cache)):
        for path in find_files(dataset, root):
            listing = read_listing(path)
            strangers = [entry.name for key, entry in listing.entries.items() if key not in known]
            if strangers and source == "user":
                _refuse(path, strangers, known, exact=path.name == file_names(dataset)[0])
            yield source, str(path), listing.entries
    if own := find_dataset(dataset, data).synonyms():
        yield "bundled", "the dataset's own words", {plain(name): Entry(name, tuple(w)) for name, w in own.items()}
    if own_list := bundled(dataset):
        yield "bundled", own_list.where, own_list.entries


def _refuse(path: Path, strangers: Sequence[str], known: Mapping[str, str], exact: bool) -> None:
    """A file for exactly this dataset must know its classes; one for all variants may hold those of others."""
    if not exact:
        warnings.warn(f"{path}: {len(strangers)} classes are not of this variant ({_some(strangers)})", stacklevel=5)
        return
    near = get_close_matches(plain(strangers[0]), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(known[key]) for key in near)}?" if near else ""
    more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
    raise UserError(f"{path}: the dataset has no class '{strangers[0]}'{more}{hint}")


def without_clashes(
    class_names: Sequence[str], given: Sequence[Entry], sources: Sequence[str]
) -> tuple[list[tuple[str, ...]], list[Clash]]:
    """Name and synonyms of each class, without repetitions and without what other classes are called, too."""
    lists = [distinct([name, *entry.synonyms]) for name, entry in zip(class_names, given, strict=True)]
    owners: dict[str, list[int]] = defaultdict(list)
    for number, names in enumerate(lists):
        for name in names:
            owners[bare(name)].append(number)
    kept: list[tuple[str, ...]] = []
    clashes: list[Clash] = []
    for number, (first, *others) in enumerate(lists):
        stays = [first]
        for text in others:
            rivals = [other for other in owners[bare(text)] if other != number]
            if rivals:
                clashes.append(Clash(text, class_names[number], class_names[rivals[0]], sources[number]))
            else:
                stays.append(text)
        kept.append(tuple(stays))
    return kept, clashes


def distinct(texts: Sequence[str]) -> list[str]:
    """The texts without those that differ from an earlier one only in capitals, punctuation or an article."""
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(bare(text), text)
    return list(found.values())


def bare(text: str) -> str:
    """A text as it is compared: plain, and without an article before it."""
    return re.sub(r"^(?:an?|the) (?=.)", "", plain(text))


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:SHOWN]) + (", ..." if len(texts) > SHOWN else "")
