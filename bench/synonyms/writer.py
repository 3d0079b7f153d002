"""Synonyms from a language model: one question for each class, a strict check of the answer, nothing asked twice.

Yin, Wang, Cao and Hu, "S^3: Synonymous Semantic Space for Improving Zero-Shot Generalization of Vision-Language
Models", arXiv 2412.04925, take synonyms from large language models; the wording of the question here is our own. A
question names some other classes of the dataset, so that a crane among birds is not taken for a machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.data.word_lists import VERSION, Entry, Listing, plain, read_listing
from pzsl_bench.encoding.cache import unwritable, write_cached
from pzsl_bench.synonyms.chat_client import Chat, NoAnswerError
from pzsl_bench.synonyms.words import bare, distinct

QUESTION_VERSION = 1
"""Raised when the wording of the question changes."""
MAX_NAME_WORDS = 5
"""Words in a name, at most."""
MAX_DESCRIPTOR_WORDS = 12
"""Words in a descriptor, at most."""
NEIGHBOURS_NAMED = 12
"""Other classes that a question names."""
MAX_FAILURES_IN_A_ROW = 3
"""Classes in a row without an answer after which the server counts as out of order."""

SYSTEM = (
    "You know what things are called in everyday and in expert English. You answer with one JSON object and nothing"
    " else: no remarks, no Markdown."
)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    """What a model answers about a class, and what is wrong with the answer."""

    synonyms: tuple[str, ...]
    descriptors: tuple[str, ...]
    faults: tuple[str, ...]


class FormError(ValueError):
    """The answer does not have the form that was asked for."""


@dataclass(frozen=True)
class Writer:
    """Asks for the synonyms of a dataset's classes and keeps them in a file, class by class."""

    chat: Chat
    dataset: str
    class_names: tuple[str, ...]
    path: Path
    most: int = 10

    @property
    def raw(self) -> Path:
        """The file of the answers as the model gave them."""
        return self.path.with_suffix(".raw.jsonl")

    def write(self, names: Sequence[str], fresh: bool, tell: Tell) -> dict[str, str]:
        """Ask for the classes that the file lacks; returns the reason for each class that is still without synonyms."""
        listing = read_listing(self.path) if self.path.is_file() else Listing(str(self.path), {})
        entries = dict(listing.entries)
        todo = [name for name in names if fresh or plain(name) not in entries]
        if done := len(names) - len(todo):
            tell(f"{done} of {len(names)} classes are in {self.path} already")
        failed: dict[str, str] = {}
        in_a_row = 0
        for number, name in enumerate(todo, 1):
            try:
                answer = self.ask(name)
            except (NoAnswerError, FormError) as error:
                failed[name] = str(error)
                tell(f"{number} of {len(todo)}: {name}: failed: {error}")
                in_a_row += 1
                if in_a_row == MAX_FAILURES_IN_A_ROW and number < len(todo):
                    tell(f"given up after {MAX_FAILURES_IN_A_ROW} failures in a row")
                    failed |= dict.fromkeys(todo[number:], "not asked")
                    break
                continue
            in_a_row = 0
            entries[plain(name)] = Entry(name, answer.synonyms, answer.descriptors, source=self.chat.model)
            self._save(replace(listing, entries=entries))
            left_out = f" (left out: {'; '.join(answer.faults)})" if answer.faults else ""
            tell(f"{number} of {len(todo)}: {name}: {', '.join(answer.synonyms) or 'no other name'}{left_out}")
        return failed

    def ask(self, name: str) -> Answer:
        """The answer for a class. After a faulty answer the model is asked once more and told the faults."""
        turns = [("system", SYSTEM), ("user", self.question(name))]
        first_text = self._ask_and_log(name, turns)
        try:
            answer = parse(first_text, name, self.most)
            fault = "; ".join(answer.faults)
        except FormError as error:
            fault = str(error)
        if not fault:
            return answer
        complaint = f"That is not what was asked for: {fault}. Answer again, with the whole JSON object only."
        return parse(self._ask_and_log(name, [*turns, ("assistant", first_text), ("user", complaint)]), name, self.most)

    def question(self, name: str) -> str:
        """The text of the question about a class."""
        position = self.class_names.index(name)
        # Neighbours in the list of classes, because classes of a kind often stand together.
        neighbours = sorted(
            (n for n in range(len(self.class_names)) if n != position), key=lambda n: (abs(n - position), n)
        )
        others = ", ".join(_spoken(self.class_names[n]) for n in sorted(neighbours[:NEIGHBOURS_NAMED]))
        among = f" Some other classes of the same collection: {others}." if others else ""
        return (
            f'One class of a collection of images is called "{_spoken(name)}".{among}\n'
            f"1. synonyms: at most {self.most} other names by which people call the very same thing, the most usual"
            f" first, each of at most {MAX_NAME_WORDS} words. No wider and no narrower term, and no name that fits"
            " another class. An empty list if there is none.\n"
            f"2. descriptors: at most {self.most} short visual features by which it is recognised in an image, each of"
            f" at most {MAX_DESCRIPTOR_WORDS} words, without its name.\n"
            'Form of the answer: {"synonyms": ["...", "..."], "descriptors": ["...", "..."]}'
        )

    def _ask_and_log(self, name: str, turns: Sequence[tuple[str, str]]) -> str:
        text = self.chat.ask(turns)
        line = {
            "class": name,
            "model": self.chat.model,
            "question": QUESTION_VERSION,
            "asked": turns[-1][1],
            "answer": text,
        }
        try:
            self.raw.parent.mkdir(parents=True, exist_ok=True)
            with self.raw.open("a", encoding="utf-8", errors="replace") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise unwritable(self.raw.parent, error) from error
        return text

    def _save(self, listing: Listing) -> None:
        source = (
            f"{self.chat.model} at {self.chat.host}, temperature 0, question {QUESTION_VERSION}, at most {self.most}"
        )
        earlier = listing.provenance
        classes = {entry.name: _written(entry) for entry in listing.entries.values()}
        content = {
            "version": VERSION,
            "dataset": self.dataset,
            "provenance": earlier if source in earlier else "; ".join(filter(None, (earlier, source))),
            "classes": classes,
        }
        write_cached(self.path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def parse(text: str, name: str, most: int) -> Answer:
    """The checked answer; raises FormError where nothing of it can be used."""
    # Some models write down their thoughts first, and many put JSON into a code fence whatever they are told.
    text = re.sub(r"^\s*<think>.*?</think>", "", text, flags=re.DOTALL).strip()
    if fenced := re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text, re.DOTALL):
        text = fenced[1]
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise FormError("the answer is not JSON") from None
    if not isinstance(content, dict) or "synonyms" not in content:
        raise FormError("the answer is not an object with 'synonyms'")
    faults: list[str] = []
    synonyms = list(_checked("synonyms", content["synonyms"], MAX_NAME_WORDS, faults))
    descriptors = list(_checked("descriptors", content.get("descriptors", []), MAX_DESCRIPTOR_WORDS, faults))
    # That the name itself is among the answers is no reason to ask again.
    synonyms = [text for text in distinct(synonyms) if bare(text) != bare(name)]
    for what, texts in (("synonyms", synonyms), ("descriptors", descriptors)):
        if len(texts) > most:
            faults.append(f"more than {most} {what}")
    return Answer(tuple(synonyms[:most]), tuple(distinct(descriptors)[:most]), tuple(faults))


def _checked(what: str, texts: Any, words: int, faults: list[str]) -> Iterator[str]:
    if not isinstance(texts, list):
        raise FormError(f"'{what}' is not a list")
    for text in texts:
        if not isinstance(text, str) or not plain(text) or not text.strip().isprintable():
            faults.append(f"{text!r} among the {what} is not a text"[:80])
        elif len(text.split()) > words:
            faults.append(f"'{text[:40]}' has more than {words} words")
        else:
            yield " ".join(text.split())


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _written(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {"synonyms": list(entry.synonyms)}
    if entry.descriptors:
        fields["descriptors"] = list(entry.descriptors)
    if entry.source:
        fields["source"] = entry.source
    if entry.as_prompt:
        fields["as_prompt"] = True
    return fields


def chosen(class_names: Sequence[str], names: Sequence[str]) -> list[str]:
    """The named classes, as the dataset spells them; all classes where none is named."""
    known = {plain(name): name for name in class_names}
    for name in names:
        if plain(name) not in known:
            raise unknown("class", name, class_names)
    return [known[plain(name)] for name in names] or list(class_names)


def refuse_folder(path: Path) -> Path:
    """The path, unless it is a folder."""
    if path.is_dir():
        raise UserError(f"--out {path} is a folder, not a file")
    return path
