"""Check that everything a run needs is here; a problem comes with the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

from pzsl_bench.base.errors import MissingDataError, UserError

PACKAGE = "pzsl-bench"
MAIN_PACKAGES = ("torch", "torchvision", "open_clip_torch", "mlflow")
"""Packages that get a line of their own; the others share one."""
GIGABYTE = 2**30
MIN_FREE_MEMORY, MIN_FREE_DISK = 2 * GIGABYTE, GIGABYTE


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    """The command, or the advice, that mends it; empty when all is well."""


def checks(results: Path, cache: Path, data: Path | None) -> list[Check]:
    """Everything that can be checked without computing: nothing is downloaded, and only the cache may be written."""
    groups: dict[str, Callable[[], Iterator[Check]]] = {
        "packages": _versions,
        "torch and torchvision": _torch_pair,
        "device": _device,
        "memory": _memory,
        "results": lambda: _folder("results", results, "--results DIR names another place"),
        "cache": lambda: _cache(cache),
        "embedded encoder": lambda: _embedded(cache),
        "open_clip weights": lambda: _weights(cache),
        "datasets": lambda: _datasets(data),
        "mlflow store": lambda: _mlflow(Path.cwd() / "mlflow.db"),
        "plug-ins": _plugins,
    }
    finished: list[Check] = []
    for name, run_checks in groups.items():
        # A broken installation may fail anywhere; the doctor has to reach the end of the list.
        try:
            finished += run_checks()
        except Exception as error:
            finished.append(Check(name, False, _one_line(error), "" if isinstance(error, UserError) else _reinstall()))
    return finished


def _one_line(error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [""])[0]
    return reason if isinstance(error, UserError) else f"{type(error).__name__}: {reason}"


def _reinstall(what: str = PACKAGE) -> str:
    return f'python -m pip install --upgrade "{what}"'


def _versions() -> Iterator[Check]:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        ours, facts = version(PACKAGE), metadata(PACKAGE)
    except PackageNotFoundError:
        yield Check(PACKAGE, False, "not installed", "python -m pip install -e .")
        return
    yield Check(PACKAGE, True, ours)
    bounds = SpecifierSet(facts["Requires-Python"] or "")
    python = platform.python_version()
    fix = "" if bounds.contains(python, prereleases=True) else f"make a new environment with Python {bounds}"
    yield Check("python", not fix, python if not fix else f"{python}, needs {bounds}", fix)
    others = 0
    for line in requires(PACKAGE) or []:
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        check = _installed(need.name, need)
        if need.name in MAIN_PACKAGES or not check.ok:
            yield check
        else:
            others += 1
    yield Check("other packages", True, f"{others} are here and fit")


def _installed(name: str, need: Any) -> Check:
    requirement = f"{name}{need.specifier}"
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Check(name, False, "not installed", _reinstall(requirement))
    if need.specifier.contains(installed, prereleases=True):
        return Check(name, True, installed)
    return Check(name, False, f"{installed}, needs {need.specifier}", _reinstall(requirement))


def _torch_pair() -> Iterator[Check]:
    """torch 2.N and torchvision 0.(N + 15) are released together; no other pair fits."""
    torch, vision = (version(p).split(".") for p in ("torch", "torchvision"))
    matching = int(torch[1]) + 15
    ok = int(vision[1]) == matching
    detail = f"torch {torch[0]}.{torch[1]} and torchvision {vision[0]}.{vision[1]}"
    fix = "" if ok else _reinstall(f"torchvision==0.{matching}.*")
    yield Check("torch and torchvision", ok, detail + (" belong together" if ok else " do not fit"), fix)


def _device() -> Iterator[Check]:
    import torch

    threads = torch.get_num_threads()
    yield Check("cpu", True, f"{os.cpu_count()} cores, torch uses {threads} thread(s)")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        yield Check("cuda", True, "no usable GPU" if built else "none; this torch is a CPU build")
        return
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        yield Check(f"cuda:{number}", True, f"{facts.name}, {facts.total_memory / GIGABYTE:.0f} GB")


def _memory() -> Iterator[Check]:
    import psutil

    facts = psutil.virtual_memory()
    ok = facts.available >= MIN_FREE_MEMORY
    detail = f"{facts.available / GIGABYTE:.1f} of {facts.total / GIGABYTE:.1f} GB free"
    yield Check("memory", ok, detail, "" if ok else "close other programs, or use --memory 1GB")


def _folder(name: str, folder: Path, otherwise: str) -> Iterator[Check]:
    place = folder.expanduser().absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        yield Check(name, False, f"{place} is a file", otherwise)
        return
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK | os.X_OK):
        yield Check(name, False, f"{folder} cannot be written", otherwise)
    elif free < MIN_FREE_DISK:
        yield Check(name, False, f"{folder}: only {free / GIGABYTE:.1f} GB free", f"free some space, or {otherwise}")
    else:
        yield Check(name, True, f"{folder}, {free / GIGABYTE:.0f} GB free")


def _cache(cache: Path) -> Iterator[Check]:
    for check in _folder("cache", cache, "--cache DIR, or PZSL_CACHE, names another place"):
        sizes = [f.stat().st_size for f in cache.rglob("*") if f.is_file()] if cache.is_dir() else []
        arrays = sum(len(list(cache.glob(f"{kind}/*/done.json"))) for kind in ("features", "views"))
        note = f"; {arrays} finished feature arrays, {sum(sizes) / 2**20:.1f} MB in all"
        yield Check(check.name, check.ok, check.detail + note, check.fix)


def _embedded(cache: Path) -> Iterator[Check]:
    from pzsl_bench.encoding.encoder import find_encoder

    try:
        yield Check("embedded encoder", True, find_encoder("embedded", cache).fingerprint())
    except MissingDataError as error:
        yield Check("embedded encoder", False, str(error), _reinstall())


def _weights(cache: Path) -> Iterator[Check]:
    """Pretrained tags whose weights lie in the cache of Hugging Face's library."""
    from huggingface_hub import constants

    from pzsl_bench.encoding.encoder import EXAMPLE
    from pzsl_bench.encoding.open_clip_catalogue import pretrained

    hub = Path(constants.HF_HUB_CACHE)
    specs = []
    for name, tags in pretrained(cache).items():
        for tag, facts in tags.items():
            owner, _, rest = str(facts.get("hf_hub", "")).partition("/")
            model, _, file = rest.partition("/")
            files = hub.glob(f"models--{owner}--{model}/snapshots/*/{file or 'open_clip*'}")
            if model and any(files):
                specs.append(f"{name}:{tag}")
    listed = ", ".join(specs[:8]) + (f" and {len(specs) - 8} more" if len(specs) > 8 else "")
    get = f"pzsl-bench run --grid FILE --download fetches what a grid names, such as {EXAMPLE}"
    yield Check("open_clip weights", True, listed or f"none but the embedded ones; {get}")


def _datasets(data: Path | None) -> Iterator[Check]:
    from pzsl_bench.data.source import DATASETS, find_dataset

    for name in DATASETS.all():
        cls = DATASETS.get(name)
        obtain = cls.info.obtain
        if (members := cls.members(data)) != (name,):
            yield _collection(name, members, data, obtain)
            continue
        try:
            source = find_dataset(name, data).open()
        except Exception as error:
            yield Check(f"dataset {name}", False, _one_line(error), obtain)
            continue
        kind = "images" if source.images is not None else "ready features"
        detail = f"{len(source)} {kind}, {len(source.seen)} seen and {len(source.unseen)} unseen {source.task}"
        yield Check(f"dataset {name}", True, detail)


def _collection(name: str, members: Sequence[str], data: Path | None, obtain: str) -> Check:
    """A dataset of several files, none of which has to be here."""
    from pzsl_bench.data.source import find_dataset

    present, mistakes = [], []
    for spec in members:
        try:
            find_dataset(spec, data).open()
        except MissingDataError:
            continue
        except Exception as error:
            mistakes.append(_one_line(error))
        else:
            present.append(spec)
    if mistakes:
        return Check(f"dataset {name}", False, "; ".join(mistakes), obtain)
    none = f"none of {len(members)} here" if members else "none here"
    detail = f"{', '.join(present)} of {len(members)}" if present else f"{none} (pzsl-bench show {name})"
    return Check(f"dataset {name}", True, detail)


def _mlflow(default: Path) -> Iterator[Check]:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{default}"
    if not uri.startswith("sqlite:///"):
        yield Check("mlflow store", True, f"{uri} (MLFLOW_TRACKING_URI), not looked into")
        return
    file = Path(uri.removeprefix("sqlite:///"))
    if not file.exists():
        yield Check("mlflow store", True, f"{file} is not there yet; the first run makes it")
        return
    try:
        database = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
        try:
            (runs,) = database.execute("SELECT COUNT(*) FROM runs").fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        fix = f"move {file} away, then: pzsl-bench sync"
        yield Check("mlflow store", False, f"{file} cannot be read: {error}", fix)
        return
    yield Check("mlflow store", True, f"{file}, {runs} runs")


def _plugins() -> Iterator[Check]:
    from pzsl_bench.contract import METHODS
    from pzsl_bench.data.source import DATASETS

    for registry in (METHODS, DATASETS):
        try:
            registry.all()
            count = len(registry.entry_points())
        except UserError as error:
            yield Check(f"{registry.kind} plug-ins", False, str(error), "uninstall one of the two")
            continue
        for name, reason in registry.broken.items():
            yield Check(f"{registry.kind} plug-in {name}", False, reason, "mend or uninstall that package")
        if not registry.broken:
            yield Check(f"{registry.kind} plug-ins", True, f"{count} from other packages, none broken")
