"""Synonyms of class names: from which list they come, and what is left when no two classes may share a word.

For each class the first of these lists that has it is used, even if it has no other word for the class:

    user      DIR/synonyms/DATASET-VARIANT.json, then DIR/synonyms/DATASET.json, where DIR is that of --data
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
EDITABLE = ("user", "cache")
"""Sources that the user can edit, so that the user is warned of what is wrong with them."""
EXAMPLES_SHOWN = 3
"""Examples in a warning."""


@dataclass(frozen=True)
class Synonyms:
    """All names of each class. C classes, in the order of the class names that were looked up."""

    names: tuple[tuple[str, ...], ...]
    """(C, 1 or more) the class's own name, then its synonyms, the more common ones first."""
    as_prompt: tuple[bool, ...]
    """(C,) whether the synonyms, not the name, are whole prompts that go into no template."""
    sources: tuple[str, ...]
    """(C,) one of SOURCES."""

    def fingerprint(self) -> str:
        """A hash of the words, whatever their source."""
        return identity_hash({"names": self.names, "as_prompt": self.as_prompt})[:16]

    def counts(self) -> tuple[int, ...]:
        """(C,) how many names each class has, its own name included."""
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
    """The synonyms of a dataset, and how they were found."""

    synonyms: Synonyms
    entries: tuple[Entry, ...]
    """(C,) the entries as they are in the lists."""
    clashes: tuple[Clash, ...]
    files: tuple[str, ...]
    """The files and lists that were read."""


def find_synonyms(dataset: str, class_names: Sequence[str], data: Path | None, cache: Path) -> Synonyms:
    """The synonyms of a dataset's classes. What the user could correct is one warning of each kind."""
    found = look_up(dataset, class_names, data, cache)
    synonyms = found.synonyms
    unlisted = [names[0] for names, source in zip(synonyms.names, synonyms.sources, strict=True) if source == "name"]
    if unlisted:
        warnings.warn(
            f"synonyms of {dataset}: {len(unlisted)} of {len(class_names)} classes have none and go by their name alone"
            f" ({_examples(unlisted)}); pzsl-bench synonyms show {dataset} tells where they are looked for",
            stacklevel=2,
        )
    if clashes := [clash for clash in found.clashes if clash.source in EDITABLE]:
        texts = list(dict.fromkeys(map(str, clashes)))
        warnings.warn(f"synonyms of {dataset}: {len(texts)} left out: {_examples(texts)}", stacklevel=2)
    return synonyms


def look_up(dataset: str, class_names: Sequence[str], data: Path | None, cache: Path) -> Found:
    """The synonyms of a dataset's classes, with their sources; warns only of unknown classes in the user's files."""
    known = {plain(name): name for name in class_names}
    entries_found: dict[str, tuple[str, Entry]] = {}
    files: list[str] = []
    for source, where, listed in _lists(dataset, known, data, cache):
        files.append(where)
        entries_found = {**{key: (source, entry) for key, entry in listed.items() if key in known}, **entries_found}
    missing = [name for key, name in known.items() if key not in entries_found]
    entries_found |= {key: ("wordnet", entry) for key, entry in (wordnet_entries(missing) if missing else {}).items()}
    pairs = [entries_found.get(plain(name), ("name", Entry(name))) for name in class_names]
    sources, entries = tuple(source for source, _ in pairs), tuple(entry for _, entry in pairs)
    names_kept, clashes = without_clashes(class_names, entries, sources)
    synonyms = Synonyms(tuple(names_kept), tuple(entry.as_prompt for entry in entries), sources)
    return Found(synonyms, entries, tuple(clashes), tuple(files))


def _lists(
    dataset: str, known: Mapping[str, str], data: Path | None, cache: Path
) -> Iterator[tuple[str, str, Mapping[str, Entry]]]:
    """Source, file and entries of every list, in the order in which they are used."""
    for source, root in (("user", data), ("cache", cache)):
        for path in find_files(dataset, root):
            listing = read_listing(path)
            strangers = [entry.name for key, entry in listing.entries.items() if key not in known]
            if strangers and source == "user":
                _report_strangers(path, strangers, known, exact=path.name == file_names(dataset)[0])
            yield source, str(path), listing.entries
    if words := find_dataset(dataset, data).synonyms():
        yield "bundled", "the dataset's own words", {plain(name): Entry(name, tuple(w)) for name, w in words.items()}
    if bundled_list := bundled(dataset):
        yield "bundled", bundled_list.where, bundled_list.entries


def _report_strangers(path: Path, strangers: Sequence[str], known: Mapping[str, str], exact: bool) -> None:
    """A file for exactly this dataset may have no other classes; a file for all variants may have those of others."""
    if not exact:
        warnings.warn(
            f"{path}: {len(strangers)} classes are not of this variant ({_examples(strangers)})", stacklevel=5
        )
        return
    near = get_close_matches(plain(strangers[0]), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(known[key]) for key in near)}?" if near else ""
    more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
    raise UserError(f"{path}: the dataset has no class '{strangers[0]}'{more}{hint}")


def without_clashes(
    class_names: Sequence[str], entries: Sequence[Entry], sources: Sequence[str]
) -> tuple[list[tuple[str, ...]], list[Clash]]:
    """Name and synonyms of each class, without repetitions and without what other classes are called as well."""
    lists = [distinct([name, *entry.synonyms]) for name, entry in zip(class_names, entries, strict=True)]
    owners: dict[str, list[int]] = defaultdict(list)
    for number, names in enumerate(lists):
        for name in names:
            owners[bare(name)].append(number)
    names_kept: list[tuple[str, ...]] = []
    clashes: list[Clash] = []
    for number, (first, *others) in enumerate(lists):
        left = [first]
        for text in others:
            rivals = [other for other in owners[bare(text)] if other != number]
            if rivals:
                clashes.append(Clash(text, class_names[number], class_names[rivals[0]], sources[number]))
            else:
                left.append(text)
        names_kept.append(tuple(left))
    return names_kept, clashes


def distinct(texts: Sequence[str]) -> list[str]:
    """The texts without those that differ from an earlier one only in capitals, punctuation or an article."""
    first_texts: dict[str, str] = {}
    for text in texts:
        first_texts.setdefault(bare(text), text)
    return list(first_texts.values())


def bare(text: str) -> str:
    """A text in the form in which texts are compared: plain, and without an article before it."""
    return re.sub(r"^(?:an?|the) (?=.)", "", plain(text))


def _examples(texts: Sequence[str]) -> str:
    return ", ".join(texts[:EXAMPLES_SHOWN]) + (", ..." if len(texts) > EXAMPLES_SHOWN else "")
