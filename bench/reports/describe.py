"""The texts that the commands `list` and `show` print."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.base.yaml_files import SUFFIXES
from pzsl_bench.contract import FAMILIES, METHODS
from pzsl_bench.data.ambiguity import AMBIGUITIES, USUAL_NOISE
from pzsl_bench.data.source import DATASETS, find_dataset
from pzsl_bench.planning.grid_file import grid_names, read_grid
from pzsl_bench.planning.tasks import task_titles
from pzsl_bench.reports.landmark import LANDMARKS, headline, load_landmark
from pzsl_bench.selecting.rules import find_rule


def listing(kind: str, family: str | None = None) -> str:
    """One line for each method, dataset, grid, ambiguity or landmark; if wanted, for the methods of a family."""
    if family is not None and kind != "methods":
        raise UserError(f"only methods have families; to list one: pzsl-bench list methods --family {family}")
    if family is not None and family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    rows: list[tuple[str, ...]]
    if kind == "methods":
        rows = [
            (name, cls.info.title, cls.info.family, _unusual_tasks(cls.tasks))
            for name, cls in METHODS.all().items()
            if family in (None, cls.info.family)
        ]
    elif kind == "datasets":
        rows = [
            (
                name,
                cls.info.title,
                _unusual_tasks({cls.info.task}),
                f"variants: {', '.join(cls.info.variants)}" if cls.info.variants else "",
            )
            for name, cls in DATASETS.all().items()
        ]
    elif kind == "ambiguities":
        rows = [
            (name, rule.title, _unusual_tasks({rule.task}), rule.summary) for name, rule in AMBIGUITIES.all().items()
        ]
    elif kind == "landmarks":
        rows = [(name, *headline(name)) for name in LANDMARKS.names()]
    else:
        rows = [(name, str(read_grid(name)[2].get("about", ""))) for name in grid_names()]
    return columns(rows)


def _unusual_tasks(tasks: Iterable[str]) -> str:
    """The tasks, or nothing where `classes` is the only one."""
    return "" if set(tasks) == {"classes"} else ", ".join(sorted(tasks))


def broken() -> list[str]:
    """Plug-ins that could not be loaded, with the reason."""
    return [
        f"{registry.kind} '{name}' left out: {reason}"
        for registry in (METHODS, DATASETS)
        for name, reason in registry.broken.items()
    ]


def description(name: str) -> str:
    """All that is known of a name; a method and a dataset, for example, may share one."""
    base = name.partition(":")[0]
    parts = []
    if name in METHODS.names():
        parts.append(_method(name))
    if base in DATASETS.names():
        variants = name.split(":")[1:]
        if variants:
            find_dataset(name)
        parts.append(_dataset(base, variants))
    if name in AMBIGUITIES.names():
        parts.append(_ambiguity(name))
    if name in grid_names() or Path(name).suffix in SUFFIXES:
        parts.append(_grid(name))
    if name in LANDMARKS.names():
        parts.append(_landmark(name))
    if not parts:
        known = {*METHODS.names(), *DATASETS.names(), *AMBIGUITIES.names(), *grid_names(), *LANDMARKS.names()}
        raise unknown("method, dataset, ambiguity, grid or landmark", name, known)
    return "\n\n".join(parts)


def columns(rows: Iterable[Iterable[object]], indent: str = "  ") -> str:
    """Rows of text under each other, the columns aligned."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(indent + line for line in lines)


def _facts(**facts: object) -> str:
    return columns((f"{key}:", value) for key, value in facts.items() if value not in ("", None, ()))


def _bullets(title: str, lines: Iterable[str]) -> list[str]:
    items = [f"  - {line}" for line in lines]
    return [title, *items] if items else []


def _method(name: str) -> str:
    cls = METHODS.get(name)
    info = cls.info
    docs = sys.modules[cls.__module__].__doc__ or cls.__doc__ or ""
    marks = "trained on true labels: a bound, marked in every table" if info.reveals_truth else ""
    if info.transductive:
        marks = "transductive: scores the unlabelled test images together; a block of its own in every table"
    parts = [
        f"{info.title} (method)",
        _facts(
            name=info.name,
            version=info.version,
            family=f"{info.family} ({FAMILIES[info.family]})",
            task=task_titles(cls.tasks),
            citation=info.citation,
            note=marks,
        ),
        "",
        _without_family(inspect.cleandoc(docs)),
    ]
    settings = [f for f in fields(cls) if f.name not in cls.unused()]
    if rows := [(f.name, _default(f.default), _range(f.metadata), f.metadata.get("meaning", "")) for f in settings]:
        parts += ["", f"Settings (as in --set methods.{name}.{rows[0][0]}=VALUE)"]
        parts.append(columns([("name", "default", "search", "meaning"), *rows]))
    if info.deviations:
        parts += ["", *_bullets("What differs from the paper", info.deviations)]
    return "\n".join(parts)


def _without_family(docs: str) -> str:
    """The text of a method's file without the line that names its family, which stands among the facts."""
    return re.sub(r"^Family: .*\n\n?", "", docs, count=1, flags=re.MULTILINE)


def _default(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _range(rules: Any) -> str:
    if rules.get("choices"):
        return "|".join(rules["choices"])
    if rules.get("search"):
        low, high = rules["search"]
        return f"{low:g} to {high:g}, log"
    return ""


def _dataset(name: str, variants: Sequence[str]) -> str:
    cls = DATASETS.get(name)
    info = cls.info
    docs = inspect.cleandoc(cls.__doc__ or sys.modules[cls.__module__].__doc__ or "")
    parts = [
        f"{info.title} (dataset)",
        _facts(
            name=info.name,
            version=info.version,
            task=task_titles({cls(tuple(variants)).task}),
            variants=", ".join(f"{name}:{variant}" for variant in info.variants),
            encoder=cls.default_encoder,
            licence=info.licence,
            obtain=info.obtain,
            citation=info.citation,
        ),
    ]
    if docs:
        parts += ["", docs]
    if more := cls.details(variants):
        parts += ["", more[0], columns(more[1])]
    if info.deviations:
        parts += ["", *_bullets("What differs from the source", info.deviations)]
    return "\n".join(parts)


def _ambiguity(name: str) -> str:
    ambiguity = AMBIGUITIES.get(name)
    task = task_titles({ambiguity.task})
    noise = f"a share from 0 to below 1, as in noise: [0.1, 0.3]; where a grid names none, {USUAL_NOISE:g}"
    facts = _facts(
        name=ambiguity.name,
        version=ambiguity.version,
        task=task,
        rule=ambiguity.summary,
        noise=noise if ambiguity.noisy else "",
    )
    docs = inspect.cleandoc(ambiguity.draw.__doc__ or "")
    return "\n".join([f"{ambiguity.title} (ambiguity)", facts, "", docs]).rstrip()


def _grid(name: str) -> str:
    from pzsl_bench.planning.grid import load_grid

    grid = load_grid(name)
    axes = grid.axes
    rows = list(dict.fromkeys(cell.row for cell in grid.cells()))
    facts = _facts(
        about=grid.about,
        cells=len(grid.cells()),
        datasets=", ".join(axes.datasets),
        encoders=", ".join(axes.encoders),
        ambiguities=", ".join(axes.ambiguities),
        rates=", ".join(f"{rate:g}" for rate in axes.rates),
        noise=", ".join(f"{noise:g}" for noise in grid.noise),
        seeds=", ".join(map(str, axes.seeds)),
        select="; ".join(f"{name} ({find_rule(name).meaning})" for name in axes.select if axes.select != ["last"]),
        draws=axes.tune or "",
        include=len(axes.include) or "",
        exclude=len(axes.exclude) or "",
    )
    return "\n".join([f"{grid.name} (grid)", facts, "", *_bullets("Rows", rows)])


def _landmark(name: str) -> str:
    landmark = load_landmark(name)
    sheet, axes = landmark.sheet, landmark.grid.axes
    facts = _facts(
        origin=landmark.origin,
        source=" ".join(sheet.source.split()),
        use=" ".join(sheet.use.split()),
        remark=" ".join(sheet.remark.split()),
        metric=", ".join(sheet.metrics),
        unit=sheet.unit,
        dataset=", ".join(axes.datasets),
        seeds=", ".join(map(str, axes.seeds)),
    )
    numbers = [
        (row, metric, f"{known.mean:g}", "" if known.std is None else f"{known.std:g}", known.n)
        for metric in sheet.metrics
        for row in sheet.rows
        if (known := landmark.known(row, metric))
    ]
    rows = columns([("row", "metric", "mean", "std", "n"), *numbers])
    others = [
        (name, other.network, ", ".join(f"{metric} {value}" for metric, value in other.values.items()))
        for name, other in sheet.others.items()
    ]
    not_run = ["", "Not run", columns([("method", "network", "published"), *others])] if others else []
    return "\n".join([f"{sheet.title} (landmark)", facts, "", "Rows", rows, *not_run])
