"""Files of synonyms: both forms, their mistakes, where they are looked for, and the lists of the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.word_lists import bundled, bundled_listings, file_names, find_files, parse_listing, read_listing
from pzsl_bench.encoding.wording import DCLIP, CuPL
from pzsl_bench.synonyms.words import without_clashes

FULL = {
    "version": 1,
    "dataset": "animals",
    "provenance": "me",
    "classes": {
        "red_panda": {"synonyms": ["lesser  panda"], "descriptors": ["ringed tail"], "source": "a zoo"},
        "Grey Wolf": {"synonyms": ["A photo of a wolf."], "as_prompt": True},
        "crane": ["big bird"],
    },
}


def test_both_forms_are_read() -> None:
    plain = parse_listing('{"Red Panda": ["lesser panda"], "cat": []}', "f.json")
    assert {key: entry.synonyms for key, entry in plain.entries.items()} == {"red panda": ("lesser panda",), "cat": ()}
    full = parse_listing(json.dumps(FULL), "f.json")
    panda, wolf, crane = full.entries.values()
    assert panda.synonyms == ("lesser panda",) and panda.descriptors == ("ringed tail",) and panda.source == "a zoo"
    assert [entry.as_prompt for entry in (panda, wolf, crane)] == [False, True, False]
    assert full.provenance == "me"


def test_a_whole_file_may_hold_prompts() -> None:
    content = {"as_prompt": True, "classes": {"cat": ["A cat."], "dog": {"synonyms": ["hound"], "as_prompt": False}}}
    cat, dog = parse_listing(json.dumps(content), "f.json").entries.values()
    assert cat.as_prompt and not dog.as_prompt


def test_a_class_called_classes_is_no_full_file() -> None:
    assert list(parse_listing('{"classes": ["lessons"]}', "f.json").entries) == ["classes"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"f\.json is not valid JSON: .*line 1"),
        ("[]", "a JSON object is wanted"),
        ('{"cat": "kitty"}', "class 'cat' needs a list of texts"),
        ('{"cat": [1]}', "class 'cat': number 1 of its list of texts is 1, not a text"),
        ('{"cat": ["kitty", " "]}', "class 'cat': number 2 of its list of texts is empty"),
        ('{"cat": {"synonyms": []}}', "class 'cat' needs a list of texts"),
        ('{"cat": [], "cat": []}', "'cat' is there twice"),
        ('{"red cat": [], "Red_Cat": []}', "'Red_Cat' and 'red cat' are the same class"),
        ('{"": []}', "has no name"),
        ('{"classes": {"cat": 1}}', "class 'cat' needs a list of texts, or an object with 'synonyms'"),
        ('{"classes": {"cat": {"synonym": []}}}', "did you mean 'synonyms'"),
        ('{"as_promt": true, "classes": {}}', "did you mean 'as_prompt'"),
        ('{"as_prompt": 1, "classes": {}}', "as_prompt is 1, not true or false"),
        ('{"version": 2, "classes": {}}', "version 2 is not known"),
    ],
)
def test_mistakes_are_told_with_their_place(content: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_listing(content, "f.json")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_listing(tmp_path / "f.json")
    with pytest.raises(UserError, match="cannot read"):
        read_listing(tmp_path)


def test_the_file_of_a_variant_comes_before_the_datasets(tmp_path: Path) -> None:
    assert file_names("shapes:split1:odd") == ["shapes-split1-odd.json", "shapes-split1.json", "shapes.json"]
    assert file_names("features:my set/../x") == ["features-my-set-..-x.json", "features.json"]
    (tmp_path / "synonyms").mkdir()
    for name in ("shapes.json", "shapes-odd.json", "shapes-odd.raw.jsonl"):
        (tmp_path / "synonyms" / name).write_text("{}")
    assert [path.name for path in find_files("shapes:odd", tmp_path)] == ["shapes-odd.json", "shapes.json"]
    assert [path.name for path in find_files("shapes:split1", tmp_path)] == ["shapes.json"]
    assert find_files("shapes", None) == []


def test_one_full_file_serves_all_wordings(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps(FULL))
    assert DCLIP(tmp_path / "f.json").of("red panda") == ["ringed tail"]
    assert CuPL(tmp_path / "f.json").of("grey wolf") == ["A photo of a wolf."]
    # Names are no sentences.
    with pytest.raises(UserError, match="'red panda' needs at least one sentence"):
        CuPL(tmp_path / "f.json").prompts("red panda", ["a {}"])


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("cifar10", "cifar10"),
        ("features:CIFAR-100", "cifar100"),
        ("features:oxford_pets:raw", "oxford_pets"),
        ("xlsa17:AWA2", "awa2"),
        ("xlsa17:AWA1:raw", "awa2"),
        ("coco", "coco"),
        ("voc2007", "voc"),
        ("eurosat", "eurosat"),
    ],
)
def test_bundled_lists_are_found_by_dataset_or_variant(spec: str, name: str) -> None:
    found = bundled(spec)
    assert found is not None and found.where == f"the bundled list {name}.json"


@pytest.mark.parametrize("spec", ["xlsa17:CUB", "features:mine", "synthetic", "features:coconut"])
def test_other_datasets_have_no_bundled_list(spec: str) -> None:
    assert bundled(spec) is None


SIZES = {"cifar10": 10, "cifar100": 100, "oxford_pets": 37, "coco": 80, "awa2": 50, "voc": 20, "eurosat": 10}
SPELLED_TWICE = {"voc": 4, "eurosat": 16}
"""Entries beyond the classes: the same class under another of its usual names."""


@pytest.mark.parametrize("name", sorted(SIZES))
def test_bundled_lists_hold_what_they_say(name: str) -> None:
    listing = bundled_listings()[name.replace("_", "")]
    assert len(listing.entries) == SIZES[name] + SPELLED_TWICE.get(name, 0)
    assert "by hand" in listing.provenance
    for entry in listing.entries.values():
        assert len(entry.synonyms) <= 6
        assert all(len(text.split()) <= 5 for text in entry.synonyms)


@pytest.mark.parametrize("name", sorted(set(SIZES) - set(SPELLED_TWICE)))
def test_no_word_of_a_bundled_list_stands_for_two_classes(name: str) -> None:
    entries = list(bundled_listings()[name.replace("_", "")].entries.values())
    names = [entry.name for entry in entries]
    names_left, clashes = without_clashes(names, entries, ["bundled"] * len(names))
    assert not clashes
    assert [len(words) for words in names_left] == [1 + len(entry.synonyms) for entry in entries]
