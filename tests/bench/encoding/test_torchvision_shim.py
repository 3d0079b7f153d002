from __future__ import annotations

import subprocess
import sys

import pytest

from pzsl_bench.encoding import torchvision_shim


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torchvision_and_open_clip_import_after_the_shim() -> None:
    out = run("import pzsl_bench.encoding.torchvision_shim, torchvision, open_clip; print(open_clip.__version__)")
    assert out


def test_both_operators_exist_after_the_import() -> None:
    assert torchvision_shim.declared("nms") or torchvision_shim.compiled_operators_load()
    assert not torchvision_shim.declared("no_such_operator")


def test_declaring_twice_declares_nothing_new() -> None:
    assert torchvision_shim.declare_missing_operators() == []


def test_the_shim_stays_out_of_the_way_of_a_torchvision_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_shim, "declared", lambda operator: False)
    monkeypatch.setattr(torchvision_shim, "compiled_operators_load", lambda: True)
    assert torchvision_shim.declare_missing_operators() == []


def test_importing_it_after_torchvision_changes_nothing() -> None:
    code = (
        "import pzsl_bench.encoding.torchvision_shim as a, torchvision, importlib;"
        "before = len(a._libraries); importlib.reload(a); print(len(a._libraries) <= before)"
    )
    assert run(code) == "True"


def test_a_missing_torchvision_counts_as_not_fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_shim.importlib.util, "find_spec", lambda name: None)
    assert torchvision_shim.compiled_operators_load() is False
