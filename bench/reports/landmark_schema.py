"""The schema of a landmark file: known numbers, where they come from, and what they may be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.base.schema_errors import first_mistake, reason
from pzsl_bench.records.metric_names import NAMES, PLAIN, is_tag_metric

ORIGINS = {
    "published": "published: read in the authors' paper or in their files",
    "secondary": "secondary: read in a leaderboard or a summary, not in the authors' paper",
    "recomputed": "recomputed: measured anew with an implementation that shares no code with this package",
    "recalled": "recalled: from memory and not found again; a hint, no evidence",
}
MEASURES = tuple(name for name in NAMES if name not in PLAIN)


def _choice(kind: str, known: tuple[str, ...]) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value not in known:
            raise ValueError(str(unknown(kind, str(value), known)))
        return value

    return BeforeValidator(check)


def _metric(value: Any) -> Any:
    if value not in MEASURES and not is_tag_metric(str(value)):
        raise ValueError(str(unknown("metric", str(value), MEASURES)))
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return value


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Metric = Annotated[str, BeforeValidator(_metric)]
Text = Annotated[str, Field(min_length=1)]


class Known(BaseModel):
    """The known result of a row, by one metric."""

    model_config = ConfigDict(extra="forbid")

    mean: Number
    std: Annotated[Number, Field(ge=0)] | None = None
    """Over its n runs, with n - 1 in the denominator."""
    n: Annotated[int, BeforeValidator(_number), Field(ge=1)]
    note: str = ""
    """The reason of a difference between their result and ours, where it is known."""


class Other(BaseModel):
    """What is published for a method that this package does not have."""

    model_config = ConfigDict(extra="forbid")

    network: Text
    """The network that encoded its images."""
    source: Text
    """Where its numbers are published, with a remark if they need one."""
    values: dict[Metric, Number] = {}


class Sheet(BaseModel):
    """A whole landmark file; its grid is checked later."""

    model_config = ConfigDict(extra="forbid")

    title: Text
    origin: Annotated[str, _choice("origin", tuple(ORIGINS))]
    source: Text
    """Who measured the numbers, and where they are published."""
    use: str = ""
    """What the numbers may be used for."""
    remark: str = ""
    """What must be read before the numbers; printed above them."""
    metric: Metric
    unit: Literal["percent", "fraction"] = "percent"
    grid: dict[str, Any]
    rows: Annotated[dict[str, Known | None], Field(min_length=1)]
    """None where nothing is known of a row; our result is then shown for orientation."""
    also: dict[Metric, Annotated[dict[str, Known], Field(min_length=1)]] = {}
    """Known results of some of the rows by other metrics."""
    others: dict[str, Other] = {}

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics by which rows are compared."""
        return (self.metric, *self.also)

    def known(self, row: str, metric: str) -> Known | None:
        """What is known of a row by a metric."""
        return self.rows.get(row) if metric == self.metric else self.also[metric].get(row)


SHAPES: dict[str, tuple[type[BaseModel], str]] = {
    "rows": (Known, "{mean: 45.8, std: 5.0, n: 10}"),
    "also": (Known, "{mean: 45.8, std: 5.0, n: 10}"),
    "others": (Other, "{network: VGG, source: their paper, values: {mAP_zsl: 15.1}}"),
}
"""For a key of a sheet: the model of its entries, and an example of one for messages."""


def read_sheet(content: Mapping[str, Any], label: str) -> Sheet:
    """The checked content of a file; `label` says which file a mistake is in."""
    try:
        sheet = Sheet.model_validate(dict(content))
    except ValidationError as error:
        raise UserError(f"{label}: {_error_text(first_mistake(error))}") from None
    if not any(sheet.rows.values()):
        raise UserError(f"{label}: rows: nothing is known of any row")
    if sheet.metric in sheet.also:
        raise UserError(f"{label}: also: '{sheet.metric}' is the metric of rows already")
    for metric, rows in sheet.also.items():
        for row in rows:
            if row not in sheet.rows:
                raise UserError(f"{label}: also.{metric}: {unknown('row', row, sheet.rows)}")
    return sheet


def _error_text(error: Mapping[str, Any]) -> str:
    """A mistake with its place."""
    # pydantic marks keys that are wrong themselves.
    *place, last = (str(part) for part in error["loc"] if part != "[key]")
    entry, example = SHAPES.get(place[0] if place else "", (Sheet, "key: value"))
    if error["type"] == "extra_forbidden":
        where = f"{'.'.join(place)}: " if place else ""
        return f"{where}{unknown('key', last, entry.model_fields)}"
    context = error.get("ctx", {})
    reasons = {
        "missing": "is missing",
        "string_type": "is not text",
        "string_too_short": "is empty",
        "dict_type": "write 'key: value' pairs",
        "model_type": f"write keys such as {example}",
        "too_short": "is empty; give at least one row",
        "int_from_float": f"{error['input']!r} is not a whole number",
        "finite_number": "is not a finite number",
        "greater_than_equal": f"{error['input']!r} is too small; at least {context.get('ge')}",
        "literal_error": f"{error['input']!r} is not {context.get('expected')}",
    }
    return f"{'.'.join([*place, last])}: {reason(error, reasons)}"
