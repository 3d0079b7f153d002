"""Other words of the drawn world: true to the lexicon, the frequent ones first, for every naming and every tag."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from pzsl_bench.data.source import find_dataset
from pzsl_bench.datasets.shapes.lexicon import COMBINATIONS, KINDS, class_name, parts
from pzsl_bench.datasets.shapes.synonyms import MAX_PHRASES, concept_words, phrases
from pzsl_bench.synonyms.words import look_up


@pytest.mark.parametrize("combination", range(0, COMBINATIONS, 23))
def test_phrases_are_the_most_frequent_ways_to_say_a_class(combination: int) -> None:
    kinds = [dict(list(kind.values())[value]) for kind, value in zip(KINDS, parts(combination), strict=True)]
    share = {" ".join(words): kinds[0][words[0]] * kinds[1][words[1]] * kinds[2][words[2]] for words in product(*kinds)}
    names = phrases(combination)
    assert len(names) == len(set(names)) == min(MAX_PHRASES, len(share))
    assert names[0] == class_name(combination)
    shares = [share[phrase] for phrase in names]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] >= max((share[phrase] for phrase in set(share) - set(names)), default=0)


@pytest.mark.parametrize("spec", ["shapes", "shapes:odd", "shapes:split2:odd", "scenes"])
def test_every_class_has_other_words_that_are_its_own(spec: str, tmp_path: Path) -> None:
    names = find_dataset(spec).open().class_names
    found = look_up(spec, names, None, tmp_path)
    assert set(found.synonyms.sources) == {"bundled"}
    assert min(found.synonyms.counts()) >= 2
    every = [name for own in found.synonyms.names for name in own]
    assert len(every) == len(set(every))


def test_an_odd_name_has_the_common_one_among_its_synonyms(tmp_path: Path) -> None:
    common, odd = (find_dataset(spec).open().class_names for spec in ("shapes", "shapes:odd"))
    found = look_up("shapes:odd", odd, None, tmp_path)
    for usual, names in zip(common, found.synonyms.names, strict=True):
        assert usual in names[:2]


def test_words_of_a_concept_are_those_of_the_lexicon() -> None:
    assert concept_words("circle") == ["circle", "disc", "round", "ball"]
    assert concept_words("red") == ["red", "crimson", "rose", "scarlet"]
