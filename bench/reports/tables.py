"""Paper-style tables: methods down, datasets, ambiguities and rates across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pzsl_bench.base.errors import unknown
from pzsl_bench.reports.table_formats import FORMATS
from pzsl_bench.reports.table_layout import arrange

if TYPE_CHECKING:
    from pandas import DataFrame


Format = Literal["text", "markdown", "latex", "csv"]


def table(
    frame: DataFrame, metric: str, *, fmt: Format = "text", seeds: int | None = None, gaps: Sequence[str] = ()
) -> str:
    """The tidy frame of `records.frame` as a table of one metric.

    `seeds` is how many every entry should have; if left out, it is the number of different seeds in the frame.
    `gaps` are sentences on entries without a number, from `records.frame.gaps`.
    Only records of one grid state belong in the frame: two results for one cell are refused.
    """
    if fmt not in FORMATS:
        raise unknown("table format", fmt, FORMATS)
    return FORMATS[fmt](arrange(frame, metric, seeds, gaps))
