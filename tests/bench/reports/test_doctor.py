from __future__ import annotations

import shutil
import sqlite3
from importlib.metadata import EntryPoint, PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from pzsl_bench.base.errors import MissingDataError
from pzsl_bench.contract import METHODS
from pzsl_bench.data.source import DATASETS
from pzsl_bench.reports import doctor
from pzsl_bench.reports.doctor import Check, checks


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def look(tmp_path: Path, cache: Path | None = None) -> dict[str, Check]:
    return {c.name: c for c in checks(tmp_path / "results", cache or tmp_path / "cache", None)}


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    real = doctor.version

    def fake(name: str) -> str:
        if name in versions:
            given = versions[name]
            if given is None:
                raise PackageNotFoundError(name)
            return given
        return real(name)

    monkeypatch.setattr(doctor, "version", fake)


def test_a_working_installation_is_well_and_every_line_says_what_was_found(tmp_path: Path) -> None:
    found = look(tmp_path)
    names = ("torch", "torchvision", "open_clip_torch", "mlflow", "torch and torchvision", "cpu", "memory", "cache")
    for name in (*names, "embedded encoder", "dataset shapes", "dataset synthetic", "mlflow store"):
        assert found[name].ok, found[name]
        assert found[name].detail and not found[name].fix
    assert "cores" in found["cpu"].detail
    assert found["embedded encoder"].detail.startswith("embedded@")
    assert "20 unseen" in found["dataset shapes"].detail


def test_looking_makes_neither_results_nor_a_store(tmp_path: Path) -> None:
    look(tmp_path)
    assert not (tmp_path / "results").exists() and not (tmp_path / "mlflow.db").exists()


def test_a_version_out_of_bounds_comes_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, mlflow="2.0.0", tabulate=None)
    found = look(tmp_path)
    assert not found["mlflow"].ok and "2.0.0, needs" in found["mlflow"].detail
    assert "pip install" in found["mlflow"].fix and "mlflow<3.18" in found["mlflow"].fix
    assert found["tabulate"].detail == "not installed"


def test_torch_and_torchvision_must_be_of_one_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, torch="2.11.0", torchvision="0.28.0")
    pair = look(tmp_path)["torch and torchvision"]
    assert not pair.ok and "torchvision==0.26.*" in pair.fix


def test_an_installation_without_the_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, **{"pzsl-bench": None})
    assert look(tmp_path)["pzsl-bench"].fix == "python -m pip install -e ."


def test_little_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_MEMORY", 2**60)
    memory = look(tmp_path)["memory"]
    assert not memory.ok and "--memory" in memory.fix


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_DISK", 2**60)
    assert not look(tmp_path)["results"].ok


def test_a_cache_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    cache = look(tmp_path, tmp_path / "taken")["cache"]
    assert not cache.ok and "is a file" in cache.detail and "PZSL_CACHE" in cache.fix


def test_the_cache_is_counted(tmp_path: Path) -> None:
    place = tmp_path / "cache" / "features" / "shapes-1"
    place.mkdir(parents=True)
    (place / "done.json").write_text("{}")
    (place / "features.npy").write_bytes(b"0" * 2**20)
    assert "1 finished feature arrays, 1." in look(tmp_path)["cache"].detail


def test_a_missing_embedded_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pzsl_bench.encoding.encoder.EMBEDDED", tmp_path / "gone")
    found = look(tmp_path)["embedded encoder"]
    assert not found.ok and "pip install" in found.fix


def test_weights_in_the_hub_cache_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert look(tmp_path)["open_clip weights"].detail.startswith("none but the embedded")
    place = tmp_path / "hub" / "models--timm--vit_base_patch32_clip_224.openai" / "snapshots" / "abc"
    place.mkdir(parents=True)
    (place / "open_clip_model.safetensors").write_bytes(b"")
    assert "ViT-B-32:openai" in look(tmp_path)["open_clip weights"].detail


def test_a_missing_dataset_says_how_to_obtain_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Any) -> None:
        raise MissingDataError("no folder shapes under data")

    cls = DATASETS.get("shapes")
    monkeypatch.setattr(cls, "open", gone)
    found = look(tmp_path)
    assert not found["dataset shapes"].ok and found["dataset shapes"].fix == cls.info.obtain
    assert found["dataset synthetic"].ok


@pytest.mark.parametrize("error", [RuntimeError("first line\nsecond line"), OSError("gone")])
def test_a_dataset_that_fails_in_its_own_way_does_not_stop_the_doctor(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any) -> None:
        raise error

    monkeypatch.setattr(DATASETS.get("shapes"), "open", fail)
    found = look(tmp_path)
    assert not found["dataset shapes"].ok and "\n" not in found["dataset shapes"].detail
    assert "mlflow store" in found


def test_a_store_is_counted_and_a_broken_one_is_told(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    base = sqlite3.connect(store)
    base.execute("CREATE TABLE runs (id TEXT)")
    base.execute("INSERT INTO runs VALUES ('a')")
    base.commit()
    base.close()
    assert "1 runs" in look(tmp_path)["mlflow store"].detail
    store.write_bytes(b"not a database, but long enough to be read as one" * 100)
    broken = look(tmp_path)["mlflow store"]
    assert not broken.ok and "pzsl-bench sync" in broken.fix


def test_a_remote_store_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "not looked into" in look(tmp_path)["mlflow store"].detail


def test_broken_plug_ins_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("strange", "no_such_module_at_all:thing", "pzsl_bench.methods")
    monkeypatch.setattr(METHODS, "entry_points", lambda: {"strange": point})
    monkeypatch.setattr(METHODS, "broken", {})
    found = look(tmp_path)["method plug-in strange"]
    assert not found.ok and "no_such_module_at_all" in found.detail


def test_a_check_that_itself_fails_is_one_line_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("libcudart is missing\nand more")

    monkeypatch.setattr(shutil, "disk_usage", explode)
    found = look(tmp_path)
    assert found["results"].detail == "RuntimeError: libcudart is missing"
    assert found["dataset synthetic"].ok
