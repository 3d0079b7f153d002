"""Reading a grid file: YAML text and `--set` overrides become one mapping, whose meaning `axes` checks."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from pzsl_bench.errors import UserError, unknown

SUFFIXES = (".yaml", ".yml")


class Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key written twice and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; PyYAML itself would keep the last of two equal keys and lose the first silently."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key '{key.value}' is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes 1e-3 (no dot) for text; whoever writes a rate or a learning rate means the number.
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def grid_names() -> list[str]:
    """The grids that ship with the package."""
    return sorted(f.name.removesuffix(".yaml") for f in _shipped().iterdir() if f.name.endswith(".yaml"))


def read_grid(name_or_path: str) -> tuple[str, str, dict[str, Any]]:
    """(short label for messages, default grid name, content) of a shipped grid or of a file."""
    text = _text(name_or_path)
    label = Path(name_or_path).name
    if Path(label).suffix not in SUFFIXES and name_or_path in grid_names():
        label += ".yaml"
    data = parse(text, label)
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"holds a {type(data).__name__}"
        raise UserError(f"{label}: {what}, where a grid needs keys such as 'datasets:' and 'methods:'")
    return label, re.sub(r"[^\w.-]+", "-", Path(label).stem).strip("-.") or "grid", data


def parse(text: str, label: str) -> Any:
    """YAML text to plain values; a mistake is told with its line."""
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{label}: {line}not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{label}: not YAML: {str(error).splitlines()[0]}") from None


def apply(data: Mapping[str, Any], overrides: list[str]) -> tuple[dict[str, Any], set[str]]:
    """The content after `--set KEY=VALUE` options, and the top keys they touched."""
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
            content["methods"] = _with_setting(content.get("methods"), keys[1], keys[2], value)
        else:
            raise UserError(f"--set {override}: a key is a word of the grid, or methods.METHOD.SETTING")
        touched.add(keys[0])
    return content, touched


def method_entries(methods: Any) -> list[tuple[str, dict[str, Any]]]:
    """(name, settings) of each entry under `methods`, in any of the ways they may be written."""
    if methods == "all":
        # Only here, because naming every method may import other packages.
        from pzsl_bench.contract import METHODS

        return [(name, {}) for name in METHODS.all()]
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


def _with_setting(methods: Any, name: str, setting: str, value: Any) -> list[dict[str, Any]]:
    try:
        entries = [] if methods is None else method_entries(methods)
    except ValueError as error:
        raise UserError(f"methods: {error}") from None
    if name not in (names := {entry for entry, _ in entries}):
        raise unknown("method in --set (not in this grid)", name, names)
    return [{n: {**settings, setting: value} if n == name else settings} for n, settings in entries]


def _text(name_or_path: str) -> str:
    names = grid_names()
    if name_or_path in names:
        return (_shipped() / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    path = Path(name_or_path)
    if path.is_dir():
        raise UserError(f"{name_or_path} is a directory, not a grid file")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path.suffix in SUFFIXES or len(path.parts) > 1:
            near = str(unknown("grid", path.stem, names)).partition("; ")[2]
            raise UserError(
                f"there is no grid file {name_or_path}; shipped grids: {near.removeprefix('known: ')}"
            ) from None
        raise unknown("grid", name_or_path, names) from None
    except UnicodeDecodeError:
        raise UserError(f"{name_or_path} is not a text file (UTF-8)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the grid file {name_or_path!r}: {error}") from None


def _shipped() -> Traversable:
    return files("pzsl_bench.grids")
