"""The rules of model selection, which are the values of `select` in a grid.

A rule says which epoch, and which draw of the settings, a result is taken from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pzsl_bench.base.errors import UserError, unknown

MAX_DRAWS = 10_000
"""The most draws that `tune` may ask for."""
FOLDS = 3
"""Class-wise validation folds of the rules that compare draws in rehearsals."""
SELECTION = 2
"""Version of the rules and of the draws; raised whenever they choose differently."""


@dataclass(frozen=True)
class Rule:
    """A rule of selection."""

    name: str
    meaning: str
    epochs: bool = False
    """Compares the epochs of a training, on held-out images."""
    draws: bool = False
    """Compares draws of the settings."""
    folds: int = 0
    """In how many rehearsals draws are compared; in each of them other seen classes play the unseen ones."""
    one_sided: bool = False
    """Draws are compared by images of the classes that play the unseen ones alone."""
    window: int = 1
    """How many of the last epochs the metrics are averaged over."""
    reveals_truth: bool = False
    """Looks at true labels of held-out images; marked in every table."""


_HELD_OUT_MEANING = "epoch and draw with the best {} on a tenth of the training images, held out"
_REHEARSAL_MEANING = f"draw with the best mean {{}} in {FOLDS} rehearsals, which use labels of training images"
_RULES = (
    Rule("last", "the end of the training"),
    Rule("covering", _HELD_OUT_MEANING.format("covering rate of the candidate sets"), epochs=True, draws=True),
    Rule(
        "approximated", _HELD_OUT_MEANING.format("approximated accuracy by the candidate sets"), epochs=True, draws=True
    ),
    Rule("rehearsal", _REHEARSAL_MEANING.format("calibrated H"), draws=True, folds=FOLDS),
    Rule("validation", _REHEARSAL_MEANING.format("T1 on classes held out"), draws=True, folds=FOLDS, one_sided=True),
    Rule("oracle", _HELD_OUT_MEANING.format("true accuracy"), epochs=True, draws=True, reveals_truth=True),
)
RULES: Mapping[str, Rule] = {rule.name: rule for rule in _RULES}


def find_rule(name: str) -> Rule:
    """The rule of that name: one of `RULES`, or mean10 for the mean over the last ten epochs."""
    if match := re.fullmatch(r"mean([1-9]\d{0,5})", name):
        number = int(match[1])
        meaning = f"mean over the last {number} epochs" if number > 1 else RULES["last"].meaning
        return Rule(name, meaning, window=number)
    if name in RULES:
        return RULES[name]
    raise unknown("rule of select", name, [*RULES, "mean10"])


def check_pair(select: str, tune: int) -> None:
    """An error if the rule `select` does not fit the number of draws `tune`."""
    rule = find_rule(select)
    if tune and not rule.draws:
        fitting = [name for name, rule in RULES.items() if rule.draws and not rule.reveals_truth]
        raise UserError(
            f"tune needs a rule that chooses among the draws, and select: {select} does not;"
            f" write select: {' or '.join(fitting)} (or oracle, which looks at true labels and is marked)"
        )
    if rule.draws and not rule.epochs and not tune:
        raise UserError(f"select: {select} chooses among draws of the settings; say how many, for example tune: 20")
