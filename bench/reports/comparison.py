"""Compare our results with known numbers: both means, their difference, and the difference in standard errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.records.record import Record, Status

if TYPE_CHECKING:
    from pzsl_bench.planning.plan import Plan
    from pzsl_bench.reports.landmark import Landmark

MAX_ERRORS = 2.0
"""Two means agree if they are at most so many standard errors of their difference apart."""
DIGITS = 2
"""Decimals in which means are printed, and in which they are the same number."""


@dataclass(frozen=True)
class Spread:
    """A mean over n runs with its standard deviation."""

    mean: float
    std: float | None
    """With n - 1 in the denominator; None where it is not known."""
    n: int

    @property
    def error(self) -> float | None:
        """Standard error of the mean."""
        return None if self.std is None else self.std / math.sqrt(self.n)


@dataclass(frozen=True)
class Comparison:
    """One row: the known result (theirs) and our result (ours)."""

    row: str
    theirs: Spread | None
    """None where nothing is known, and ours is for orientation."""
    ours: Spread | None
    """None where no run has a result."""
    note: str = ""
    diverged: int = 0
    """Runs of ours whose loss stopped being finite."""
    metric: str = ""

    @cached_property
    def difference(self) -> float | None:
        """Ours minus theirs."""
        return None if self.ours is None or self.theirs is None else self.ours.mean - self.theirs.mean

    @cached_property
    def error(self) -> float | None:
        """Standard error of the difference; a side without a known spread adds nothing to it."""
        known = [side.error for side in (self.theirs, self.ours) if side is not None and side.error is not None]
        return math.hypot(*known) if known else None

    @property
    def errors(self) -> float | None:
        """The difference in its standard errors; None where there is no error to measure it by."""
        return self.difference / self.error if self.difference is not None and self.error else None

    @property
    def agrees(self) -> bool | None:
        """Whether the two means are alike: within two standard errors of their difference, or as they are printed."""
        return self._within(self.error)

    @property
    def within_theirs(self) -> bool | None:
        """As `agrees`, by the standard error of their mean alone: the stricter question."""
        return self._within(self.theirs.error if self.theirs else None)

    @property
    def sound(self) -> bool:
        """Whether nothing is left to explain: the means agree, or a note gives the reason.

        If all runs diverged, that takes a note, too. A row without a known number only needs a result.
        """
        if self.theirs is None:
            return self.ours is not None
        return bool(self.agrees) or (bool(self.note) and (self.ours is not None or self.diverged > 0))

    def _within(self, error: float | None) -> bool | None:
        if self.difference is None:
            return None
        return abs(self.difference) <= MAX_ERRORS * (error or 0.0) or round(abs(self.difference), DIGITS) == 0


def compare(landmark: Landmark, plan: Plan) -> list[Comparison]:
    """Every row of a landmark by each of its metrics, with the records of a plan of its grid."""
    record_of = {planned.cell: planned.record for planned in plan.cells}
    sheet, scale = landmark.sheet, 100.0 if landmark.sheet.unit == "percent" else 1.0
    results = []
    for metric, (row, cells) in product(sheet.metrics, landmark.cells().items()):
        known = landmark.known(row, metric)
        records = [record for cell in cells if (record := record_of.get(cell)) is not None]
        values = [scale * value for value in _values(records, metric)]
        theirs = Spread(known.mean, known.std, known.n) if known else None
        diverged = sum(record.status is Status.DIVERGED for record in records)
        results.append(Comparison(row, theirs, spread(values), known.note if known else "", diverged, metric))
    return results


def spread(values: Sequence[float]) -> Spread | None:
    """Mean, standard deviation and number of the values; None for none."""
    if not values:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def _values(records: Sequence[Record], metric: str) -> list[float]:
    done = [record for record in records if record.status is Status.DONE]
    values = [value for record in done if (value := record.metrics.get(metric)) is not None]
    if done and not values:
        if reason := done[0].absent.get(metric):
            raise UserError(f"{done[0].row} has no {metric} on {done[0].dataset}: {reason}")
        known = [name for name, value in done[0].metrics.items() if value is not None]
        raise UserError(f"{done[0].row} has no such result on {done[0].dataset}: {unknown('metric', metric, known)}")
    return values


def by_name(comparisons: Sequence[Comparison]) -> dict[str, Comparison]:
    """Comparisons by name: that of the row, with the metric where there are several."""
    several = len({c.metric for c in comparisons}) > 1
    return {f"{c.row} ({c.metric})" if several else c.row: c for c in comparisons}


def verdict(comparisons: Sequence[Comparison]) -> str:
    """The outcome of the comparison, in a sentence or two."""
    named = by_name(comparisons)
    known = {name: c for name, c in named.items() if c.theirs is not None}
    alike = [name for name, c in known.items() if c.agrees]
    groups = {
        "explained by a note": [name for name, c in known.items() if c.sound and not c.agrees],
        "apart without a reason": [name for name, c in known.items() if c.ours is not None and not c.sound],
        "for orientation only": [name for name, c in named.items() if c.theirs is None and c.sound],
        "without a result": [name for name, c in named.items() if c.ours is None and not c.sound],
    }
    count = f"{len(alike)} of {len(known)} rows agree within {MAX_ERRORS:g} standard errors of the difference"
    words = [f"{what}: {', '.join(names)}" for what, names in groups.items() if names]
    return "; ".join([*([count] if known else []), *words]) + "."
