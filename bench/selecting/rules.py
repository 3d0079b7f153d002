"""Which epoch, and which draw of the settings, a result is taken from: the values of `select` in a grid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pzsl_bench.base.errors import UserError, unknown

MOST_DRAWS = 10_000
FOLDS = 3
"""Class-wise validation folds of the rules that compare draws in rehearsals."""
SELECTION = 1
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
    """How many rehearsals, each with other classes in the part of the unseen ones, draws are compared in."""
    window: int = 1
    """How many of the last epochs the metrics are averaged over."""
    reveals_truth: bool = False
    """Looks at true labels of held-out images; marked in every table."""


_HELD_OUT = "epoch and draw with the best {} on a tenth of the training images, held out"
_REHEARSED = f"draw with the best mean {{}} in {FOLDS} rehearsals, which use labels of training images"
_RULES = (
    Rule("last", "the end of the training"),
    Rule("covering", _HELD_OUT.format("covering rate of the candidate sets"), epochs=True, draws=True),
    Rule("approximated", _HELD_OUT.format("approximated accuracy by the candidate sets"), epochs=True, draws=True),
    Rule("rehearsal", _REHEARSED.format("calibrated H"), draws=True, folds=FOLDS),
    Rule("validation", _REHEARSED.format("T1 on classes held out"), draws=True, folds=FOLDS),
    Rule("oracle", _HELD_OUT.format("true accuracy"), epochs=True, draws=True, reveals_truth=True),
)
RULES: Mapping[str, Rule] = {rule.name: rule for rule in _RULES}


def find_rule(name: str) -> Rule:
    """The rule of that name: one of `RULES`, or mean10 for the mean over the last ten epochs."""
    if found := re.fullmatch(r"mean([1-9]\d{0,5})", name):
        number = int(found[1])
        meaning = f"mean over the last {number} epochs" if number > 1 else RULES["last"].meaning
        return Rule(name, meaning, window=number)
    if name in RULES:
        return RULES[name]
    raise unknown("rule of select", name, [*RULES, "mean10"])


def check_pair(select: str, tune: int) -> None:
    """Whether draws of the settings and the rule that is to choose among them belong together."""
    rule = find_rule(select)
    if tune and not rule.draws:
        able = [name for name, rule in RULES.items() if rule.draws and not rule.reveals_truth]
        raise UserError(
            f"tune needs a rule that chooses among the draws, and select: {select} does not;"
            f" write select: {' or '.join(able)} (or oracle, which looks at true labels and is marked)"
        )
    if rule.draws and not rule.epochs and not tune:
        raise UserError(f"select: {select} chooses among draws of the settings; say how many, for example tune: 20")
