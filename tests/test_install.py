"""The three ways to install: a wheel, a plain and a strict editable form, each from a copy of the checkout.

Each goes into a fresh environment that borrows every installed package but this one and `datasets`: nothing
is downloaded, and no other copy of the package can be found by mistake.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".*", "results", "build", "dist", "*.egg-info", "__pycache__", "mlruns", "mlartifacts", "mlflow.db*"
)
FOLDERS = {"bench": "pzsl_bench", "methods": "pzsl_bench/methods", "datasets": "pzsl_bench/datasets"}
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the package in it."""

    home: Path
    checkout: Path
    """The copy it was installed from."""
    code: Path
    """Where the package's code has to lie."""

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    @property
    def packages(self) -> Path:
        [folder] = self.home.glob("lib/python3*/site-packages")
        return folder

    def run(self, *arguments: str, where: Path) -> str:
        """What a command of this environment prints: options of Python, or a console script with its own."""
        first, *rest = arguments
        command = [self.python, *arguments] if first.startswith("-") else [self.home / "bin" / first, *rest]
        done = subprocess.run(command, cwd=where, env=clean(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()


def clean() -> dict[str, str]:
    """The surroundings without anything that leads Python elsewhere."""
    away = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MLFLOW_TRACKING_URI")
    return {k: v for k, v in os.environ.items() if k not in away} | {"PYTHONNOUSERSITE": "1"}


@pytest.fixture(scope="module")
def borrowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to the installed packages, less this one and any `datasets`."""
    links = tmp_path_factory.mktemp("borrowed")
    for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(site).iterdir():
            ours = entry.name.startswith(("pzsl_bench", "__editable__", "datasets", "pzsl-bench"))
            if not ours and entry.suffix != ".pth":
                (links / entry.name).symlink_to(entry)
    return links


@pytest.fixture(scope="module", params=["wheel", "editable", "strict"])
def installed(request: pytest.FixtureRequest, borrowed: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The package, installed in one of the three ways."""
    # The space in the path is deliberate.
    base = tmp_path_factory.mktemp(f"{request.param} form")
    home, checkout = base / "venv", base / "checkout"
    shutil.copytree(CHECKOUT, checkout, ignore=LEFT_OUT)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    code = {"wheel": home, "editable": checkout / "bench", "strict": checkout / "build"}[request.param]
    environment = Environment(home, checkout, code)
    (environment.packages / "borrowed.pth").write_text(f"{borrowed}\n")
    pip = ("-m", "pip", "install", *OFFLINE)
    if request.param == "wheel":
        environment.run("-m", "pip", "wheel", *OFFLINE, "--wheel-dir", str(base), str(checkout), where=base)
        [wheel] = base.glob("pzsl_bench-*.whl")
        environment.run(*pip, str(wheel), where=base)
    elif request.param == "editable":
        environment.run(*pip, "--editable", str(checkout), where=base)
    else:
        strict = ("--config-settings", "editable_mode=strict")
        environment.run(*pip, *strict, "--editable", str(checkout), where=base)
    return environment


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with nothing in it."""
    return tmp_path


@pytest.fixture
def hugging_face(installed: Environment) -> Iterator[None]:
    """A stand-in for Hugging Face's package, installed."""
    folder = installed.packages / "datasets"
    folder.mkdir()
    (folder / "__init__.py").write_text("from datasets.inner import MARK\n")
    (folder / "inner.py").write_text("MARK = 'theirs'\n")
    yield
    shutil.rmtree(folder)


IMPORTS = """
import pzsl_bench, pzsl_bench.methods, pzsl_bench.datasets
from importlib.metadata import version
assert version("pzsl-bench") == pzsl_bench.__version__
for module in (pzsl_bench, pzsl_bench.methods, pzsl_bench.datasets):
    print(module.__file__)
"""

DATA = """
from importlib.resources import files
for package in ("pzsl_bench", "pzsl_bench.methods", "pzsl_bench.datasets"):
    todo = [(package, files(package))]
    while todo:
        name, folder = todo.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                todo.append((f"{name}/{entry.name}", entry))
            elif not entry.name.endswith(".pyc"):
                print(f"{name.replace('.', '/')}/{entry.name}")
"""


def shipped(checkout: Path) -> set[str]:
    """Every file of the three folders, as it is called in the package."""
    return {
        f"{package}/{file.relative_to(checkout / folder).as_posix()}"
        for folder, package in FOLDERS.items()
        for file in (checkout / folder).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }


def test_the_three_packages_are_imported_from_this_installation(installed: Environment, empty: Path) -> None:
    homes = [Path(line) for line in installed.run("-c", IMPORTS, where=empty).splitlines()]
    assert homes[0].is_relative_to(installed.code)
    assert all(home.is_relative_to(installed.home) or home.is_relative_to(installed.checkout) for home in homes)


def test_every_file_of_the_package_is_there(installed: Environment, empty: Path) -> None:
    found = set(installed.run("-c", DATA, where=empty).splitlines())
    assert shipped(installed.checkout) - found == set()
    assert "pzsl_bench/py.typed" in found


@pytest.mark.parametrize("installed", ["wheel"], indirect=True)
def test_the_wheel_holds_the_package_and_nothing_else(installed: Environment) -> None:
    [wheel] = installed.checkout.parent.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == shipped(installed.checkout)


def test_the_console_script_tells_its_version(installed: Environment, empty: Path) -> None:
    version = installed.run("-c", "import pzsl_bench; print(pzsl_bench.__version__)", where=empty)
    assert version in installed.run("pzsl-bench", "--version", where=empty)
    assert version in installed.run("pzsl-bench", "--version", where=installed.checkout)


@pytest.mark.parametrize("place", ["empty folder", "checkout"])
def test_import_datasets_finds_nothing_where_nothing_is_installed(
    installed: Environment, empty: Path, place: str
) -> None:
    attempt = "try: import datasets\nexcept ModuleNotFoundError as error: print(error.name, error)"
    where = empty if place == "empty folder" else installed.checkout
    assert installed.run("-c", attempt, where=where) == "datasets No module named 'datasets'"


@pytest.mark.parametrize("place", ["empty folder", "checkout"])
@pytest.mark.usefixtures("hugging_face")
def test_import_datasets_finds_hugging_faces_package(installed: Environment, empty: Path, place: str) -> None:
    where = empty if place == "empty folder" else installed.checkout
    both = (
        "import datasets, datasets.inner, pzsl_bench.datasets as ours\n"
        "from importlib import import_module\n"
        "assert import_module('datasets') is datasets is not ours\n"
        "print(datasets.MARK, datasets.inner.__file__, datasets.__spec__.origin)"
    )
    inside = installed.packages / "datasets"
    expected = f"theirs {inside / 'inner.py'} {inside / '__init__.py'}"
    assert installed.run("-c", both, where=where) == expected


@pytest.mark.parametrize("installed", ["editable"], indirect=True)
@pytest.mark.usefixtures("hugging_face")
def test_pytest_and_mlflow_work_at_the_checkouts_root(installed: Environment) -> None:
    collected = installed.run(
        "-m", "pytest", "--collect-only", "-q", "tests/bench/base/test_errors.py", where=installed.checkout
    )
    assert "test_a_misspelt_name_gets_the_nearest_one" in collected
    assert "version" in installed.run("-m", "mlflow", "--version", where=installed.checkout)


@pytest.mark.parametrize("installed", ["editable"], indirect=True)
@pytest.mark.usefixtures("hugging_face")
def test_mlflow_ui_starts_at_the_checkouts_root(installed: Environment) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(installed.python), "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    log = installed.home / "ui.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command, cwd=installed.checkout, env=clean(), stdout=out, stderr=out, start_new_session=True
        )
    try:
        assert answers(f"http://127.0.0.1:{port}/health", server, seconds=40), log.read_text()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(url: str, server: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the server says that it is well before it dies or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False
