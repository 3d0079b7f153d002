"""Write a comparison with a landmark as text, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pzsl_bench.records.metric_names import metric_title
from pzsl_bench.reports.comparison import DIGITS, Comparison, Spread, by_name, verdict
from pzsl_bench.reports.table_formats import DASH, PLUS_MINUS

if TYPE_CHECKING:
    from pzsl_bench.reports.landmark import Landmark

Format = Literal["text", "markdown", "csv", "json"]
HEADS = ("theirs", "ours", "difference", "in standard errors", "agrees")
NOT_RUN = "Published for methods that are not run here"


def render(landmark: Landmark, comparisons: Sequence[Comparison], fmt: Format = "text") -> str:
    """The comparison in a format, with a line end at its end."""
    return FORMATS[fmt](landmark, comparisons)


def _text(landmark: Landmark, comparisons: Sequence[Comparison]) -> str:
    parts = [*_caption(landmark), *_remark(landmark, ""), "", _table(comparisons, "simple"), ""]
    parts += [*_notes(comparisons), verdict(comparisons)]
    if landmark.sheet.others:
        parts += ["", f"{NOT_RUN}{_unit(landmark)}:", "", _others(landmark, "simple"), "", *_sources(landmark)]
    return "\n".join(parts) + "\n"


def _markdown(landmark: Landmark, comparisons: Sequence[Comparison]) -> str:
    parts = ["\n".join(_caption(landmark)), *_remark(landmark), _table(comparisons, "pipe")]
    parts += [*_list(_notes(comparisons)), verdict(comparisons)]
    if landmark.sheet.others:
        parts += [f"{NOT_RUN}{_unit(landmark)}:", _others(landmark, "pipe"), *_list(_sources(landmark))]
    return "\n\n".join(parts) + "\n"


def _csv(landmark: Landmark, comparisons: Sequence[Comparison]) -> str:
    out = io.StringIO()
    facts = [_facts(comparison) for comparison in comparisons]
    writer = csv.DictWriter(out, list(facts[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(facts)
    return out.getvalue()


def _json(landmark: Landmark, comparisons: Sequence[Comparison]) -> str:
    sheet = landmark.sheet
    content = {
        "landmark": landmark.name,
        **sheet.model_dump(include={"title", "origin", "source", "use", "remark", "metric", "unit"}),
        "rows": [_facts(comparison) for comparison in comparisons],
        "others": {name: other.model_dump() for name, other in sheet.others.items()},
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[Format, Callable[[Landmark, Sequence[Comparison]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}


def _caption(landmark: Landmark) -> list[str]:
    """What is measured, and whose the numbers are."""
    sheet = landmark.sheet
    entry_format = f"mean{PLUS_MINUS}standard deviation (n runs)."
    if len(sheet.metrics) == 1:
        lines = [f"{sheet.title}: {metric_title(sheet.metric)}{_unit(landmark)}; {entry_format}"]
    else:
        lines = [f"{sheet.title}{_unit(landmark)}; {entry_format}"]
        lines += [f"{metric}: {metric_title(metric)}." for metric in sheet.metrics]
    encoder = landmark.grid.cells()[0].encoder
    ours = [] if encoder == "none" else [f"Ours with encoder {encoder}."]
    return [*lines, f"Theirs {landmark.origin}.", *ours]


def _unit(landmark: Landmark) -> str:
    return ", %" if landmark.sheet.unit == "percent" else ""


def _remark(landmark: Landmark, *before: str) -> list[str]:
    return [*before, " ".join(landmark.sheet.remark.split())] if landmark.sheet.remark else []


def _table(comparisons: Sequence[Comparison], fmt: str) -> str:
    """Rows of both sides, with the metric where there are several."""
    from tabulate import tabulate

    several = len({c.metric for c in comparisons}) > 1
    first = ("row", "metric") if several else ("row",)
    lines = [[c.row, *([c.metric] if several else []), *_sides(c)] for c in comparisons]
    align = (*("left" for _ in first), "right", "right", "right", "right", "left")
    return tabulate(lines, (*first, *HEADS), tablefmt=fmt, disable_numparse=True, colalign=align)


def _others(landmark: Landmark, fmt: str) -> str:
    """Methods that are not run, and what is published of them."""
    from tabulate import tabulate

    others = landmark.sheet.others
    metrics = list(dict.fromkeys(metric for other in others.values() for metric in other.values))
    lines = [
        [name, other.network, *(str(other.values[m]) if m in other.values else DASH for m in metrics)]
        for name, other in others.items()
    ]
    align = ("left", "left", *("right" for _ in metrics))
    return tabulate(lines, ("method", "network", *metrics), tablefmt=fmt, disable_numparse=True, colalign=align)


def _sources(landmark: Landmark) -> list[str]:
    """The sources of the numbers of methods that are not run; a source that several share is named once."""
    return _shared({name: other.source for name, other in landmark.sheet.others.items()})


def _sides(c: Comparison) -> list[str]:
    return [
        _spread(c.theirs),
        _ours(c),
        DASH if c.difference is None else f"{c.difference:+.{DIGITS}f}",
        DASH if c.errors is None else f"{c.errors:+.1f}",
        _agreement(c),
    ]


def _agreement(comparison: Comparison) -> str:
    if comparison.agrees:
        return "yes"
    if comparison.theirs is None or (comparison.ours is None and not comparison.sound):
        return DASH
    return "no, see note" if comparison.note else "no"


def _ours(comparison: Comparison) -> str:
    parts = [_spread(comparison.ours)] if comparison.ours or not comparison.diverged else []
    return ", ".join(parts + ([f"{comparison.diverged} diverged"] if comparison.diverged else []))


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return DASH
    width = "" if spread.std is None else f"{PLUS_MINUS}{spread.std:.{DIGITS}f}"
    return f"{spread.mean:.{DIGITS}f}{width} ({spread.n})"


def _notes(comparisons: Sequence[Comparison]) -> list[str]:
    return _shared({name: c.note for name, c in by_name(comparisons).items() if c.note})


def _shared(text_of: Mapping[str, str]) -> list[str]:
    """One line for each different text, after all names that have it."""
    names_of: dict[str, list[str]] = {}
    for name, text in text_of.items():
        names_of.setdefault(" ".join(text.split()), []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in names_of.items()]


def _list(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def _facts(comparison: Comparison) -> dict[str, Any]:
    """A row as plain columns, unrounded."""
    theirs, ours = comparison.theirs, comparison.ours
    return {
        "row": comparison.row,
        "metric": comparison.metric,
        "theirs_mean": theirs.mean if theirs else None,
        "theirs_std": theirs.std if theirs else None,
        "theirs_n": theirs.n if theirs else 0,
        "ours_mean": ours.mean if ours else None,
        "ours_std": ours.std if ours else None,
        "ours_n": ours.n if ours else 0,
        "ours_diverged": comparison.diverged,
        "difference": comparison.difference,
        "standard_error": comparison.error,
        "difference_in_errors": comparison.errors,
        "agrees": comparison.agrees,
        "within_two_errors_of_theirs": comparison.within_theirs,
        "note": " ".join(comparison.note.split()),
    }
