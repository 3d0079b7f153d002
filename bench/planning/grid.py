"""The grid: the axes of a paper's table and the cells that they span."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import configure
from pzsl_bench.data.ambiguity import AMBIGUITIES, USUAL_NOISE
from pzsl_bench.data.source import find_dataset
from pzsl_bench.planning.draws import drop_idle_selection
from pzsl_bench.planning.grid_file import apply, read_grid
from pzsl_bench.planning.grid_schema import Axes, Point, Row, grid_entry, read_axes
from pzsl_bench.records.cell import Cell


def load_grid(name_or_path: str, overrides: list[str] | None = None) -> Grid:
    """The shipped grid of that name, or the grid in a file, after `--set KEY=VALUE` overrides."""
    label, stem, data = read_grid(name_or_path)
    content, touched = apply(data, overrides or [])
    axes = read_axes(content, label, touched)
    grid = Grid(axes.name or stem, axes)
    if not grid.cells():
        raise UserError(f"{label}: exclude removes every cell of the grid")
    for name, rate in dict.fromkeys((cell.ambiguity, cell.rate) for cell in grid.cells()):
        try:
            AMBIGUITIES.get(name).check_rate(rate)
        except UserError as error:
            raise UserError(f"{label}: {error}") from None
    _refuse_idle_noise(grid, label, touched)
    return grid


@dataclass(frozen=True)
class Grid:
    """A checked grid."""

    name: str
    axes: Axes

    @property
    def about(self) -> str:
        """What the grid is for, in the words of its file."""
        return self.axes.about.strip()

    @property
    def noise(self) -> list[float]:
        """The noise of its ambiguities that have some, the usual one where the grid names none; empty without them."""
        noisy = any(AMBIGUITIES.get(cell.ambiguity).noisy for cell in self._cells)
        return (self.axes.noise or [USUAL_NOISE]) if noisy else []

    def cells(self) -> list[Cell]:
        """Every cell once, in a stable order: the cells of the axes that `exclude` leaves, then those of `include`."""
        return list(self._cells)

    def resolved(self) -> dict[str, Any]:
        """The grid with everything written out, to be kept beside its results; it can be loaded again."""
        axes = self.axes
        content = {"name": self.name, **axes.model_dump(exclude={"name", "noise", "include", "exclude"})}
        content |= {"noise": self.noise} if self.noise else {}
        content["methods"] = [grid_entry(row) for row in axes.methods]
        for key in ("include", "exclude"):
            if points := getattr(axes, key):
                content[key] = [point.model_dump(exclude_defaults=True) for point in points]
        return content

    @cached_property
    def _cells(self) -> list[Cell]:
        regions = [self._region(point) for point in self.axes.exclude]
        cells = dict.fromkeys(c for c in self._span(Point()) if not any(covers(c) for covers in regions))
        for point in self.axes.include:
            cells.update(dict.fromkeys(self._span(point)))
        return list(cells)

    def _span(self, point: Point) -> Iterator[Cell]:
        """All cells of a point; a key that the point leaves out takes the values of the axes."""
        axes = self.axes
        rows = axes.methods if point.method is None else self._rows(point)
        tune = axes.tune if point.tune is None else point.tune
        for dataset in point.dataset or axes.datasets:
            encoders = [_encoder(e, dataset) for e in point.encoder or axes.encoders]
            for encoder, (ambiguity, noise), rate, (method, settings), select, seed in product(
                encoders,
                self._ambiguities(point),
                point.rate or axes.rates,
                rows,
                point.select or axes.select,
                point.seed or axes.seeds,
            ):
                cell = Cell(dataset, encoder, ambiguity, rate, method, settings, seed, select, tune, noise)
                yield drop_idle_selection(cell)

    def _ambiguities(self, point: Point) -> list[tuple[str, float]]:
        """The ambiguities of a point with their noise: one without noise stands there once, with 0."""
        noise = point.noise or self.axes.noise or [USUAL_NOISE]
        return [
            (name, value)
            for name in point.ambiguity or self.axes.ambiguities
            for value in (noise if AMBIGUITIES.get(name).noisy else [0.0])
        ]

    def _rows(self, point: Point) -> list[Row]:
        """Its methods with its settings; without settings, the grid's rows of each method that the grid has."""
        if point.settings:
            return point.method_rows()
        rows = []
        for row in point.method_rows():
            rows += [grid_row for grid_row in self.axes.methods if grid_row[0] == row[0]] or [row]
        return rows

    def _region(self, point: Point) -> Callable[[Cell], bool]:
        """A function that says whether a cell matches every key that the point gives."""
        patterns = point.method_rows()
        rows = {row for row in self.axes.methods if any(matches(row, pattern) for pattern in patterns)}

        def covers(cell: Cell) -> bool:
            return (
                (point.dataset is None or cell.dataset in point.dataset)
                and (point.encoder is None or cell.encoder in {_encoder(e, cell.dataset) for e in point.encoder})
                and (point.ambiguity is None or cell.ambiguity in point.ambiguity)
                and (point.rate is None or cell.rate in point.rate)
                and (point.noise is None or cell.noise in point.noise)
                and (point.method is None or (cell.method, cell.settings) in rows)
                and (point.seed is None or cell.seed in point.seed)
                and (point.select is None or cell.select in point.select)
                and (point.tune is None or cell.tune == point.tune)
            )

        return covers


def _refuse_idle_noise(grid: Grid, label: str, touched: set[str]) -> None:
    """Refuse noise where no ambiguity has any, in the whole grid or in a point that is included."""
    axes = grid.axes
    named = {name for point in (Point(), *axes.include) for name in point.ambiguity or axes.ambiguities}
    places = [("noise", axes.noise, named)]
    for number, point in enumerate(axes.include, 1):
        places.append((f"include[{number}].noise", point.noise, set(point.ambiguity or axes.ambiguities)))
    for place, noise, names in places:
        if noise is not None and not any(AMBIGUITIES.get(name).noisy for name in names):
            with_noise = [name for name, ambiguity in AMBIGUITIES.all().items() if ambiguity.noisy]
            source = "--set" if place in touched else label
            raise UserError(
                f"{source}: {place}: {', '.join(sorted(names))} {'have' if len(names) > 1 else 'has'} no noise;"
                f" ambiguities with noise: {', '.join(with_noise)}"
            )


def _encoder(spec: str, dataset: str) -> str:
    """The name of an encoder; "default" stands for the one of the dataset."""
    return find_dataset(dataset).default_encoder if spec == "default" else spec


def matches(row: Row, pattern: Row) -> bool:
    """Whether a row has the method of the pattern and all settings of the pattern, be it by default."""
    if row[0] != pattern[0]:
        return False
    method = configure(row[0], dict(row[1]))
    return all(getattr(method, setting) == value for setting, value in pattern[1])
