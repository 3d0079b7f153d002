"""Files of synonyms: finding them, and reading the two forms that they can have.

A plain file is a JSON object, class name -> list of strings. A file in the full form has more fields:

    {"version": 1, "dataset": "pets", "provenance": "who wrote it, and from what", "as_prompt": false,
     "classes": {"Sphynx": {"synonyms": ["hairless cat"], "descriptors": ["wrinkled skin"], "source": "a vet"}}}

With `as_prompt`, for the file or for one class, strings are whole prompts and go into no template. Descriptors say what
a class looks like. They are not names of it: only `+dclip=FILE` reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pzsl_bench.base.errors import UserError, unknown

VERSION = 1
FOLDER = "synonyms"
FILE_KEYS = ("version", "dataset", "names", "provenance", "as_prompt", "classes")
CLASS_KEYS = ("synonyms", "descriptors", "source", "as_prompt")
BUNDLED = "pzsl_bench.datasets"


@dataclass(frozen=True)
class Entry:
    """What a file says about one class."""

    name: str
    """The class as the file spells it."""
    synonyms: tuple[str, ...] = ()
    descriptors: tuple[str, ...] = ()
    as_prompt: bool = False
    source: str = ""
    full: bool = True
    """Whether the file is in the full form, where synonyms and descriptors are separate."""


@dataclass(frozen=True)
class Listing:
    """The content of a file of synonyms."""

    where: str
    """The file, as messages name it."""
    entries: Mapping[str, Entry]
    """By class name, in the form of `plain`."""
    provenance: str = ""
    names: tuple[str, ...] = ()
    """Names of the datasets that a bundled list is for."""


def file_names(spec: str) -> list[str]:
    """Names that a dataset's file may have, the most specific first: pets-raw.json, pets.json."""
    words = [re.sub(r"[^A-Za-z0-9_.=]+", "-", word) for word in spec.split(":")]
    return [f"{'-'.join(words[:n])}.json" for n in range(len(words), 0, -1)]


def find_files(spec: str, root: Path | None) -> list[Path]:
    """The dataset's files that exist under a data or cache folder, the most specific first."""
    places = [root / FOLDER / name for name in file_names(spec)] if root is not None else []
    return [path for path in places if path.is_file()]


def read_listing(path: Path) -> Listing:
    """Read a file in either form; an error names the class that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"cannot read {path}: {reason}") from None
    return parse_listing(text, str(path))


def parse_listing(text: str, where: str) -> Listing:
    """Read the text of a file; `where` is the file's name in messages."""
    try:
        content = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, where))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: a JSON object is wanted, class name -> list of texts")
    if not isinstance(content.get("classes"), dict):
        return Listing(where, _entries(where, content, as_prompt=False, full=False))
    for key in content:
        if key not in FILE_KEYS:
            raise unknown(f"key of {where}", key, FILE_KEYS)
    if content.get("version", VERSION) != VERSION:
        raise UserError(f"{where}: version {content['version']!r} is not known here, only {VERSION}")
    as_prompt = _flag(where, content.get("as_prompt", False))
    names = tuple(_strings(f"{where}: names", content.get("names", [])))
    entries = _entries(where, content["classes"], as_prompt, full=True)
    return Listing(where, entries, str(content.get("provenance", "")), names)


def _object(pairs: Sequence[tuple[str, Any]], where: str) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{where}: '{twice}' is there twice")
    return content


def _entries(where: str, classes: Mapping[str, Any], as_prompt: bool, full: bool) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for name, value in classes.items():
        entry = _entry(f"{where}: class '{name}'", name, value, as_prompt, full)
        if plain(name) in entries:
            raise UserError(f"{where}: '{name}' and '{entries[plain(name)].name}' are the same class")
        entries[plain(name)] = entry
    return entries


def _entry(where: str, name: str, value: Any, as_prompt: bool, full: bool) -> Entry:
    if not plain(name):
        raise UserError(f"{where} has no name")
    if isinstance(value, list):
        return Entry(name, tuple(_strings(where, value)), as_prompt=as_prompt, full=full)
    if not full or not isinstance(value, dict):
        raise UserError(f"{where} needs a list of texts" + (f", or an object with '{CLASS_KEYS[0]}'" if full else ""))
    for key in value:
        if key not in CLASS_KEYS:
            raise unknown(f"key of {where}", key, CLASS_KEYS)
    return Entry(
        name,
        tuple(_strings(where, value.get("synonyms", []))),
        tuple(_strings(where, value.get("descriptors", []))),
        _flag(where, value.get("as_prompt", as_prompt)),
        str(value.get("source", "")),
    )


def _strings(where: str, texts: Any) -> Iterator[str]:
    if not isinstance(texts, list):
        raise UserError(f"{where} needs a list of texts")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise UserError(f"{where}: number {number} of its list of texts is {text!r}, not a text")
        if not plain(text):
            raise UserError(f"{where}: number {number} of its list of texts is empty")
        yield " ".join(text.split())


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{where}: as_prompt is {value!r}, not true or false")
    return value


def plain(name: str) -> str:
    """A class name in the form in which names are compared: without capitals, underscores and hyphens."""
    return re.sub(r"[\W_]+", " ", name).strip().lower()


@cache
def bundled_listings() -> dict[str, Listing]:
    """The lists that ship with the package, by the names of their datasets in the form of `_bare`."""
    listings: dict[str, Listing] = {}
    for file in sorted(resources.files(BUNDLED).joinpath(FOLDER).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            listing = parse_listing(file.read_text(encoding="utf-8"), f"the bundled list {file.name}")
            listings.update(dict.fromkeys((_bare(name) for name in listing.names), listing))
    return listings


def bundled(spec: str) -> Listing | None:
    """The bundled list for a dataset, by its name or by that of a variant: xlsa17:AWA2, features:cifar10."""
    lists = bundled_listings()
    return next((lists[_bare(word)] for word in spec.split(":") if _bare(word) in lists), None)


def _bare(name: str) -> str:
    """A dataset's name in the form in which names are compared: letters and digits only, without capitals."""
    return re.sub(r"[\W_]+", "", name).lower()
