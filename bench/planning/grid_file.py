"""Read a grid file: YAML text and `--set` overrides become one mapping, which `grid_schema` checks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.base.yaml_files import YamlFiles, parse

GRIDS = YamlFiles("grid", "pzsl_bench.planning.grids", "'datasets:' and 'methods:'")


def grid_names() -> list[str]:
    """The grids that ship with the package."""
    return GRIDS.names()


def read_grid(name_or_path: str) -> tuple[str, str, dict[str, Any]]:
    """(short label for messages, default grid name, content) of a shipped grid or of a file."""
    return GRIDS.read(name_or_path)


def apply(data: Mapping[str, Any], overrides: list[str]) -> tuple[dict[str, Any], set[str]]:
    """The content after `--set KEY=VALUE` options, and the top-level keys that they changed."""
    content, touched = dict(data), set()
    for override in overrides:
        path, sign, text = override.partition("=")
        keys = path.strip().split(".")
        if not sign or not all(keys):
            raise UserError(f"--set {override}: write KEY=VALUE, for example --set rates=[0.1,0.3]")
        value = parse(text, f"--set {path}")
        if len(keys) == 1:
            content[keys[0]] = value
        elif len(keys) == 3 and keys[0] == "methods":
            entries = _entries(content.get("methods"), content.get("datasets"))
            content["methods"] = _with_setting(entries, keys[1], keys[2], value)
        else:
            raise UserError(f"--set {override}: a key is a word of the grid, or methods.METHOD.SETTING")
        touched.add(keys[0])
    return content, touched


def method_entries(methods: Any, datasets: Any) -> list[tuple[str, dict[str, Any]]]:
    """(name, settings) of each entry under `methods`, in any of the forms that a grid file allows.

    "all" means every method that goes with the task of at least one of the datasets.
    """
    if methods == "all":
        # Only here, because naming every method may import other packages.
        from pzsl_bench.contract import METHODS

        tasks = _tasks(datasets)
        return [(name, {}) for name, cls in METHODS.all().items() if not tasks or cls.tasks & tasks]
    entries: list[tuple[str, dict[str, Any]]] = []
    for entry in methods if isinstance(methods, list) else [methods]:
        pairs = entry.items() if isinstance(entry, dict) else [(entry, None)]
        for name, settings in pairs:
            if not isinstance(name, str):
                raise ValueError(f"{name!r} is not the name of a method")
            if settings is not None and not isinstance(settings, dict):
                raise ValueError(f"'{name}' needs 'setting: value' pairs, not {settings!r}")
            entries.append((name, dict(settings or {})))
    return entries


def _tasks(datasets: Any) -> set[str]:
    """The tasks of these datasets. One that cannot be found is skipped here, and reported when the grid is checked."""
    from pzsl_bench.data.source import find_dataset

    tasks: set[str] = set()
    for name in datasets if isinstance(datasets, list) else [datasets]:
        with contextlib.suppress(UserError):
            tasks.add(find_dataset(str(name)).task)
    return tasks


def _entries(methods: Any, datasets: Any) -> list[tuple[str, dict[str, Any]]]:
    try:
        return [] if methods is None else method_entries(methods, datasets)
    except ValueError as error:
        raise UserError(f"methods: {error}") from None


def _with_setting(
    entries: list[tuple[str, dict[str, Any]]], name: str, setting: str, value: Any
) -> list[dict[str, Any]]:
    if name not in (names := {entry for entry, _ in entries}):
        raise unknown("method in --set (not in this grid)", name, names)
    return [{n: {**settings, setting: value} if n == name else settings} for n, settings in entries]
