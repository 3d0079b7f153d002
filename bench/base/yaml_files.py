"""Reading YAML files such as grids: those that ship with the package by name, the user's own by path."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from pzsl_bench.base.errors import UserError, unknown

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


# YAML 1.1 reads 1e-3 (no dot) as text, but in a rate or a learning rate it is meant as a number.
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse(text: str, label: str) -> Any:
    """YAML text to plain values; for text that is not YAML, a UserError with the line where it is known."""
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{label}: {line}not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{label}: not YAML: {str(error).splitlines()[0]}") from None


@dataclass(frozen=True)
class YamlFiles:
    """Files of one kind, such as grids."""

    kind: str
    package: str
    """Where the shipped files lie."""
    keys: str
    """The keys that such a file needs, in words for messages."""

    def names(self) -> list[str]:
        """Names of the files that ship with the package."""
        shipped = files(self.package).iterdir()
        return sorted(f.name.removesuffix(".yaml") for f in shipped if f.name.endswith(".yaml"))

    def read(self, name_or_path: str) -> tuple[str, str, dict[str, Any]]:
        """(short label for messages, default name, content) of a shipped file or of the user's own."""
        text = self._text(name_or_path)
        label = Path(name_or_path).name
        if Path(label).suffix not in SUFFIXES and name_or_path in self.names():
            label += ".yaml"
        data = parse(text, label)
        if not isinstance(data, dict):
            what = "is empty" if data is None else f"holds a {type(data).__name__}"
            raise UserError(f"{label}: {what}, where a {self.kind} needs keys such as {self.keys}")
        return label, re.sub(r"[^\w.-]+", "-", Path(label).stem).strip("-.") or self.kind, data

    def _text(self, name_or_path: str) -> str:
        names = self.names()
        if name_or_path in names:
            return (files(self.package) / f"{name_or_path}.yaml").read_text(encoding="utf-8")
        path = Path(name_or_path)
        if path.is_dir():
            raise UserError(f"{name_or_path} is a directory, not a {self.kind} file")
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if path.suffix in SUFFIXES or len(path.parts) > 1:
                near = str(unknown(self.kind, path.stem, names)).partition("; ")[2]
                raise UserError(
                    f"there is no {self.kind} file {name_or_path}; shipped {self.kind}s: {near.removeprefix('known: ')}"
                ) from None
            raise unknown(self.kind, name_or_path, names) from None
        except UnicodeDecodeError:
            raise UserError(f"{name_or_path} is not a text file (UTF-8)") from None
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read the {self.kind} file {name_or_path!r}: {error}") from None
