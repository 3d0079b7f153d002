"""A landmark: a table with known numbers, and the grid whose results are compared with them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.base.yaml_files import YamlFiles, parse
from pzsl_bench.planning.grid import Grid, matches
from pzsl_bench.planning.grid_schema import Row, expand, read_axes
from pzsl_bench.records.cell import Cell
from pzsl_bench.reports.landmark_schema import ORIGINS, Known, Sheet, read_sheet

__all__ = ["LANDMARKS", "ORIGINS", "Landmark", "headline", "load_landmark"]

LANDMARKS = YamlFiles("landmark", "pzsl_bench.reports.landmarks", "'title:', 'grid:' and 'rows:'")


@dataclass(frozen=True)
class Landmark:
    """A checked landmark."""

    name: str
    sheet: Sheet
    grid: Grid
    rows: dict[str, Row]
    """The method and settings behind every row of the sheet."""

    @property
    def origin(self) -> str:
        """Where the numbers come from, in words."""
        return ORIGINS[self.sheet.origin]

    def known(self, row: str, metric: str | None = None) -> Known | None:
        """What is known of a row, by the landmark's first metric if none is named."""
        return self.sheet.known(row, metric or self.sheet.metric)

    def cells(self) -> dict[str, list[Cell]]:
        """The cells behind every row."""
        name_of = {row: name for name, row in self.rows.items()}
        cells_of: dict[str, list[Cell]] = {name: [] for name in self.rows}
        for cell in self.grid.cells():
            cells_of[name_of[_row_of(cell)]].append(cell)
        return cells_of

    def only(self, rows: list[str]) -> Landmark:
        """The same landmark with some of its rows."""
        for name in rows:
            if name not in self.rows:
                raise unknown(f"row of landmark '{self.name}'", name, self.rows)
        selected = {name: row for name, row in self.rows.items() if name in rows}
        axes = self.grid.axes.model_copy(update={"methods": list(selected.values()), "include": []})
        return Landmark(self.name, self.sheet, Grid(self.grid.name, axes), selected)


def load_landmark(name_or_path: str, encoder: str | None = None) -> Landmark:
    """The shipped landmark of that name, or the one in a file; an encoder that is given replaces its own."""
    label, stem, content = LANDMARKS.read(name_or_path)
    sheet = read_sheet(content, label)
    axes = read_axes(sheet.grid | ({"encoders": [encoder]} if encoder else {}), f"{label}: grid", set())
    if axes.include or axes.exclude:
        raise UserError(f"{label}: grid: a landmark is one column of methods, so it knows no include and no exclude")
    grid = Grid(axes.name or stem, axes)
    _refuse_several_columns(grid, label)
    return Landmark(grid.name, sheet, grid, _resolve(sheet, grid, label))


def headline(name: str) -> tuple[str, str]:
    """Title and origin of a shipped landmark, without looking at its grid."""
    content = LANDMARKS.read(name)[2]
    return str(content.get("title", "")), str(content.get("origin", ""))


def _row_of(cell: Cell) -> Row:
    return cell.method, cell.settings


def _resolve(sheet: Sheet, grid: Grid, label: str) -> dict[str, Row]:
    """The grid row behind each row name; names and grid rows must correspond one to one."""
    grid_rows = list(dict.fromkeys(_row_of(cell) for cell in grid.cells()))
    row_of: dict[str, Row] = {}
    for name in sheet.rows:
        try:
            pattern = _parse_row_name(name)
        except UserError as error:
            raise UserError(f"{label}: rows.{name}: {error}") from None
        matching = [row for row in grid_rows if matches(row, pattern)]
        if not matching:
            raise UserError(f"{label}: rows: {unknown('row of the grid', name, [row[0] for row in grid_rows])}")
        if len(matching) > 1:
            raise UserError(
                f"{label}: rows.{name}: fits {len(matching)} rows of the grid; name a setting that tells them apart,"
                f" as in {pattern[0]}(lr=0.1)"
            )
        if matching[0] in row_of.values():
            raise UserError(f"{label}: rows.{name}: another row has the same method and settings")
        row_of[name] = matching[0]
    for row in grid_rows:
        if row not in row_of.values():
            raise UserError(
                f"{label}: rows: nothing is known of '{row[0]}', which is in the grid; write '{row[0]}: null' if so"
            )
    return row_of


def _parse_row_name(name: str) -> Row:
    """eszsl(candidates_as=random) -> the method and the settings named."""
    method, bracket, inside = name.partition("(")
    pairs = [pair.partition("=") for pair in re.split(r",\s*(?=\w+=)", inside.removesuffix(")"))] if bracket else []
    return next(expand(method, {setting.strip(): parse(value, setting) for setting, _, value in pairs}))


def _refuse_several_columns(grid: Grid, label: str) -> None:
    cells = grid.cells()
    columns = {(cell.dataset, cell.encoder, cell.ambiguity, cell.rate, cell.noise) for cell in cells}
    rows = {(_row_of(cell), cell.seed) for cell in cells}
    if len(columns) > 1 or len(rows) < len(cells):
        one = "one dataset, encoder, ambiguity, rate and noise"
        raise UserError(f"{label}: grid: spans several columns; a landmark is {one}")
