"""Read images for the model: in blocks, one block ahead of it, and a broken image does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from pzsl_bench.data.source import Images

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

READERS = 16
"""Most threads that read and decode image files."""


def prepared(
    images: Images, prepare: Callable[[Image, int], T], indices: Sequence[int], block: int
) -> Iterator[list[T | None]]:
    """Blocks of prepared images, None for one that cannot be read; the next block is read while this one is used.

    `prepare` gets an image and its number.
    """
    pieces = [indices[i : i + block] for i in range(0, len(indices), block)]
    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as readers:
        pending = [ahead.submit(_read, images, prepare, piece, readers) for piece in pieces[:1]]
        for next_piece in [*pieces[1:], None]:
            if not pending:
                return
            current = pending.pop().result()
            if next_piece is not None:
                pending.append(ahead.submit(_read, images, prepare, next_piece, readers))
            yield current


def readable(images: Images, index: int) -> bool:
    """Whether an image can be opened and decoded."""
    return read_one(images, lambda image, number: True, index) is not None


def read_one(images: Images, prepare: Callable[[Image, int], T], index: int) -> T | None:
    """One prepared image, or None."""
    # A broken file can raise any exception in a decoder; only a lack of memory is not the fault of the file.
    try:
        image = images[index]
        image.load()
        return prepare(image, index)
    except MemoryError:
        raise
    except Exception:
        return None


def _read(
    images: Images, prepare: Callable[[Image, int], T], indices: Sequence[int], readers: ThreadPoolExecutor
) -> list[T | None]:
    # A synthetic dataset draws many images at once; if that fails, reading them singly shows which is broken.
    read_many = getattr(images, "many", None)
    if read_many is not None:
        try:
            return [prepare(image, i) for i, image in zip(indices, read_many(list(indices)), strict=True)]
        except MemoryError:
            raise
        except Exception:
            pass
    return list(readers.map(lambda index: read_one(images, prepare, index), indices))
