"""A dataset through an encoder: features of its images and of its class names, made once and remembered."""

from __future__ import annotations

import io
import json
import re
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.cache import cache_root, unwritable, write_whole
from pzsl_bench.cell import identity_hash
from pzsl_bench.encoder import Encoder, NoEncoder, find_encoder
from pzsl_bench.errors import UserError
from pzsl_bench.feature_cache import FeatureFile
from pzsl_bench.prompts import class_texts, unit_rows
from pzsl_bench.reading import prepared, readable
from pzsl_bench.source import Source

if TYPE_CHECKING:
    from pzsl_bench.clip_model import LoadedEncoder

__all__ = ["Encoded", "cache_root", "encode", "find_encoder"]

BLOCK = 256
"""Images that are read, encoded and stored in one go; what an interruption can cost."""

SAMPLE = 64
"""Unreadable images that are tried again before a cached array is used."""

FORMAT = 1
"""Raised when the meaning of a cached array changes."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Encoded:
    """Unit vectors of M images and C classes."""

    features: NDArray[np.float32]
    """(M, d), read-only; memory-mapped when it comes from the cache."""
    texts: NDArray[np.float32]
    """(C, a)"""
    scale: float
    """The logit scale that goes with them."""
    key: str
    """Hash of all that determines the numbers."""
    unreadable: tuple[int, ...]
    """Images that could not be read; their rows are NaN."""


def encode(
    source: Source,
    name: str,
    encoder: Encoder,
    *,
    cache: Path,
    device: str = "cpu",
    download: bool = False,
    progress: Progress | None = None,
) -> Encoded:
    """Features of a dataset; the model is loaded only when the cache lacks something."""
    job = _Job(source, name, encoder, cache, device, download, progress or (lambda what, done, total: None))
    if source.features is not None:
        return job.ready(source.features)
    if isinstance(encoder, NoEncoder):
        raise UserError(f"dataset '{name}' holds images, so it needs an encoder; try --encoder embedded")
    features, unreadable = job.images()
    texts, scale = job.texts()
    if unreadable:
        some = ", ".join(map(str, unreadable[:5])) + (", ..." if len(unreadable) > 5 else "")
        warnings.warn(
            f"{name}: {len(unreadable)} of {len(features)} images cannot be read (numbers {some})", stacklevel=2
        )
    key = identity_hash({"images": job.image_key, "texts": job.text_key, "unreadable": list(unreadable)})
    return Encoded(features, texts, scale, key, unreadable)


@dataclass(frozen=True)
class _Job:
    source: Source
    name: str
    encoder: Encoder
    cache: Path
    device: str
    download: bool
    progress: Progress

    @cached_property
    def model(self) -> LoadedEncoder:
        return self.encoder.load(self.device, self.download)

    @property
    def image_key(self) -> dict[str, Any]:
        """Class names and templates are left out: renamed classes have the same images."""
        return {
            "format": FORMAT,
            "encoder": self.encoder.fingerprint(),
            "preprocessing": self.encoder.preprocessing,
            "dataset": self.source.checksum,
            "images": len(self.source.labels),
            "view": 0,
            "block": BLOCK,
        }

    @property
    def text_key(self) -> dict[str, Any]:
        key = {"format": FORMAT, "names": list(self.source.class_names), "templates": list(self.source.templates)}
        if self.source.texts is not None:
            return {**key, "dataset": self.source.checksum}
        return {**key, "encoder": self.encoder.fingerprint()}

    def folder(self, kind: str, key: dict[str, Any]) -> Path:
        # The name without its variants, so that variants with the same images share a folder.
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.name.partition(":")[0])[:40]
        return self.cache / kind / f"{slug}-{identity_hash(key)[:16]}"

    def ready(self, given: NDArray[np.float32]) -> Encoded:
        """Features that the dataset brings itself."""
        if self.source.texts is not None and not isinstance(self.encoder, NoEncoder):
            raise UserError(
                f"dataset '{self.name}' brings ready features and class texts; encoder '{self.encoder.spec}' "
                "has nothing to do there, use 'none'"
            )
        if self.source.texts is None and isinstance(self.encoder, NoEncoder):
            raise UserError(f"dataset '{self.name}' brings no class texts, so it needs the encoder of its features")
        features = unit_rows(given)
        features.flags.writeable = False
        texts, scale = self.texts()
        unreadable = tuple(np.flatnonzero(np.isnan(features[:, 0])).tolist())
        key = identity_hash({"ready": self.source.checksum, "texts": self.text_key})
        return Encoded(features, texts, scale, key, unreadable)

    def texts(self) -> tuple[NDArray[np.float32], float]:
        """(C, a) class vectors and the logit scale."""
        if self.source.texts is not None:
            return unit_rows(self.source.texts), self.source.scale
        path = self.folder("texts", self.text_key).with_suffix(".npz")
        try:
            with np.load(path, allow_pickle=False) as held:
                texts, scale = held["texts"], float(held["scale"])
            if texts.ndim == 2 and len(texts) == len(self.source.class_names):
                return texts, scale
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            warnings.warn(f"class texts {path} are damaged; encoding again", stacklevel=3)
        model = self.model
        texts = class_texts(model.encode_texts, self.source.class_names, self.source.templates)
        buffer = io.BytesIO()
        np.savez(buffer, texts=texts, scale=np.float64(model.scale), key=np.array(json.dumps(self.text_key)))
        write_whole(path, buffer.getvalue())
        return texts, model.scale

    def images(self) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        """(M, d) image vectors and the unreadable rows."""
        total = len(self.source.labels)
        folder = self.folder("features", self.image_key)
        file = FeatureFile(folder, self.image_key, total)
        held = self._held(file)
        if held is None:
            with Alone(folder):
                # Another process may have finished while this one waited.
                held = self._held(file)
                if held is None:
                    self._extract(file, total)
                    held = file.open()
        if held is None:
            raise UserError(f"the feature cache {folder} cannot be read back; --cache DIR names another place")
        return held

    def _held(self, file: FeatureFile) -> tuple[NDArray[np.float32], tuple[int, ...]] | None:
        """What the cache holds, unless images that were unreadable then (a disk that was away) can be read now."""
        held = file.open()
        if held is None or self.source.images is None:
            return held
        images = self.source.images
        if not any(readable(images, i) for i in held[1][:SAMPLE]):
            return held
        warnings.warn(f"{self.name}: images that could not be read can be read now; encoding again", stacklevel=4)
        file.forget()
        return None

    def _extract(self, file: FeatureFile, total: int) -> None:
        assert self.source.images is not None
        images, model, began = self.source.images, self.model, time.time()

        def blocks(start: int) -> Iterator[NDArray[np.float32]]:
            for ready in prepared(images, model.prepare, range(start, total), BLOCK):
                rows = np.full((len(ready), model.dim), np.nan, dtype=np.float32)
                good = [i for i, p in enumerate(ready) if p is not None]
                if good:
                    rows[good] = model.embed([p for p in ready if p is not None])
                yield rows

        information = {
            "dataset": self.name,
            "preprocessing": model.preprocessing,
            "open_clip": version("open_clip_torch"),
            "device": self.device,
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        }
        from pzsl_bench.clip_model import one_core_for_the_reader

        with one_core_for_the_reader() if hasattr(images, "many") else nullcontext():
            file.make(
                model.dim, BLOCK, blocks, information, lambda done: self.progress(f"encoding {self.name}", done, total)
            )


class Alone:
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
