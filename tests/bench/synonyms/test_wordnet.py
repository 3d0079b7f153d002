"""WordNet where it is installed: kinds of things only, and silence or one command where it is not."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import pytest

from pzsl_bench.synonyms.wordnet import OBTAIN, wordnet_entries


@dataclass
class Sense:
    lemmas: list[str]
    instance_of: tuple[str, ...] = ()

    def lemma_names(self) -> list[str]:
        return self.lemmas

    def instance_hypernyms(self) -> tuple[str, ...]:
        return self.instance_of


class Corpus:
    """As nltk's reader behaves, with three words in it."""

    senses: ClassVar = {
        "crane": [Sense(["Crane", "Stephen_Crane"], ("writer",)), Sense(["crane"]), Sense(["crane", "lifter"])],
        "grizzly_bear": [Sense(["grizzly", "grizzly_bear", "silvertip"])],
        "paris": [Sense(["Paris"], ("capital",))],
    }

    def __init__(self, problem: Exception | None = None):
        self.problem = problem

    def ensure_loaded(self) -> None:
        if self.problem is not None:
            raise self.problem

    def synsets(self, word: str, pos: str) -> list[Sense]:
        assert pos == "n"
        return self.senses.get(word, [])


def install(monkeypatch: pytest.MonkeyPatch, corpus: Corpus | None) -> None:
    package, module = ModuleType("nltk"), ModuleType("nltk.corpus")
    if corpus is not None:
        module.wordnet = corpus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nltk", package if corpus is not None else None)
    monkeypatch.setitem(sys.modules, "nltk.corpus", module if corpus is not None else None)


def test_the_first_kind_of_thing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Corpus())
    entries = wordnet_entries(["Grizzly+Bear", "crane", "Paris", "xyzzy"])
    assert {key: entry.synonyms for key, entry in entries.items()} == {
        "grizzly bear": ("grizzly", "grizzly bear", "silvertip"),
        "crane": ("crane",),
    }


def test_without_nltk_nothing_is_known_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert wordnet_entries(["crane"]) == {}


@pytest.mark.parametrize("problem", [LookupError("not found"), OSError("half of it")])
def test_without_its_data_the_command_is_told(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    install(monkeypatch, Corpus(problem))
    with pytest.warns(UserWarning, match=OBTAIN) as caught:
        assert wordnet_entries(["crane"]) == {}
    assert len(caught) == 1


def test_the_real_wordnet_is_read() -> None:
    corpus = pytest.importorskip("nltk.corpus", reason="nltk is not installed")
    try:
        corpus.wordnet.ensure_loaded()
    except (LookupError, OSError):
        pytest.skip("the data of WordNet are not here")
    assert "couch" in wordnet_entries(["sofa"])["sofa"].synonyms
