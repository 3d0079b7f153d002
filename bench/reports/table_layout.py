"""Lay out a table: its rows and columns, the number in each entry, and which are best; `table_formats` writes it."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.contract import METHODS
from pzsl_bench.records.cell import ambiguity_label, split_row
from pzsl_bench.records.frame import metric_columns
from pzsl_bench.records.metric_names import NAMES, PLAIN, ZERO_SHOT, is_tag_metric, metric_title
from pzsl_bench.records.record import Status

if TYPE_CHECKING:
    from pandas import DataFrame

Mark = Literal["best", "second", ""]

FAMILY_ORDER = ("clip", "zsl", "pll", "pzsl", "tags")
TRANSDUCTIVE = "transductive"
"""The group of methods that scored the test images together; it comes last."""


@dataclass(frozen=True)
class Column:
    """One setting of the experiment."""

    dataset: str
    encoder: str
    ambiguity: str
    rate: float
    noise: float = 0.0

    def __str__(self) -> str:
        return f"{self.dataset}/{self.encoder}/{ambiguity_label(self.ambiguity, self.rate, self.noise)}"


@dataclass(frozen=True)
class Row:
    """One method with its settings."""

    method: str
    """Its name in commands."""
    label: str
    """Its name in a paper, with the settings that distinguish it from other rows."""
    group: str
    """"reference" for the rows that every table starts with, "transductive" for the last block, else the family."""
    reveals_truth: bool
    choice: str = ""
    """How epoch and settings were chosen, as in [covering, 20 draws]; empty for the end of an untuned training."""

    @property
    def transductive(self) -> bool:
        """Whether it scored the test images together."""
        return self.group == TRANSDUCTIVE


@dataclass(frozen=True)
class Entry:
    """The result of one method in one column; in percent if the metric is a fraction."""

    mean: float
    std: float | None
    """With n - 1 in the denominator; None for one seed."""
    n: int
    mark: Mark = ""


@dataclass(frozen=True)
class Layout:
    """A table before it is written."""

    metric: str
    rows: list[Row]
    columns: list[Column]
    entries: dict[tuple[Row, Column], Entry]
    seeds: int
    """How many every entry should have."""
    percent: bool
    failed: int
    diverged: int
    gaps: Sequence[str] = ()
    """Why entries have no number although the cell has a result, in sentences."""

    @property
    def title(self) -> str:
        """The metric in words."""
        return metric_title(self.metric)

    @property
    def incomplete(self) -> bool:
        """Some entry rests on fewer seeds than it should."""
        return any(entry.n < self.seeds for entry in self.entries.values())

    @property
    def encoders(self) -> bool:
        """Whether some columns differ only in their encoder, so that their heads must name it."""
        return len({(c.dataset, c.ambiguity, c.rate, c.noise) for c in self.columns}) < len(self.columns)

    @property
    def noisy(self) -> set[str]:
        """Ambiguities of which some column has noise, so that the heads of all their columns must name it."""
        return {c.ambiguity for c in self.columns if c.noise}


def arrange(frame: DataFrame, metric: str, seeds: int | None = None, gaps: Sequence[str] = ()) -> Layout:
    """The layout of a table: rows, columns, and entries with mean, std and mark."""
    if metric not in metric_columns(frame):
        raise unknown("metric", metric, metric_columns(frame))
    if frame.empty:
        raise UserError("there are no results to tabulate yet; first: pzsl-bench run")
    records = _of_task([{str(k): v for k, v in row.items()} for row in frame.to_dict("records")], metric)
    _refuse_unlike(records)
    rows = _rows(records)
    columns = _columns(records)
    by_name = {row.method: row for row in rows}
    percent = metric not in PLAIN
    values: dict[tuple[Row, Column], list[float]] = {}
    for record in records:
        value = record[metric]
        if record["status"] == Status.DONE and value is not None and math.isfinite(value):
            place = by_name[record["method"]], _column(record)
            values.setdefault(place, []).append(float(value) * (100 if percent else 1))
    entries = {
        place: Entry(statistics.fmean(v), statistics.stdev(v) if len(v) > 1 else None, len(v))
        for place, v in values.items()
    }
    if not entries:
        _refuse_absent(records, metric, gaps)
    if percent:
        for column in columns:
            _mark(entries, rows, column)
    counts = Counter(record["status"] for record in records)
    return Layout(
        metric=metric,
        rows=rows,
        columns=columns,
        entries=entries,
        seeds=seeds or len({record["seed"] for record in records}),
        percent=percent,
        failed=counts[Status.FAILED],
        diverged=counts[Status.DIVERGED],
        gaps=gaps,
    )


def _of_task(records: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """The records of datasets whose task the metric measures: tags or classes."""
    if metric in PLAIN:
        return records
    tasks: dict[str, bool] = {}
    for record in records:
        if record["status"] == Status.DONE:
            tasks[record["dataset"]] = any(is_tag_metric(n) and v is not None and v == v for n, v in record.items())
    of_task = [
        record for record in records if tasks.get(record["dataset"], is_tag_metric(metric)) == is_tag_metric(metric)
    ]
    # If none is left, all are returned: the error message that follows names the metrics that they have.
    return of_task or records


def _column(record: dict[str, Any]) -> Column:
    numbers = float(record["rate"]), float(record.get("noise", 0.0))
    return Column(record["dataset"], record["encoder"], record["ambiguity"], *numbers)


def _columns(records: Sequence[dict[str, Any]]) -> list[Column]:
    """Datasets, encoders and ambiguities in the order of the records, rates and then noise ascending."""
    columns = list(dict.fromkeys(map(_column, records)))
    order: dict[Any, int] = {}
    for column in columns:
        for depth in range(1, 4):
            order.setdefault(_prefix(column, depth), len(order))
    return sorted(columns, key=lambda c: (*(order[_prefix(c, depth)] for depth in range(1, 4)), c.rate, c.noise))


def _prefix(column: Column, depth: int) -> tuple[str, ...]:
    return (column.dataset, column.encoder, column.ambiguity)[:depth]


def _rows(records: Sequence[dict[str, Any]]) -> list[Row]:
    """References first, then the families, then transductive methods; inside a group in the order of the records."""
    first = {record["method"]: record for record in reversed(records)}
    names = list(dict.fromkeys(record["method"] for record in records))
    labels = _labels({name: str(first[name]["title"]) for name in names})

    references = _references(split_row(name)[0] for name in names)

    def rank(name: str) -> tuple[int, int]:
        family = first[name]["family"]
        if family == "bound" or split_row(name)[0] in references:
            # The encoder as it is, then what candidates alone give, then what true labels give.
            return 0, 2 * bool(first[name]["reveals_truth"]) + (family == "bound")
        if first[name].get("transductive"):
            return 2, 0
        return 1, FAMILY_ORDER.index(family) if family in FAMILY_ORDER else len(FAMILY_ORDER)

    return [
        Row(
            method=name,
            label=labels[name],
            group=("reference", str(first[name]["family"]), TRANSDUCTIVE)[rank(name)[0]],
            reveals_truth=bool(first[name]["reveals_truth"]),
            choice=split_row(name)[2],
        )
        for name in sorted(names, key=rank)
    ]


def _references(methods: Iterable[str]) -> set[str]:
    """Those of the methods that are among the first rows of every table, as far as they are installed here."""
    found = set()
    for method in set(methods) & set(METHODS.names()):
        # A plug-in that cannot be loaded is no reason to refuse a table of its results.
        with suppress(UserError):
            found |= {method} if METHODS.get(method).info.reference else set()
    return found


def _labels(titles: dict[str, str]) -> dict[str, str]:
    """Titles, with only those settings that distinguish methods of the same title."""
    labels: dict[str, str] = {}
    for name, title in titles.items():
        same_title = [split_row(other)[1] for other, other_title in titles.items() if other_title == title]
        _, settings, choice = split_row(name)
        distinct = [_setting_text(k, v) for k, v in settings.items() if any(other.get(k) != v for other in same_title)]
        labels[name] = " ".join([title, *([f"({', '.join(distinct)})"] if distinct else []), choice]).rstrip()
    counts = Counter(labels.values())
    return {name: f"{label} [{name}]" if counts[label] > 1 else label for name, label in labels.items()}


def _setting_text(setting: str, value: str) -> str:
    """setting=value, or the value alone for a preset, whose name explains itself."""
    return value.replace("_", " ") if setting == "preset" else f"{setting}={value}"


def _refuse_unlike(records: Sequence[dict[str, Any]]) -> None:
    """Numbers may stand in one column only if they come from the same candidate sets."""
    seen: set[tuple[str, Column, int]] = set()
    sets: dict[tuple[Column, int], tuple[str, str]] = {}
    for record in records:
        column, seed, name = _column(record), int(record["seed"]), str(record["method"])
        if (name, column, seed) in seen:
            raise UserError(f"two results for one cell: {name} on {column} with seed {seed}; is one stale?")
        seen.add((name, column, seed))
        candidates_hash = record["candidates_hash"]
        if record["status"] != Status.DONE or not isinstance(candidates_hash, str) or not candidates_hash:
            continue
        first, first_hash = sets.setdefault((column, seed), (name, candidates_hash))
        if first_hash != candidates_hash:
            raise UserError(
                f"{first} and {name} had different candidate sets on {column} with seed {seed}, "
                "so they cannot stand in one column; run them again with: pzsl-bench run --fresh"
            )


def _refuse_absent(records: Sequence[dict[str, Any]], metric: str, gaps: Sequence[str]) -> None:
    """Refuse a table without any number, unless no record has a result at all."""
    done = [record for record in records if record["status"] == Status.DONE]
    # NaN, the absent number, is not equal to itself.
    metrics = {name for record in done for name, value in record.items() if value == value}
    if done:
        known = ", ".join(
            name for name in (*NAMES, *sorted(filter(is_tag_metric, metrics))) if name in metrics - {*PLAIN}
        )
        why = ", which takes unseen classes and a method that can score them" if metric in ZERO_SHOT else ""
        why = f" ({'; '.join(gap.removesuffix('.') for gap in gaps)})" if gaps else why
        raise UserError(f"no result of this grid has {metric}{why}; there is: {known}")


def _mark(entries: dict[tuple[Row, Column], Entry], rows: Sequence[Row], column: Column) -> None:
    """Mark best and second best in a column.

    Ranked are inductive methods that were not given true labels, and of these the ones with the most seeds. Means are
    compared as they are printed, so that equal numbers get the same mark. Nobody is best at 0.0.
    """
    ranked = [row for row in rows if not row.reveals_truth and not row.transductive]
    comparable = [place for row in ranked if (place := (row, column)) in entries]
    most_seeds = max((entries[place].n for place in comparable), default=0)
    comparable = [place for place in comparable if entries[place].n == most_seeds]
    comparable = [place for place in comparable if float(number(entries[place].mean)) > 0]
    ranks = sorted({number(entries[place].mean) for place in comparable}, key=float, reverse=True)
    names: tuple[Mark, ...] = ("best", "second")
    for place in comparable:
        rank = ranks.index(number(entries[place].mean))
        if rank < 2:
            old = entries[place]
            entries[place] = Entry(old.mean, old.std, old.n, names[rank])


def number(value: float) -> str:
    """A number as every table prints it: with one decimal."""
    return f"{value:.1f}"
