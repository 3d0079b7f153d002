"""No baseline without the authors' own numbers, or a written reason why there are none.

The tests that play these numbers are run once more with other numbers in their place: a test that would still pass
compares nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from replay import OTHER_NUMBERS, PARITY

from pzsl_bench.contract import METHODS

TESTS = Path(__file__).parents[1]
FAMILIES = ("pll", "zsl", "tags")
NO_NUMBERS: dict[str, str] = {
    "ridge": "the sanity floor of the family, of no paper; its test shows that no other map fits better",
    "dem": "the release is written for TensorFlow 1, which no longer installs; its formula is tested instead",
    "pml_rank": "the paper's formulas were not at hand and no release was found; its limits are tested instead",
    "dual_prototypes": "a relative of DualCoOp on frozen vectors, of no release; its formula is tested instead",
}
"""Baselines without a fixture, and why."""
BASELINES = [name for name in METHODS.builtin() if METHODS.get(name).info.family in FAMILIES]


def players() -> list[Path]:
    """The test files that play a fixture."""
    imports = re.compile(r"^from replay import .*\bfixture\b", re.MULTILINE)
    return [path for path in sorted(TESTS.rglob("test_*.py")) if imports.search(path.read_text())]


@pytest.fixture(scope="module")
def rerun(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """(fixtures that were loaded, test files in which a comparison failed) when all expected numbers are others."""
    folder = tmp_path_factory.mktemp("parity")
    listing, report = folder / "loaded", folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-n", "0", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}", *map(str, players())]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {OTHER_NUMBERS: str(listing)}
    done = subprocess.run(command, cwd=TESTS.parent, env=env, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    noticed = {
        str(case.get("classname")).rpartition(".")[2]
        for case in ElementTree.parse(report).iter("testcase")
        for failure in case.iter("failure")
        if str(failure.get("message")).startswith(("AssertionError", "assert"))
    }
    return set(listing.read_text().split()), noticed


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BASELINES if name not in NO_NUMBERS])
def test_a_baseline_with_other_numbers_than_its_authors_would_be_noticed(
    name: str, rerun: tuple[set[str], set[str]]
) -> None:
    assert f"test_{name}" in rerun[1], (
        f"test_{name}.py compares no number of the authors, and NO_NUMBERS gives no reason"
    )


@pytest.mark.slow
def test_every_file_that_plays_numbers_compares_them(rerun: tuple[set[str], set[str]]) -> None:
    assert {path.stem for path in players()} - rerun[1] == set()


@pytest.mark.slow
def test_every_fixture_is_played_by_some_test(rerun: tuple[set[str], set[str]]) -> None:
    assert {path.stem for path in PARITY.glob("*.json")} == rerun[0]


def test_reasons_are_of_baselines_with_a_test_of_another_kind() -> None:
    assert set(NO_NUMBERS) <= set(BASELINES)
    assert all((TESTS / "methods" / f"test_{name}.py").exists() for name in NO_NUMBERS)
