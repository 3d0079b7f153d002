"""Remarks on rows that learnt little or nothing, which a table alone would not point out."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pzsl_bench.records.cell import ambiguity_label
from pzsl_bench.records.record import Record, Status

if TYPE_CHECKING:
    from pzsl_bench.planning.plan import Classes

ZERO_SHOT_CLIP = "clip_zero_shot"
"""The row that others are measured by, where a grid has it."""
NEAR_CHANCE = 0.05
"""At chance is a run that lies less than this share of the way from chance to 1 above it, and below twice chance."""
FAR_BELOW = 0.5
"""Far below zero-shot CLIP is a mean over seeds that lies below this share of it."""

METRICS = ("T1", "seen_acc")
Column = tuple[str, str, str, float, float]


def weak_rows(records: Iterable[Record], classes: Mapping[str, Classes]) -> list[str]:
    """One sentence for each row of which some run is at chance, or some mean far below zero-shot CLIP.

    Both are asked of T1 and of `seen_acc`; of bounds neither, since they are what they are.
    """
    asked = [r for r in records if r.status is Status.DONE and r.family != "bound" and r.dataset in classes]
    rows: dict[str, list[Record]] = {}
    for record in asked:
        rows.setdefault(record.row, []).append(record)
    clip = {metric: _means(rows.get(ZERO_SHOT_CLIP, []), metric) for metric in METRICS}
    sentences = []
    for row, of_row in rows.items():
        if remark := _at_chance(of_row, classes) or _far_below(of_row, clip):
            sentences.append(f"{row} {remark}")
    return sentences


def _at_chance(records: Sequence[Record], classes: Mapping[str, Classes]) -> str:
    """Where runs of a row are at chance; empty if none is."""
    for metric in METRICS:
        runs = []
        for record in records:
            value, of_dataset = record.metrics.get(metric), classes[record.dataset]
            if value is not None:
                chance = 1 / (of_dataset.unseen if metric == "T1" else of_dataset.seen)
                if value < min(2 * chance, chance + NEAR_CHANCE * (1 - chance)):
                    runs.append((value, chance, record))
        if runs:
            value, chance, record = min(runs, key=lambda run: run[0])
            where = f"{_place(_column(record))}/seed {record.seed}"
            count = f"is at chance in {len(runs)} of {len(records)} runs"
            return f"{count}, as in {where}: {metric} {_percent(value)}, chance {_percent(chance)}"
    return ""


def _far_below(records: Sequence[Record], clip: Mapping[str, Mapping[Column, float]]) -> str:
    """Where the means of a row are far below zero-shot CLIP; empty if none is."""
    for metric in METRICS:
        means, level = _means(records, metric), clip[metric]
        below = [column for column in means if means[column] < FAR_BELOW * level.get(column, 0.0)]
        if below:
            column = min(below, key=means.__getitem__)
            count = f" in {len(below)} columns, most" if len(below) > 1 else ""
            numbers = f"{metric} {_percent(means[column])}, CLIP {_percent(level[column])}"
            return f"is far below zero-shot CLIP{count} on {_place(column)}: {numbers}"
    return ""


def _means(records: Iterable[Record], metric: str) -> dict[Column, float]:
    """The mean over seeds in every column that has the metric."""
    values: dict[Column, list[float]] = {}
    for record in records:
        if (value := record.metrics.get(metric)) is not None:
            values.setdefault(_column(record), []).append(value)
    return {column: statistics.fmean(of_column) for column, of_column in values.items()}


def _column(record: Record) -> Column:
    return record.dataset, record.encoder, record.ambiguity, record.rate, record.noise


def _place(column: Column) -> str:
    dataset, _, ambiguity, rate, noise = column
    return f"{dataset}/{ambiguity_label(ambiguity, rate, noise)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
