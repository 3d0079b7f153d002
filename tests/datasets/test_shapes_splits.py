from collections import Counter
from itertools import pairwise

import pytest

from pzsl_bench.datasets.shapes import splits
from pzsl_bench.datasets.shapes.lexicon import COMBINATIONS, KINDS, class_name, number, parts
from pzsl_bench.datasets.shapes.splits import CONFUSABLE, describe, held_out, split

SPLITS = range(3)


def values(classes):
    return Counter((kind, value) for c in classes for kind, value in enumerate(parts(c)))


def test_a_combination_and_its_number_are_the_same_thing():
    assert sorted(number(*parts(c)) for c in range(COMBINATIONS)) == list(range(700))


@pytest.mark.parametrize("index", SPLITS)
def test_sixty_different_classes_with_different_names(index):
    s = split(index)
    classes = (*s.seen, *s.unseen)
    assert len(s.seen) == 40
    assert len(s.unseen) == 20
    assert len(set(classes)) == 60
    assert len({class_name(c) for c in classes}) == len({class_name(c, "odd") for c in classes}) == 60


@pytest.mark.parametrize("index", SPLITS)
def test_every_attribute_of_an_unseen_class_is_seen_at_least_twice(index):
    s = split(index)
    assert min(values(s.seen)[v] for v in values(s.unseen)) >= 2


@pytest.mark.parametrize("index", SPLITS)
def test_every_attribute_of_a_validation_class_is_seen_twice_without_them(index):
    s = split(index)
    assert len(s.validation) == 10
    assert set(s.validation) < set(s.seen)
    rest = set(s.seen) - set(s.validation)
    assert min(values(rest)[v] for v in values(s.validation)) >= 2


@pytest.mark.parametrize("index", SPLITS)
def test_families_are_confusable(index):
    s = split(index)
    families = [(*s.unseen[2 * i : 2 * i + 2], s.seen[i]) for i in range(10)]
    families += [s.seen[10 + 3 * i : 13 + 3 * i] for i in range(10)]
    for base, *variants in families:
        changed = []
        for variant in variants:
            (kind,) = [k for k in range(3) if parts(base)[k] != parts(variant)[k]]
            assert parts(variant)[kind] in CONFUSABLE[kind][parts(base)[kind]]
            changed.append(kind)
        assert len(set(changed)) == 2


@pytest.mark.parametrize("index", SPLITS)
def test_bases_use_every_texture_and_colour_equally_and_untied(index):
    s = split(index)
    bases = [parts(c) for c in (*s.unseen[::2], *s.validation)]
    assert set(Counter(t for t, _, _ in bases).values()) == {4}
    assert set(Counter(c for _, c, _ in bases).values()) == {2}
    assert len({(t, c) for t, c, _ in bases}) > 10


def test_the_three_splits_are_three_and_all_their_classes_are_held_out():
    classes = [{*split(i).seen, *split(i).unseen} for i in SPLITS]
    assert all(len(a & b) < 15 for a, b in [*pairwise(classes), (classes[0], classes[2])])
    assert held_out() == set().union(*classes)


def test_the_unseen_classes_are_not_those_of_the_prototype():
    prototype = {
        "dotted teal circle",
        "striped green crescent",
        "solid white hexagon",
        "bordered yellow triangle",
    }
    for i in SPLITS:
        assert not prototype <= {describe(c) for c in split(i).unseen}


def test_a_stored_split_is_the_first_that_meets_the_conditions():
    assert splits.first_fit(0) == splits.FIRST_FITS[0]


def test_confusable_is_mutual_and_everything_has_a_neighbour():
    for kind, near in enumerate(CONFUSABLE):
        assert len(near) == len(KINDS[kind])
        for value, others in near.items():
            assert others
            assert value not in others
            assert all(value in near[other] for other in others)
