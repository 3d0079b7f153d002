from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.base.errors import MissingDataError, UserError, unknown

NAMES = ["clip_zero_shot", "eszsl", "naive", "oracle", "proden"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("prodne", "proden"), ("PRODEN", "proden"), ("eszls", "eszsl"), ("zero_shot", "clip_zero_shot")],
)
def test_a_misspelt_name_gets_the_nearest_one(typed: str, meant: str) -> None:
    assert str(unknown("method", typed, NAMES)) == f"unknown method '{typed}'; did you mean '{meant}'?"


def test_a_name_near_nothing_gets_the_whole_list_in_order() -> None:
    message = str(unknown("method", "xyzzy", reversed(NAMES)))
    assert message == "unknown method 'xyzzy'; known: clip_zero_shot, eszsl, naive, oracle, proden"


def test_an_empty_list_is_said_to_be_empty() -> None:
    assert str(unknown("plug-in", "x", [])) == "unknown plug-in 'x'; known: none"


def test_the_suggestion_keeps_the_spelling_of_the_known_name() -> None:
    assert "did you mean 'ViT-B-32'?" in str(unknown("encoder", "vit-b-23", ["RN50", "ViT-B-32"]))


def test_missing_data_is_a_mistake_the_user_can_mend() -> None:
    assert issubclass(MissingDataError, UserError)


@given(
    st.text(st.characters(exclude_categories=["C", "Z"]), max_size=30),
    st.lists(st.text("abcXYZ-_", min_size=1)),
)
def test_any_name_is_answered_in_one_line_that_repeats_it(typed: str, names: list[str]) -> None:
    error = unknown("dataset", typed, names)
    assert isinstance(error, UserError)
    assert f"'{typed}'" in str(error)
    assert len(str(error).splitlines()) == 1
