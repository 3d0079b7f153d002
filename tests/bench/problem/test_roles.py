"""Who plays what in rehearsals: images of every class on both sides, and words where there cannot be any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.data.source import find_dataset
from pzsl_bench.problem.roles import Roles, held_out_images, roles_of
from pzsl_bench.running.opened import load_problem


def roles(images: list[int], validation: tuple[int, ...]) -> Roles:
    """Classes with so many images each."""
    truth = np.repeat(np.arange(len(images)), images)
    return Roles("some", truth, tuple(f"class {k}" for k in range(len(images))), validation)


@given(st.integers(0, 1000))
def test_a_class_of_two_images_or_more_has_some_on_both_sides(images: int) -> None:
    held_out = held_out_images(images)
    assert held_out == (0 if images < 2 else max(1, images // 5))
    assert images < 2 or 0 < held_out < images


@given(st.lists(st.integers(0, 9), min_size=2, max_size=12), st.data())
def test_every_image_has_one_part_and_no_class_loses_all_of_its_own(images: list[int], data: st.DataObject) -> None:
    acting = tuple(
        data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=len(images) - 1, unique=True))
    )
    some = roles(images, acting)
    for fold in range(3):
        in_test = np.bincount(some.truth[some.seen_test(fold)], minlength=len(images))
        for k in range(len(images)):
            assert in_test[k] == (0 if k in some.acting(fold) else held_out_images(images[k]))
        assert sorted([*some.fitted(fold), *some.acting(fold)]) == list(range(len(images)))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.integers(1, 3))
def test_a_rehearsal_that_lacks_nothing_has_images_on_both_sides(images: list[int], folds: int) -> None:
    some = roles(images, (0,))
    both = [some.seen_test(fold).any() and np.isin(some.truth, some.acting(fold)).any() for fold in range(folds)]
    assert (some.lack(folds) == "") == all(both)


@pytest.mark.parametrize(
    ("images", "validation", "why"),
    [
        ([3, 3, 3], (), "no seen class is named to play an unseen one"),
        ([1, 1, 5], (2,), "no class that is trained on has a second image"),
        ([3, 3, 0], (2,), "the seen classes that play unseen ones have no training image"),
        ([2, 0, 1], (2,), ""),
        ([1, 1, 1], (2,), "no class that is trained on has a second image"),
    ],
)
def test_what_a_rehearsal_lacks_is_said_in_words(images: list[int], validation: tuple[int, ...], why: str) -> None:
    lack = roles(images, validation).lack()
    assert lack.startswith(why) and bool(lack) == bool(why)
    assert replace(roles(images, validation), untunable="it leaks").lack() == "it leaks"


def test_classes_of_one_image_are_enough_where_only_acting_ones_are_asked() -> None:
    assert roles([1, 1, 1, 1], (3,)).lack(3, one_sided=True) == ""


def test_a_source_and_its_problem_have_the_same_roles(tmp_path) -> None:
    name = "synthetic:seen=8:unseen=4:dim=16:per_class=3:test=2"
    before = roles_of(name, find_dataset(name).open())
    after = load_problem(name, "none", None, tmp_path, "cpu").roles
    assert before is not None and after is not None
    assert np.array_equal(before.truth, after.truth)
    assert (before.class_names, before.validation) == (after.class_names, after.validation)
    assert roles_of(name, replace(find_dataset(name).open(), unseen=())) is None
