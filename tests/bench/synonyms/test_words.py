"""Synonyms of a dataset's classes: which list is used, what is left out and warned of, and what identifies them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.source import DATASETS, Dataset, Source, dataset
from pzsl_bench.data.word_lists import Entry
from pzsl_bench.synonyms import words as module
from pzsl_bench.synonyms.words import Synonyms, bare, distinct, find_synonyms, look_up, without_clashes

NAMES = ["red_panda", "Grey Wolf", "crane"]


class Animals(Dataset):
    """A dataset that only has a name."""

    def open(self) -> Source:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def animals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A dataset without a list of its own, on a machine without WordNet."""
    monkeypatch.setattr(module, "wordnet_entries", lambda names: {})
    dataset("animals", title="Animals", variants=["small"])(Animals)
    yield
    DATASETS.found.pop("animals")


def put(folder: Path, name: str, content: object) -> Path:
    (folder / "synonyms").mkdir(parents=True, exist_ok=True)
    (folder / "synonyms" / name).write_text(json.dumps(content))
    return folder


def quietly(spec: str, names: Sequence[str], data: Path | None, cache: Path) -> Synonyms:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return find_synonyms(spec, names, data, cache)


def test_the_name_comes_first_and_nothing_is_said_twice(tmp_path: Path) -> None:
    words = ["Lesser Panda", "the lesser panda", "red panda", "A Red-Panda", "firefox"]
    data = put(tmp_path, "animals.json", {"red panda": words, "grey wolf": [], "crane": ["big bird"]})
    synonyms = find_synonyms("animals", NAMES, data, tmp_path / "cache")
    assert synonyms.names == (("red_panda", "Lesser Panda", "firefox"), ("Grey Wolf",), ("crane", "big bird"))
    assert synonyms.sources == ("user",) * 3
    assert synonyms.as_prompt == (False,) * 3
    assert synonyms.counts() == (3, 1, 2)


def test_the_first_list_that_has_a_class_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = put(tmp_path / "data", "animals-small.json", {"a": ["variant's"]})
    put(data, "animals.json", {"a": ["dataset's"], "b": ["user's"], "c": []})
    cache = put(tmp_path / "cache", "animals.json", {key: ["cached"] for key in "abcd"} | {"stranger": ["ignored"]})
    dataset_words = {key: ["the dataset's own"] for key in "abcde"}
    monkeypatch.setattr(Animals, "synonyms", lambda self: dataset_words)
    monkeypatch.setattr(module, "wordnet_entries", lambda names: {n: Entry(n, (f"net {n}",)) for n in names if n < "g"})
    synonyms = quietly("animals:small", list("abcdefg"), data, cache)
    words = [names[1:] for names in synonyms.names]
    assert words == [("variant's",), ("user's",), (), ("cached",), ("the dataset's own",), ("net f",), ()]
    assert synonyms.sources == ("user", "user", "user", "cache", "bundled", "wordnet", "name")


def test_wordnet_is_asked_only_for_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    monkeypatch.setattr(module, "wordnet_entries", lambda names: looked_up.extend(names) or {})
    quietly("animals", NAMES, put(tmp_path, "animals.json", {"crane": []}), tmp_path)
    assert looked_up == ["red_panda", "Grey Wolf"]


def test_bundled_lists_take_part(tmp_path: Path) -> None:
    synonyms = find_synonyms("features:cifar10", ["truck", "frog"], None, tmp_path)
    assert synonyms.sources == ("bundled", "bundled")
    assert "lorry" in synonyms.names[0]


def test_classes_without_a_list_are_counted_in_one_warning(tmp_path: Path) -> None:
    data = put(tmp_path, "animals.json", {"crane": ["big bird"]})
    with pytest.warns(UserWarning, match=r"2 of 3 classes have none .* \(red_panda, Grey Wolf\)") as caught:
        synonyms = find_synonyms("animals", NAMES, data, tmp_path)
    assert len(caught) == 1
    assert synonyms.names[0] == ("red_panda",) and synonyms.sources[0] == "name"


def test_a_class_that_the_dataset_lacks_is_the_users_mistake(tmp_path: Path) -> None:
    data = put(tmp_path, "animals.json", {"red pandas": ["x"], "unicorn": []})
    with pytest.raises(UserError, match=r"no class 'red pandas' and 1 more; did you mean 'red_panda'\?"):
        find_synonyms("animals", NAMES, data, tmp_path)


def test_a_file_for_all_variants_may_know_more_classes_than_one(tmp_path: Path) -> None:
    data = put(tmp_path, "animals.json", {name: [] for name in [*NAMES, "unicorn"]})
    with pytest.warns(UserWarning, match=r"1 classes are not of this variant \(unicorn\)"):
        find_synonyms("animals:small", NAMES, data, tmp_path)


def test_a_word_of_two_classes_is_left_out_of_both(tmp_path: Path) -> None:
    words = {"red_panda": ["panda", "grey wolf", "climber"], "grey wolf": ["the Panda", "timber wolf"], "crane": []}
    data = put(tmp_path, "animals.json", words)
    with pytest.warns(UserWarning, match="2 left out: 'panda' stands for Grey Wolf and for red_panda, ") as caught:
        synonyms = find_synonyms("animals", NAMES, data, tmp_path)
    assert len(caught) == 1
    assert synonyms.names == (("red_panda", "climber"), ("Grey Wolf", "timber wolf"), ("crane",))


def test_what_nobody_can_mend_is_not_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Animals, "synonyms", lambda self: {name: ["animal"] for name in NAMES})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_synonyms("animals", NAMES, None, tmp_path).counts() == (1, 1, 1)
    assert [clash.text for clash in look_up("animals", NAMES, None, tmp_path).clashes] == ["animal"] * 3


def test_whole_prompts_are_marked(tmp_path: Path) -> None:
    content = {"classes": {"crane": {"synonyms": ["A tall grey bird."], "as_prompt": True}}}
    synonyms = quietly("animals", NAMES, put(tmp_path, "animals.json", content), tmp_path)
    assert synonyms.as_prompt == (False, False, True)


def test_the_fingerprint_is_of_the_words_whoever_gave_them(tmp_path: Path) -> None:
    words = {name: [f"{name} too"] for name in NAMES}
    user = find_synonyms("animals", NAMES, put(tmp_path / "a", "animals.json", words), tmp_path)
    cached = find_synonyms("animals", NAMES, None, put(tmp_path / "b", "animals.json", words))
    assert user.sources != cached.sources
    assert user.fingerprint() == cached.fingerprint()
    other = Synonyms(((*user.names[0], "more"), *user.names[1:]), user.as_prompt, user.sources)
    prompts = Synonyms(user.names, (True, False, False), user.sources)
    assert len({s.fingerprint() for s in (user, other, prompts)}) == 3


texts = st.lists(st.sampled_from(["a cat", "Cat", "the dog", "dog", "ox", "o-x", "yak", "gnu"]), max_size=6)


@given(st.lists(texts, min_size=1, max_size=5))
def test_no_word_is_left_that_two_classes_share(lists: list[list[str]]) -> None:
    names = [f"class {number}" for number in range(len(lists))]
    entries = [Entry(name, tuple(words)) for name, words in zip(names, lists, strict=True)]
    names_kept, clashes = without_clashes(names, entries, ["user"] * len(names))
    every = [bare(text) for words in names_kept for text in words]
    assert len(every) == len(set(every))
    assert [words[0] for words in names_kept] == names
    left = {bare(text) for words in lists for text in words} - {bare(clash.text) for clash in clashes}
    assert left == set(every) - {bare(name) for name in names}


@given(texts)
def test_repetitions_go_and_order_stays(words: list[str]) -> None:
    once = distinct(words)
    assert [bare(text) for text in once] == list(dict.fromkeys(map(bare, words)))
    assert distinct(once) == once


def test_articles_are_no_part_of_a_word() -> None:
    assert bare("The Cat") == bare("a cat") == bare("CAT") == "cat"
    assert bare("an") == "an" and bare("answer") == "answer" and bare("theatre") == "theatre"
