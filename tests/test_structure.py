"""The map of the house in `bench/__init__.py` is the house: rooms, their laws and the direction of imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import pzsl_bench

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDERS = {"bench": "pzsl_bench", "methods": "pzsl_bench.methods", "datasets": "pzsl_bench.datasets"}
LAWS = dict(re.findall(r"^    (\w+) +(\S.*)$", pzsl_bench.__doc__ or "", re.MULTILINE))
"""Room to law, in the order of the map."""
ROOMS = list(LAWS)
GUESTS = {
    "methods": {"base", "contract", "blocks", "synonyms"},
    "datasets": {"base", "data", "encoding"},
}
"""What the two folders beside the house may import, as the last line of the map says."""
OUTSIDE = {"pzsl_bench", "pzsl_bench.__main__", "pzsl_bench.source", "pzsl_bench.clip_space"}
"""The doorstep: the package itself, its command, and names that have moved; see also `tags`."""


def sources() -> dict[str, str]:
    """Every module of the package with its text."""
    found = {}
    for folder, package in FOLDERS.items():
        for file in (CHECKOUT / folder).rglob("*.py"):
            parts = file.relative_to(CHECKOUT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join([package, *parts])] = file.read_text(encoding="utf-8")
    return found


def imports(text: str, modules: Mapping[str, str]) -> Iterator[str]:
    """Modules of the package that a text imports, wherever in the text, for running or for types."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in modules else node.module


def room(module: str) -> str:
    """The room that a module is in, or the folder beside the house."""
    return module.split(".")[1]


def turned(modules: Mapping[str, str]) -> list[str]:
    """Imports that go against the map."""
    found = []
    for module, text in modules.items():
        if module in OUTSIDE or room(module) == "tags":
            continue
        here = room(module)
        allowed = GUESTS[here] | {here} if here in GUESTS else set(ROOMS[: ROOMS.index(here) + 1])
        found += [
            f"{module} imports {other}"
            for other in imports(text, modules)
            if other != "pzsl_bench" and (other in OUTSIDE or room(other) not in allowed)
        ]
    return found


def circles(modules: Mapping[str, str]) -> list[list[str]]:
    """Modules that import each other, by way of others too: strongly connected components of more than one."""
    arrows = {module: set(imports(text, modules)) - {module} for module, text in modules.items()}

    def reached(start: str) -> set[str]:
        seen, waiting = set[str](), [start]
        while waiting:
            for other in arrows[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    reach = {module: reached(module) for module in arrows}
    rings = {tuple(sorted(m for m in reach[module] if module in reach[m])) for module in arrows}
    return [list(ring) for ring in sorted(rings) if ring]


def test_every_room_is_on_the_map_and_every_folder_is_a_room() -> None:
    folders = {path.parent.name for path in (CHECKOUT / "bench").glob("*/__init__.py")}
    assert folders - {"tags"} == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_opens_with_its_law(name: str) -> None:
    text = (CHECKOUT / "bench" / name / "__init__.py").read_text(encoding="utf-8")
    assert (ast.get_docstring(ast.parse(text)) or "").splitlines()[0] == LAWS[name]


def test_the_guide_for_contributors_shows_the_same_map() -> None:
    guide = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `bench/(\w+)/` \| (.*) \|$", guide, re.MULTILINE) == list(LAWS.items())


def test_no_module_lies_outside_the_rooms() -> None:
    loose = {module for module in sources() if module.count(".") == 1 and module.startswith("pzsl_bench.")}
    assert loose - OUTSIDE == {f"pzsl_bench.{name}" for name in [*ROOMS, *GUESTS, "tags"]}


def test_imports_go_one_way() -> None:
    assert turned(sources()) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circles(sources()) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("pzsl_bench.training.fit", "from pzsl_bench.judging.judge import judge"),
        ("pzsl_bench.base.errors", "import pzsl_bench.base.registry"),
        ("pzsl_bench.encoding.encoder", "from pzsl_bench.datasets import shapes"),
        ("pzsl_bench.methods.proden", "from pzsl_bench.training.fit import fit"),
        ("pzsl_bench.datasets.coco", "def late():\n    from pzsl_bench.contract import Study"),
    ],
)
def test_an_arrow_that_is_turned_is_noticed(module: str, line: str) -> None:
    modules = sources()
    modules[module] += f"\n{line}\n"
    assert turned(modules) or circles(modules)


@pytest.mark.parametrize("name", ["base", "records", "data"])
def test_the_rooms_that_need_no_torch_do_not_import_it(name: str) -> None:
    light = [text for module, text in sources().items() if module.startswith(f"pzsl_bench.{name}.")]
    assert light
    names = {
        top
        for text in light
        for node in ast.walk(ast.parse(text))
        for top in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not {n for n in names if n.partition(".")[0] in ("torch", "open_clip")}
