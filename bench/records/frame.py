"""Records as a tidy table: one row per record, with coordinates, metrics, cost and facts in columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pzsl_bench.base.errors import UserError
from pzsl_bench.records.metric_names import is_tag_metric
from pzsl_bench.records.record import Record

if TYPE_CHECKING:
    from pandas import DataFrame


HEAD = ("dataset", "encoder", "ambiguity", "rate", "noise", "method", "seed", "status")


METRICS = ("T1", "U", "S", "H", "seen_acc", "accuracy", "D")


TAG_METRICS = ("mAP_zsl", "mAP_gzsl", "mAP_seen", "mAP_train")


COST = ("seconds", "candidates_hash")


CHOICE = ("select", "tune", "draw", "epoch")


MARKS = ("reveals_truth", "transductive")


FACTS = ("mean_candidates", "stack", "peak_mb", "title", "family", *MARKS, *CHOICE, "hash", "finished")


def frame(records: Iterable[Record]) -> DataFrame:
    """One tidy row per record: coordinates, status, usual metrics, cost, then all other metrics and facts."""
    import pandas

    rows: list[dict[str, Any]] = []
    metrics: set[str] = set()
    for record in records:
        fixed = {name: getattr(record, name) for name in (*HEAD, *COST, *FACTS)}
        fixed |= {"method": record.row, "status": record.status.value, "error": record.headline or ""}
        clash = record.metrics.keys() & fixed.keys()
        if clash:
            raise UserError(f"a metric of {record.row} takes the name of a column: {', '.join(sorted(clash))}")
        metrics |= record.metrics.keys()
        rows.append(fixed | record.metrics)
    usual = _usual_metrics(metrics)
    others = sorted(metrics - set(usual))
    table = pandas.DataFrame(rows, columns=[*HEAD, *usual, *COST, *others, *FACTS, "error"])
    numbers = [*usual, *others]
    table[numbers] = table[numbers].astype("float64")
    table["epoch"] = table["epoch"].astype("Int64")
    return table


def gaps(records: Iterable[Record], metric: str) -> list[str]:
    """Sentences that say on which datasets a metric could not be had, and why."""
    datasets: dict[str, list[str]] = {}
    for record in records:
        if metric in record.absent and record.dataset not in datasets.setdefault(record.absent[metric], []):
            datasets[record.absent[metric]].append(record.dataset)
    return [f"on {', '.join(names)}: {reason}." for reason, names in datasets.items()]


def _usual_metrics(metrics: set[str]) -> tuple[str, ...]:
    """The metrics that have a column in any case: those of classes, of tags, or of both where both kinds occur."""
    tags = {name for name in metrics if is_tag_metric(name)}
    if not tags:
        return METRICS
    return TAG_METRICS if tags == metrics else (*METRICS, *TAG_METRICS)


def metric_columns(frame: DataFrame) -> list[str]:
    """The columns of a tidy frame that hold measurements: metrics and cost."""
    facts = {*HEAD, *FACTS, "candidates_hash", "error"} - {"mean_candidates", "stack", "peak_mb"}
    return [str(name) for name in frame.columns if name not in facts]
