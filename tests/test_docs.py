"""What the documents say is what the program does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

import pzsl_bench
from pzsl_bench.cli.main import app
from pzsl_bench.contract import FAMILIES, METHODS
from pzsl_bench.data.source import DATASETS
from pzsl_bench.planning.grid import load_grid

CHECKOUT = Path(__file__).resolve().parents[1]
GUIDES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MADE_HERE = {"scenes", "shapes", "synthetic"}


def blocks(guide: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [body for tongue, body in BLOCK.findall(guide.read_text(encoding="utf-8")) if tongue == language]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `pzsl-bench` command line of the guides and of the program's own examples."""
    line = re.compile(r"(?:^ *|`)(pzsl-bench [a-z-][^`\n]*?)(?: > .*)?(?:`|$)", re.MULTILINE)
    for source in [*GUIDES, *sorted((CHECKOUT / "docs").glob("*.md")), *sorted((CHECKOUT / "bench/cli").glob("*.py"))]:
        for command in line.findall(source.read_text(encoding="utf-8")):
            yield source.name, shlex.split(command, comments=True)[1:]


@pytest.mark.parametrize(("source", "words"), [pytest.param(s, w, id=f"{s}: {' '.join(w)}") for s, w in commands()])
def test_every_command_in_the_guides_exists(source: str, words: list[str]) -> None:
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    params = program.params
    if not words[0].startswith("-"):
        assert words[0] in program.commands
        command = program.commands[words[0]]
        if isinstance(command, TyperGroup):
            assert words[1] in command.commands
            command = command.commands[words[1]]
        params = command.params
    known = {spelling for param in params for spelling in [*param.opts, *param.secondary_opts]}
    assert {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known


def test_the_guides_show_the_commands_that_matter() -> None:
    shown = {words[0] for source, words in commands() if source == "README.md"}
    assert {"run", "plan", "table", "export", "list", "show", "doctor", "sync"} <= shown


def test_every_grid_in_the_guides_is_a_grid(tmp_path: Path) -> None:
    grids = [body for guide in GUIDES for body in blocks(guide, "yaml")]
    assert grids
    for body in grids:
        file = tmp_path / "mine.yaml"
        file.write_text(body)
        assert load_grid(str(file)).cells()


def test_every_make_target_in_the_guides_exists() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {
        word
        for guide in GUIDES
        for line in re.findall(r"(?:^|`)make ([^#`\n]+)", guide.read_text(), re.MULTILINE)
        for word in shlex.split(line)
        if "=" not in word
    }
    assert {"demo", "test", "check"} <= named <= targets


def test_every_link_of_the_guides_leads_somewhere() -> None:
    for guide in GUIDES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", guide.read_text()):
            assert (guide.parent / target).exists(), f"{guide.name} links to {target}"


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    assert project["version"] == citation["version"] == pzsl_bench.__version__
    assert re.search(
        rf"^## \[(Unreleased|{re.escape(pzsl_bench.__version__)})\]",
        (CHECKOUT / "CHANGELOG.md").read_text(),
        re.M,
    )


def test_the_citation_file_is_complete() -> None:
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == "MIT"
    assert citation["title"]
    assert citation["message"]
    assert all("name" in author or "family-names" in author for author in citation["authors"])
    known = {"abstract", "authors", "cff-version", "date-released", "doi", "keywords", "license", "message"}
    assert set(citation) <= known | {"repository-code", "title", "type", "url", "version"}


def test_every_package_folder_is_installed() -> None:
    setuptools = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"bench": "pzsl_bench", "methods": "pzsl_bench.methods", "datasets": "pzsl_bench.datasets"}
    packages = {
        ".".join([package, *init.parent.relative_to(CHECKOUT / folder).parts])
        for folder, package in folders.items()
        for init in (CHECKOUT / folder).rglob("__init__.py")
    }
    assert packages == set(setuptools["packages"])


def tracked() -> list[Path]:
    """The files that belong to the project."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [CHECKOUT / name for name in listing.stdout.split("\0") if name]


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    personal = re.compile(r"(?<![\w.~$}>-])/(?:root|work|home|Users|opt|tmp)/\w")
    found = []
    for file in tracked():
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, OSError):
            continue
        found += [f"{file.name}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if personal.search(line)]
    assert not found


def test_the_readme_counts_the_methods_of_every_family() -> None:
    rows = re.findall(
        r"^\| `(\w+)`: (.+?) \| (\d+) \| .* \| `([\w-]+)` \|$", (CHECKOUT / "README.md").read_text(), re.MULTILINE
    )
    families = Counter(cls.info.family for cls in METHODS.all().values() if cls.__module__.startswith("pzsl_bench."))
    assert {family: (meaning, int(count)) for family, meaning, count, _ in rows} == {
        family: (FAMILIES[family], count) for family, count in families.items()
    }
    for family, _, _, grid in rows:
        assert family in {METHODS.get(cell.method).info.family for cell in load_grid(grid).cells()}


@pytest.mark.parametrize("name", METHODS.builtin())
def test_the_first_lines_of_a_methods_file_name_its_family(name: str) -> None:
    cls = METHODS.get(name)
    paragraphs = (sys.modules[cls.__module__].__doc__ or "").split("\n\n")
    assert paragraphs[1].strip() == f"Family: {cls.info.family} ({FAMILIES[cls.info.family]})."


@pytest.mark.parametrize("name", METHODS.builtin())
def test_a_method_states_its_facts(name: str) -> None:
    cls = METHODS.get(name)
    assert cls.__module__ == f"pzsl_bench.methods.{name}"
    assert cls.info.name == name
    assert cls.info.title
    assert cls.info.version >= 1
    assert cls.info.citation is not None or cls.info.family == "bound"
    assert all(reason.endswith(".") for reason in cls.info.deviations)
    assert cls.__doc__


@pytest.mark.parametrize("name", DATASETS.builtin())
def test_a_dataset_states_its_facts(name: str) -> None:
    cls = DATASETS.get(name)
    assert cls.__module__.startswith(f"pzsl_bench.datasets.{name}")
    assert cls.info.name == name
    assert cls.info.title
    assert cls.info.version >= 1
    assert cls.info.licence
    assert cls.info.obtain
    assert cls.info.citation is not None or name in MADE_HERE
