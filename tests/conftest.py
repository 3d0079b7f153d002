"""Shared pieces of the tests: real data where it lies, caches that leave the user's alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two processes that compute on all cores at once wait for each other up to ten times as long as they work. Set before
# torch is imported, here and in every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Feature caches of the whole session, away from the user's own; all worker processes of a session share one."""
    workers = "PYTEST_XDIST_WORKER" in os.environ
    path = tmp_path_factory.getbasetemp().parent / "cache" if workers else tmp_path_factory.mktemp("cache")
    old = os.environ.get("PZSL_CACHE")
    os.environ["PZSL_CACHE"] = str(path)
    yield path
    if old is None:
        del os.environ["PZSL_CACHE"]
    else:
        os.environ["PZSL_CACHE"] = old


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data for tests, where PZSL_DATA points or beside the checkout."""
    here = Path(__file__).resolve().parents[1]
    path = Path(os.environ.get("PZSL_DATA", here.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set PZSL_DATA")
    return path
