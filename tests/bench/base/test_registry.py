from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.registry import ClashError, Registry

Write = Callable[[str, str], None]
KIND = "from zoo import ANIMALS\n\n\n@ANIMALS.register({name!r})\nclass Animal: ...\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """A folder on sys.path, and a way to write files there; its modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(file: str, text: str) -> None:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"zoo", "circus", "rival"}:
            del sys.modules[name]


@pytest.fixture
def animals(site: Write) -> Registry[type]:
    """A registry over the package `zoo` with the built-ins cat, dog and a module that is none."""
    site(
        "zoo/__init__.py",
        "from pzsl_bench.base.registry import Registry\nANIMALS = Registry('animal', 'zoo', plugins='zoo.animals')\n",
    )
    for name in ("cat", "dog"):
        site(f"zoo/{name}.py", KIND.format(name=name))
    site("zoo/_cage.py", "raise AssertionError('imported')")
    from zoo import ANIMALS  # type: ignore[import-not-found]

    registry: Registry[type] = ANIMALS
    return registry


def offer(site: Write, distribution: str, **points: str) -> None:
    """Pretend that a distribution with these entry points is installed."""
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    site(
        f"{distribution}-1.0.dist-info/METADATA",
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n",
    )
    site(f"{distribution}-1.0.dist-info/entry_points.txt", f"[zoo.animals]\n{lines}\n")


def test_names_are_listed_without_importing_anything(animals: Registry[type], site: Write) -> None:
    offer(site, "circus", lion="circus:Lion")
    assert animals.names() == ["cat", "dog", "lion"]
    assert not {"zoo.cat", "zoo.dog", "zoo._cage", "circus"} & set(sys.modules)


def test_asking_for_one_imports_only_that_one(animals: Registry[type]) -> None:
    assert animals.get("dog").__module__ == "zoo.dog"
    assert "zoo.cat" not in sys.modules


def test_a_misspelt_name_is_answered_with_the_nearest(animals: Registry[type]) -> None:
    with pytest.raises(UserError, match=r"^unknown animal 'dgo'; did you mean 'dog'\?$"):
        animals.get("dgo")


def test_a_new_file_is_found_without_editing_a_list(animals: Registry[type], site: Write) -> None:
    site("zoo/emu.py", KIND.format(name="emu"))
    assert animals.names() == ["cat", "dog", "emu"]
    assert animals.get("emu").__module__ == "zoo.emu"


def test_a_file_that_registers_another_name_is_told_so(animals: Registry[type], site: Write) -> None:
    site("zoo/emu.py", KIND.format(name="ostrich"))
    with pytest.raises(UserError, match=r"emu\.py registers no animal called 'emu'"):
        animals.get("emu")


def test_a_plug_in_is_loaded_when_it_is_asked_for(animals: Registry[type], site: Write) -> None:
    offer(site, "circus", lion="circus:Animal")
    site("circus.py", KIND.format(name="lion"))
    assert animals.get("lion").__module__ == "circus"
    assert set(animals.all()) == {"cat", "dog", "lion"}


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import a_package_that_nobody_has", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("class Animal: ...", "registered nothing"),
        ("", "AttributeError"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_broken_plug_in_is_reported_and_skipped(
    animals: Registry[type], site: Write, module: str, reason: str
) -> None:
    offer(site, "circus", lion="circus:Animal")
    site("circus.py", module)
    assert set(animals.all()) == {"cat", "dog"}
    assert reason in animals.broken["lion"]
    assert animals.names() == ["cat", "dog"]
    with pytest.raises(UserError, match="animal 'lion' cannot be loaded: circus:Animal"):
        animals.get("lion")


def test_a_broken_plug_in_leaves_its_neighbours_alone(animals: Registry[type], site: Write) -> None:
    offer(site, "circus", lion="circus:Animal", tiger="rival:Animal")
    site("circus.py", "1 / 0")
    site("rival.py", KIND.format(name="tiger"))
    assert set(animals.all()) == {"cat", "dog", "tiger"}


def test_a_plug_in_may_not_take_the_name_of_a_built_in(animals: Registry[type], site: Write) -> None:
    offer(site, "circus", dog="circus:Animal")
    with pytest.raises(ClashError, match=r"^circus:Animal takes the name of the built-in animal 'dog'$"):
        animals.names()


@pytest.mark.parametrize("first", ["cat", "lion"])
def test_a_plug_in_may_not_slip_in_under_another_name(animals: Registry[type], site: Write, first: str) -> None:
    offer(site, "circus", lion="circus:Animal")
    site("circus.py", KIND.format(name="cat"))
    with pytest.raises(ClashError, match="cat"):
        animals.get(first), animals.get("lion")


def test_two_plug_ins_may_not_share_a_name(animals: Registry[type], site: Write) -> None:
    offer(site, "circus", lion="circus:Animal")
    offer(site, "rival", lion="rival:Animal")
    with pytest.raises(ClashError, match="two animals are called 'lion'") as error:
        animals.get("cat")
    assert "circus:Animal" in str(error.value)
    assert "rival:Animal" in str(error.value)


def test_two_things_may_not_share_a_name() -> None:
    registry: Registry[object] = Registry("animal", "json", whole=True)
    registry.add("lion", dict)
    registry.add("lion", dict)
    with pytest.raises(ClashError, match=r"two animals are called 'lion': builtins\.dict and builtins\.list"):
        registry.add("lion", list)


def test_a_registry_held_by_one_module_lists_what_that_module_registered(site: Write) -> None:
    site(
        "zoo.py",
        "from pzsl_bench.base.registry import Registry\nANIMALS = Registry('animal', 'zoo', whole=True)\n"
        "@ANIMALS.register('yak')\ndef yak(): ...\n",
    )
    from zoo import ANIMALS

    assert ANIMALS.names() == ["yak"]
    assert ANIMALS.get("yak").__module__ == "zoo"


METHOD = """
from dataclasses import dataclass
from pzsl_bench.contract import Gradient, method, soft_cross_entropy

@method("from_elsewhere", title="From elsewhere", family="pll")
@dataclass(frozen=True)
class FromElsewhere(Gradient):
    def loss(self, output, batch):
        return soft_cross_entropy(output, batch.weights)
"""

SESSION = """
import sys
from pzsl_bench.contract import METHODS, configure
from pzsl_bench.data.source import DATASETS
names = METHODS.names()
DATASETS.names()
assert "from_elsewhere" in names and "proden" in names, names
known = ("pzsl_bench.methods.", "pzsl_bench.datasets.")
assert not [m for m in sys.modules if m.startswith(known)], "listing imports"
assert "elsewhere" not in sys.modules
print(configure("from_elsewhere", {"lr": 0.5}).lr, set(names) - set(METHODS.all()), METHODS.broken)
"""


def test_the_real_registries_are_lazy_and_open_to_other_packages(tmp_path: Path) -> None:
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[pzsl_bench.methods]\nfrom_elsewhere = elsewhere:FromElsewhere\nbent = elsewhere:Nothing\n"
    )
    (tmp_path / "elsewhere.py").write_text(METHOD)
    session = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{SESSION}"
    run = subprocess.run([sys.executable, "-c", session], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("0.5 {'bent'} {'bent': ")
