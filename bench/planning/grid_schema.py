"""The schema of a grid file: checks every key and value, and reports a mistake with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.base.schema_errors import first_mistake, reason
from pzsl_bench.contract import METHODS, configure
from pzsl_bench.data.ambiguity import AMBIGUITIES
from pzsl_bench.data.source import find_dataset
from pzsl_bench.planning.grid_file import method_entries
from pzsl_bench.records.cell import Scalar
from pzsl_bench.selecting.rules import MAX_DRAWS, check_pair, find_rule

MAX_SEEDS = 100_000
COUNTS = "counts"
"""Key of the validation context: whether a rate may be a count, too. Ambiguities check their rates in `load_grid`."""
Row = tuple[str, tuple[tuple[str, Scalar], ...]]
"""A method with the settings that the grid gives it, in name order."""


def expand(name: str, settings: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of a method whose settings may be lists; values in the types of the method's defaults."""
    METHODS.get(name)
    axes = []
    for setting, value in settings.items():
        if value == []:
            raise UserError(f"{name}.{setting}: is empty; give at least one value")
        axes.append(value if isinstance(value, list) else [value])
    for point in product(*axes):
        method = configure(name, dict(zip(map(str, settings), point, strict=True)))
        yield name, tuple((setting, getattr(method, setting)) for setting in sorted(settings))


def grid_entry(row: Row) -> str | dict[str, dict[str, Scalar]]:
    """A row as it is written in a grid file."""
    name, settings = row
    return {name: dict(settings)} if settings else name


def _with_value_errors(check: Callable[[Any], Any], value: Any) -> Any:
    # pydantic collects ValueErrors with their place in the file; a UserError would pass through it.
    try:
        return check(value)
    except UserError as error:
        raise ValueError(str(error)) from None


def _as_list(value: Any) -> list[Any]:
    """A single value counts as a list of one."""
    if value is None or value == [] or value == "":
        raise ValueError("is empty; give at least one value")
    return value if isinstance(value, list) else [value]


def _refuse_repeats(values: list[Any], write: Callable[[Any], Any] = lambda v: v) -> list[Any]:
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{write(value)!r} is there twice")
        seen.add(value)
    return values


def _axis(check: Callable[[Any], Any]) -> BeforeValidator:
    """A list on which every value is valid and stands once."""
    return BeforeValidator(lambda value: _refuse_repeats([_with_value_errors(check, item) for item in _as_list(value)]))


def _name_axis(look_up: Callable[[str], object]) -> BeforeValidator:
    """An axis of names that `look_up` knows."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{value!r} is not a name")
        look_up(value)
        return value

    return _axis(check)


def _rate(value: Any, counts: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number between 0 and 1")
    if not 0 <= value <= 1 and not (counts and value > 1 and float(value).is_integer()):
        raise ValueError(f"{value!r} is not between 0 and 1")
    return float(value)


def _names_counts(content: Mapping[str, Any]) -> bool:
    """Whether an ambiguity that a grid file names has a count as its rate, not a share."""
    points = [point for key in ("include", "exclude") for point in _points(content.get(key))]
    named = [content.get("ambiguities"), *(point.get("ambiguity") for point in points if isinstance(point, dict))]
    names = {str(name) for entry in named for name in (entry if isinstance(entry, list) else [entry])}
    return any(ambiguity.least is not None for name, ambiguity in AMBIGUITIES.all().items() if name in names)


def _rates(value: Any, info: ValidationInfo) -> list[float]:
    """A list of rates, each once."""
    counts = bool((info.context or {}).get(COUNTS))
    return _refuse_repeats([_with_value_errors(lambda item: _rate(item, counts), item) for item in _as_list(value)])


def _noise(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number from 0 to below 1")
    if not 0 <= value < 1:
        raise ValueError(f"{value!r} is not from 0 to below 1")
    return float(value)


def _seeds(value: Any) -> list[int]:
    """[0, 1, 2], or a range "0-2", or ranges in a list."""
    seeds: list[int] = []
    for item in _as_list(value):
        first, dash, last = (part.strip() for part in str(item).partition("-"))
        whole = first.isdecimal() and (last.isdecimal() or not dash)
        if isinstance(item, bool) or not isinstance(item, int | str) or not whole:
            raise ValueError(f"{item!r} is not a seed: write whole numbers from 0 on, or a range such as 0-4")
        low, high = int(first), int(last or first)
        if not low <= high < low + MAX_SEEDS:
            raise ValueError(f"{item!r} is not a range of 1 to {MAX_SEEDS} seeds")
        seeds.extend(range(low, high + 1))
    return _refuse_repeats(seeds)


def _seed_axis(value: Any) -> list[int]:
    """As `_seeds`, or a count: 5 means 0-4."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MAX_SEEDS:
            raise ValueError(f"{value} is not a count of seeds (1 to {MAX_SEEDS}); one seed alone is written [{value}]")
        return list(range(value))
    return _seeds(value)


def _tune(value: Any) -> int:
    """A number of draws, plain or as {draws: 20}; 0 leaves settings as they are."""
    if isinstance(value, dict):
        if set(value) != {"draws"}:
            raise ValueError("write a number of draws, such as 20 or {draws: 20}")
        value = value["draws"]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a number of draws, such as 20")
    if value == 1:
        raise ValueError("1 draw is the settings as they are; write 2 or more, or leave it out")
    if not 0 <= value <= MAX_DRAWS:
        raise ValueError(f"{value} is not a number of draws from 2 to {MAX_DRAWS}")
    return value


def _rows(value: Any, info: ValidationInfo) -> list[Row]:
    """Every combination of the settings of every entry."""
    datasets = info.data.get("datasets")
    entries = _with_value_errors(
        lambda methods: method_entries(methods, datasets), value if value == "all" else _as_list(value)
    )
    return _refuse_repeats(
        [row for entry in entries for row in _with_value_errors(lambda e: list(expand(*e)), entry)], grid_entry
    )


def _points(value: Any) -> Any:
    """No entry, one, or a list of them."""
    return [value] if isinstance(value, dict) else value or []


Datasets = Annotated[list[str], _name_axis(find_dataset)]
Encoders = Annotated[list[str], _name_axis(str)]
Ambiguities = Annotated[list[str], _name_axis(AMBIGUITIES.get)]
Rates = Annotated[list[float], BeforeValidator(_rates)]
Noises = Annotated[list[float], _axis(_noise)]
Methods = Annotated[list[str], _name_axis(METHODS.get)]
Selects = Annotated[list[str], _name_axis(find_rule)]
Tune = Annotated[int, BeforeValidator(_tune)]


class Point(BaseModel):
    """A part of the grid: each key that is given narrows it to one value, or to the values of a list."""

    model_config = ConfigDict(extra="forbid")

    dataset: Datasets | None = None
    encoder: Encoders | None = None
    ambiguity: Ambiguities | None = None
    rate: Rates | None = None
    noise: Noises | None = None
    method: Methods | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: Annotated[list[int], BeforeValidator(_seeds)] | None = None
    select: Selects | None = None
    tune: Tune | None = None

    @model_validator(mode="after")
    def _settings_belong_to_a_method(self) -> Point:
        if self.settings and not self.method:
            raise ValueError("settings need a 'method' beside them")
        _with_value_errors(lambda point: point.method_rows(), self)
        return self

    def method_rows(self) -> list[Row]:
        """Its methods, with its settings."""
        return [row for name in self.method or () for row in expand(name, self.settings)]


class Axes(BaseModel):
    """A whole grid file."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, pattern=r"^\w[\w.-]*$")
    about: str = ""
    datasets: Datasets
    encoders: Encoders = ["default"]
    ambiguities: Ambiguities
    rates: Rates
    noise: Noises | None = None
    seeds: Annotated[list[int], BeforeValidator(_seed_axis)] = [0]
    methods: Annotated[list[Row], BeforeValidator(_rows)]
    select: Selects = ["last"]
    tune: Annotated[Tune, Field(validate_default=True)] = 0
    include: Annotated[list[Point], BeforeValidator(_points)] = []
    exclude: Annotated[list[Point], BeforeValidator(_points)] = []

    @field_validator("tune")
    @classmethod
    def _draws_have_a_rule(cls, tune: int, info: ValidationInfo) -> int:
        for select in info.data.get("select", []):
            _with_value_errors(lambda pair: check_pair(*pair), (select, tune))
        return tune

    @field_validator("include")
    @classmethod
    def _draws_of_points_have_a_rule(cls, points: list[Point], info: ValidationInfo) -> list[Point]:
        for point in points:
            tune = info.data.get("tune", 0) if point.tune is None else point.tune
            for select in point.select or info.data.get("select", []):
                _with_value_errors(lambda pair: check_pair(*pair), (select, tune))
        return points


def read_axes(content: Mapping[str, Any], label: str, touched: set[str]) -> Axes:
    """The checked content of a grid file; keys in `touched` came from the command line."""
    try:
        return Axes.model_validate(dict(content), context={COUNTS: _names_counts(content)})
    except ValidationError as error:
        first = first_mistake(error)
    top, *rest = first["loc"]
    # Draws and the rule that chooses among them are checked together, under the name of the later key.
    source = "--set" if top in touched or (top == "tune" and "select" in touched) else label
    if first["type"] == "extra_forbidden":
        known = Point.model_fields if rest else Axes.model_fields
        where = f"{_place(top, rest[:-1])}: " if rest else ""
        raise UserError(f"{source}: {where}{unknown('key', str(first['loc'][-1]), known)}")
    reasons = {
        "model_type": "write keys such as {rate: 0.5, method: naive}",
        "dict_type": "write 'setting: value' pairs",
        "list_type": "write a list",
        "string_type": "is not text",
        "missing": "is missing; a grid names datasets, ambiguities, rates and methods",
        "string_pattern_mismatch": "a name may hold letters, digits, '.', '_' and '-'",
    }
    raise UserError(f"{source}: {_place(top, rest)}: {reason(first, reasons)}")


def _place(top: int | str, rest: list[int | str]) -> str:
    """include[2].rate, counted from one as a reader counts."""
    return f"{top}" + "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in rest)
