"""Reading text files that list names of images or classes, one a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from pzsl_bench.base.errors import UserError

IMAGE_ENDINGS = frozenset((".jpg", ".jpeg", ".png"))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    return [line.strip() for _, line in numbered_lines(path)]


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not empty, each with its number in the file, from 1."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not a text file in UTF-8") from None
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def require_distinct(path: Path, words: Sequence[str]) -> Sequence[str]:
    """The same words; it is an error if one is there twice, or if there are none."""
    seen: set[str] = set()
    for word in words:
        if word in seen:
            raise UserError(f"{path}: '{word}' is there twice")
        seen.add(word)
    if not words:
        raise UserError(f"{path}: is empty")
    return words


def stem(name: str) -> str:
    r"""A file name without folder and ending: "actor\0001_42.jpg" is 0001_42."""
    last = PurePosixPath(name.strip().replace("\\", "/"))
    return last.stem if last.suffix.lower() in IMAGE_ENDINGS else last.name
