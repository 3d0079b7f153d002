"""The files that a run writes beside its records: tables, and the grid as it was run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.files import write_whole
from pzsl_bench.records.metric_names import is_tag_metric, main_tag_metrics

if TYPE_CHECKING:
    from pzsl_bench.planning.grid import Grid
    from pzsl_bench.records.record import Record
    from pzsl_bench.reports.tables import Format


METRICS = ("H", "T1", "accuracy")
"""The tables that a run may write at its end."""


FILES: dict[Format, str] = {"markdown": "md", "latex": "tex"}


def table_paths(results: Path, grid: str, metrics: Iterable[str]) -> dict[tuple[str, Format], Path]:
    """Where the tables of a grid lie, by metric and format."""
    folder = results / "tables"
    return {(m, f): folder / f"{grid}-{m}.{suffix}" for m in metrics for f, suffix in FILES.items()}


def old_tables(results: Path, grid: str) -> list[Path]:
    """The tables that earlier runs of a grid wrote at their end."""
    paths = [path for suffix in FILES.values() for path in (results / "tables").glob(f"*.{suffix}")]
    tables = [(path, path.stem.removeprefix(f"{grid}-")) for path in paths if path.stem.startswith(f"{grid}-")]
    return [path for path, metric in tables if metric in METRICS or is_tag_metric(metric)]


def main_metrics(records: Iterable[Record]) -> tuple[str, ...]:
    """The metrics to show first: H and T1 where unseen classes are judged, accuracy of the other datasets.

    For datasets with tags, mAP and F1.
    """
    done = [record for record in records if record.status == "done"]
    datasets_with = {metric: {r.dataset for r in done if r.metrics.get(metric) is not None} for metric in METRICS}
    shown = [metric for metric in ("H", "T1") if datasets_with[metric]]
    if datasets_with["accuracy"] - datasets_with["H"]:
        shown.append("accuracy")
    shown += main_tag_metrics({name for record in done for name, value in record.metrics.items() if value is not None})
    return tuple(shown) or ("H", "T1")


def write_tables(grid: Grid, records: list[Record], results: Path) -> str:
    """Write the tables as Markdown and LaTeX; returns them as text for the terminal."""
    from pzsl_bench.records.frame import frame, gaps
    from pzsl_bench.reports.tables import table

    tidy, seeds, metrics = frame(records), len(grid.axes.seeds), main_metrics(records)
    gaps_of = {metric: gaps(records, metric) for metric in metrics}
    for (metric, fmt), path in table_paths(results, grid.name, metrics).items():
        write(path, table(tidy, metric, fmt=fmt, seeds=seeds, gaps=gaps_of[metric]))
    return "\n\n".join(table(tidy, metric, seeds=seeds, gaps=gaps_of[metric]).rstrip() for metric in metrics)


def write_grid(grid: Grid, results: Path) -> bool:
    """Keep the grid as it was run, as a grid file; returns whether the file is new or has changed."""
    path = results / "grids" / f"{grid.name}.yaml"
    text = yaml.safe_dump(grid.resolved(), sort_keys=False, allow_unicode=True)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write(path, text)
    return True


def write(path: Path, text: str) -> None:
    """Write a text file, its folders included, with a line end at its end."""
    try:
        write_whole(path, (text if text.endswith("\n") else f"{text}\n").encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
