"""A file appears whole or not at all, with the rights of any new file, and leaves no litter behind."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from pzsl_bench.base.files import LEFTOVER_SECONDS, part_of, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["file.json"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_it_has_the_rights_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "whole", b"")
        (tmp_path / "plain").write_bytes(b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "whole").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_what_a_killed_program_left_of_this_file_is_swept_once_it_is_old(tmp_path: Path) -> None:
    path, old, young = tmp_path / "file", tmp_path / ".file.1-ab.tmp", tmp_path / ".file.2-cd.tmp"
    other = tmp_path / ".another.1-ab.tmp"
    for left in (old, young, other):
        left.touch()
    hours_ago = time.time() - 2 * LEFTOVER_SECONDS
    os.utime(old, (hours_ago, hours_ago))
    os.utime(other, (hours_ago, hours_ago))
    with part_of(path) as part:
        assert part.parent == tmp_path and part not in (old, young)
    assert names(tmp_path) == sorted([young.name, other.name])
