"""Write a table: text for a terminal, Markdown, LaTeX with booktabs, CSV for other programs."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Sequence
from itertools import groupby

from pzsl_bench.reports.table_layout import Column, Entry, Layout, Row, number
from pzsl_bench.selecting.rules import find_rule

DASH, DAGGER, DOUBLE_DAGGER, PLUS_MINUS = "–", "†", "‡", "±"  # fmt: skip
LATEX_LETTERS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "–": "--",
    "—": "---", "−": "$-$", "†": r"\dag{}", "‡": r"\ddag{}",
    "∞": r"$\infty$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\to$",
}  # fmt: skip


def text(layout: Layout) -> str:
    """For a terminal: *best*, _second_."""
    from tabulate import SEPARATING_LINE, tabulate

    heads = ["\n".join(_levels(layout, column)) for column in layout.columns]
    depth = heads[0].count("\n") if heads else 0
    lines: list[object] = []
    for position, (_, rows) in enumerate(_groups(layout)):
        if position:
            lines.append(SEPARATING_LINE)
        lines += [[_label(row), *_cells(layout, row, "*", "_")] for row in rows]
    body = tabulate(
        lines,  # type: ignore[arg-type]
        ["\n" * depth + "Method", *heads],
        tablefmt="simple",
        disable_numparse=True,
        colalign=["left", *["right"] * len(heads)],
    )
    notes = _notes(layout)
    return "\n".join([_caption(layout, "*best*, _second_"), "", body, *(["", *notes] if notes else []), ""])


def markdown(layout: Layout) -> str:
    """For a README: **best**, <u>second</u>."""
    from tabulate import tabulate

    heads = [_pipes(" ".join(_levels(layout, column))) for column in layout.columns]
    lines = [[_pipes(_label(row)), *_cells(layout, row, "**", "<u>", "</u>")] for row in layout.rows]
    body = tabulate(
        lines,
        ["Method", *heads],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left", *["right"] * len(heads)],
    )
    return "\n\n".join([_caption(layout, "**best**, <u>second</u>"), body, *_notes(layout)]) + "\n"


def latex(layout: Layout) -> str:
    r"""For a paper; needs \usepackage{booktabs}."""
    width = len(layout.columns)
    ranks = r"\textbf{Best} and \underline{second best} per column."
    notes = [escape_latex(note) for note in _notes(layout)]
    caption = " ".join([escape_latex(_caption(layout, "")), *([ranks] if layout.percent else []), *notes])
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{''.join(c if c.isalnum() and c.isascii() else '-' for c in layout.metric)}}}",
        r"\small",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{@{{}}l{'c' * width}@{{}}}}",
        r"\toprule",
        *_latex_heads(layout),
        r"\midrule",
    ]
    for position, (_, rows) in enumerate(_groups(layout)):
        if position:
            lines.append(r"\midrule")
        for row in rows:
            cells = [_latex_cell(layout, layout.entries.get((row, column))) for column in layout.columns]
            lines.append(" & ".join([escape_latex(_label(row)), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def comma_separated(layout: Layout) -> str:
    """For other programs: mean, std and n of every column, unrounded, empty where missing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [str(column) for column in layout.columns]
    writer.writerow(["method", "title", "metric", *(f"{n} {what}" for n in names for what in ("mean", "std", "n"))])
    for row in layout.rows:
        entries = [layout.entries.get((row, column)) for column in layout.columns]
        numbers = [v for e in entries for v in ((e.mean, e.std, e.n) if e else (None, None, 0))]
        writer.writerow([row.method, row.label, layout.metric, *numbers])
    return out.getvalue()


FORMATS: dict[str, Callable[[Layout], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "csv": comma_separated,
}


def _caption(layout: Layout, marks: str) -> str:
    unit = ", %" if layout.percent else ""
    over_seeds = f"mean±standard deviation (n − 1) over n = {layout.seeds} seeds"
    seeds = over_seeds if layout.seeds > 1 else "one seed (n = 1)"
    marks = f"; {marks}" if marks and layout.percent else ""
    return f"{layout.title[0].upper()}{layout.title[1:]}{unit}; {seeds}{marks}."


def _notes(layout: Layout) -> list[str]:
    """What the reader must know beside the numbers."""
    notes = []
    chosen = {row.choice: find_rule(row.choice.strip("[]").partition(",")[0]) for row in layout.rows if row.choice}
    revealing = [row.choice in chosen and chosen[row.choice].reveals_truth for row in layout.rows if row.reveals_truth]
    if revealing:
        use = "trained on" if not any(revealing) else "chosen by" if all(revealing) else "trained on or chosen by"
        notes.append(f"{DAGGER} {use} true labels; not ranked.")
    if any(row.transductive for row in layout.rows):
        notes.append(f"{DOUBLE_DAGGER} transductive: scored the unlabelled test images together; not ranked.")
    notes += [f"[{rule.name}]: {rule.meaning}." for rule in {rule.name: rule for rule in chosen.values()}.values()]
    if layout.incomplete:
        notes.append(f"(k/{layout.seeds}): only k of {layout.seeds} seeds; ranked only where no other has more.")
    notes += [f"{DASH} {gap}" for gap in layout.gaps]
    left_out = [f"{n} {what}" for n, what in ((layout.failed, "failed"), (layout.diverged, "diverged")) if n]
    if left_out:
        is_one = layout.failed + layout.diverged == 1
        notes.append(f"{' and '.join(left_out)} {'cell is' if is_one else 'cells are'} left out.")
    return notes


def _levels(layout: Layout, column: Column) -> list[str]:
    encoder = [column.encoder] if layout.encoders else []
    noise = f", noise {column.noise:g}" if column.ambiguity in layout.noisy else ""
    return [column.dataset, *encoder, column.ambiguity, f"{column.rate:g}{noise}"]


def _groups(layout: Layout) -> list[tuple[str, list[Row]]]:
    return [(group, list(rows)) for group, rows in groupby(layout.rows, key=lambda row: row.group)]


def _label(row: Row) -> str:
    marks = [DAGGER] * row.reveals_truth + [DOUBLE_DAGGER] * row.transductive
    return " ".join([row.label, *marks])


def _cells(layout: Layout, row: Row, best: str, second: str, end: str | None = None) -> list[str]:
    marks = {"best": (best, best), "second": (second, end or second), "": ("", "")}
    cells = []
    for column in layout.columns:
        entry = layout.entries.get((row, column))
        if entry is None:
            cells.append(DASH)
            continue
        spread = "" if entry.std is None else f"{PLUS_MINUS}{number(entry.std)}"
        left, right = marks[entry.mark]
        cells.append(f"{left}{number(entry.mean)}{spread}{right}{_seeds_present(layout, entry)}")
    return cells


def _seeds_present(layout: Layout, entry: Entry) -> str:
    return f" ({entry.n}/{layout.seeds})" if entry.n < layout.seeds else ""


def _pipes(cell: str) -> str:
    return cell.replace("|", "\\|")


def escape_latex(plain: str) -> str:
    """Text that LaTeX prints as it is; Greek letters become mathematics."""
    return "".join(LATEX_LETTERS.get(letter) or _greek(letter) or letter for letter in plain)


def _greek(letter: str) -> str | None:
    words = unicodedata.name(letter, "").split()
    if words[:3] == ["GREEK", "SMALL", "LETTER"] and len(words) == 4:
        return f"$\\{words[3].lower().replace('lamda', 'lambda')}$"
    return None


def _latex_cell(layout: Layout, entry: Entry | None) -> str:
    if entry is None:
        return "--"
    mean = number(entry.mean)
    marks = {"best": rf"\textbf{{{mean}}}", "second": rf"\underline{{{mean}}}", "": mean}
    spread = "" if entry.std is None else rf"{{\scriptsize$\pm${number(entry.std)}}}"
    return marks[entry.mark] + spread + _seeds_present(layout, entry)


def _latex_heads(layout: Layout) -> list[str]:
    """One line per level of the head; a line under every name that spans columns."""
    levels = [_levels(layout, column) for column in layout.columns]
    lines = []
    depth = len(levels[0]) if levels else 1
    for level in range(depth - 1):
        spans = _spans([names[: level + 1] for names in levels])
        names = [
            rf"\multicolumn{{{last - first + 1}}}{{c}}{{{escape_latex(levels[first][level])}}}" for first, last in spans
        ]
        rules = [rf"\cmidrule(lr){{{first + 2}-{last + 2}}}" for first, last in spans]
        lines += [" & ".join(["", *names]).strip() + r" \\", "".join(rules)]
    lines.append(" & ".join(["Method", *(escape_latex(names[-1]) for names in levels)]) + r" \\")
    return lines


def _spans(heads: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """First and last position of every run of equal heads."""
    spans = []
    for _, run in groupby(range(len(heads)), key=lambda position: heads[position]):
        positions = list(run)
        spans.append((positions[0], positions[-1]))
    return spans
