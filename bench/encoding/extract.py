"""Encode images with a model into an array of the cache; what the cache holds already is not encoded again."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.source import Images
from pzsl_bench.encoding.cache import unwritable
from pzsl_bench.encoding.feature_file import FeatureFile
from pzsl_bench.encoding.image_reading import prepared, readable

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from pzsl_bench.encoding.open_clip_model import LoadedEncoder

BLOCK = 256
"""Images that are read, encoded and stored together; an interruption can cost this many."""

MAX_RETRIED = 64
"""Unreadable images that are tried once more, at most, before a cached array is used."""

Progress = Callable[[str, int, int], None]
"""(what is done, images so far, images in all)."""

Forms = Callable[["Image", int], Sequence["Image"]]
"""(image, its number) -> the forms of it that are encoded: the image itself, or its views."""


@dataclass(frozen=True)
class Extraction:
    """Images of a dataset, each in one or more forms, and the file for their features."""

    name: str
    """The dataset, as messages call it."""
    title: str
    """What the progress bar shows."""
    images: Images
    picked: NDArray[np.int64]
    """Numbers of the images, in the order of the file."""
    forms: Forms
    forms_per_image: int
    """Forms of an image; their rows stand together in the file."""
    file: FeatureFile

    def array(
        self, model: Callable[[], LoadedEncoder], device: str, progress: Progress
    ) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        """The features, read-only and memory-mapped, and the numbers of the images that could not be read."""
        cached = self._cached()
        if cached is None:
            with FolderLock(self.file.folder):
                # Another process may have finished while this one waited.
                cached = self._cached()
                if cached is None:
                    self._encode(model(), device, progress)
                    cached = self._open()
        if cached is None:
            raise UserError(
                f"the feature cache {self.file.folder} cannot be read back; --cache DIR names another place"
            )
        return cached

    def _open(self) -> tuple[NDArray[np.float32], tuple[int, ...]] | None:
        opened = self.file.open()
        if opened is None:
            return None
        rows, broken = opened
        return rows, tuple(dict.fromkeys(int(self.picked[row // self.forms_per_image]) for row in broken))

    def _cached(self) -> tuple[NDArray[np.float32], tuple[int, ...]] | None:
        """The cached array; None if there is none, or if images that could not be read then can be read now.

        Such images may have lain on a disk that was not mounted.
        """
        cached = self._open()
        if cached is None or not any(readable(self.images, i) for i in cached[1][:MAX_RETRIED]):
            return cached
        warnings.warn(f"{self.name}: images that could not be read can be read now; encoding again", stacklevel=5)
        self.file.forget()
        return None

    def _encode(self, model: LoadedEncoder, device: str, progress: Progress) -> None:
        from pzsl_bench.encoding.open_clip_model import one_core_for_the_reader

        information = {
            "dataset": self.name,
            "preprocessing": model.preprocessing,
            "open_clip": version("open_clip_torch"),
            "device": device,
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

        def prepare(image: Image, index: int) -> list[Tensor]:
            return [model.prepare(form) for form in self.forms(image, index)]

        def blocks(start: int) -> Iterator[NDArray[np.float32]]:
            for block in prepared(self.images, prepare, self.picked[start // self.forms_per_image :].tolist(), BLOCK):
                rows = np.full((len(block), self.forms_per_image, model.dim), np.nan, dtype=np.float32)
                good = [i for i, forms in enumerate(block) if forms is not None]
                if good:
                    embedded = model.embed([form for forms in block if forms is not None for form in forms])
                    rows[good] = embedded.reshape(len(good), self.forms_per_image, model.dim)
                yield rows.reshape(-1, model.dim)

        def report(rows: int) -> None:
            progress(self.title, rows // self.forms_per_image, len(self.picked))

        with one_core_for_the_reader() if hasattr(self.images, "many") else nullcontext():
            self.file.make(model.dim, BLOCK * self.forms_per_image, blocks, information, report)


class FolderLock:
    """One process at a time extracts into a folder; the lock of a process that dies is free at once."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> None:
        from filelock import FileLock

        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
            self.lock.acquire()
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def __exit__(self, *_: object) -> None:
        self.lock.release()
