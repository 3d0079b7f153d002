"""Rules of selection: found by name, paired with draws, shown in the name of a row."""

from __future__ import annotations

import pytest

from pzsl_bench.base.errors import UserError
from pzsl_bench.records.cell import Cell, choice_label, split_row
from pzsl_bench.selecting.rules import RULES, check_pair, find_rule


def test_a_mean_has_any_number_of_epochs() -> None:
    assert (find_rule("mean10").window, find_rule("mean3").window, find_rule("last").window) == (10, 3, 1)


@pytest.mark.parametrize("name", ["mean0", "mean", "mean-3", "coverin", ""])
def test_an_unknown_rule_is_told_with_what_there_is(name: str) -> None:
    with pytest.raises(UserError, match="unknown rule of select"):
        find_rule(name)


def test_only_the_oracle_looks_at_labels_of_held_out_images() -> None:
    assert [rule.name for rule in RULES.values() if rule.reveals_truth] == ["oracle"]


@pytest.mark.parametrize("rule", ["last", "mean10"])
def test_draws_without_a_rule_that_compares_them_are_refused_with_the_rules_that_do(rule: str) -> None:
    with pytest.raises(UserError, match=r"covering or approximated or rehearsal .*oracle"):
        check_pair(rule, 20)
    check_pair(rule, 0)


def test_the_rehearsal_has_nothing_to_choose_without_draws() -> None:
    for rule in ("rehearsal", "validation"):
        with pytest.raises(UserError, match="tune: 20"):
            check_pair(rule, 0)
    for rule in ("covering", "approximated", "oracle"):
        check_pair(rule, 0)
    for rule in ("covering", "approximated", "oracle", "rehearsal", "validation"):
        check_pair(rule, 5)


@pytest.mark.parametrize(
    ("select", "tune", "label"),
    [
        ("last", 0, ""),
        ("mean10", 0, "[mean10]"),
        ("covering", 0, "[covering]"),
        ("covering", 20, "[covering, 20 draws]"),
    ],
)
def test_the_name_of_a_row_says_how_it_was_chosen_and_can_be_taken_apart(select: str, tune: int, label: str) -> None:
    assert choice_label(select, tune) == label
    plain = Cell("d", "e", "flip", 0.1, "eszsl", (), 0, select, tune)
    assert plain.row == f"eszsl {label}".rstrip()
    assert split_row(plain.row) == ("eszsl", {}, label)
    set_up = Cell("d", "e", "flip", 0.1, "eszsl", (("candidates_as", "a,b"), ("reg", 0.1)), 0, select, tune)
    assert split_row(set_up.row) == ("eszsl", {"candidates_as": "a,b", "reg": "0.1"}, label)
