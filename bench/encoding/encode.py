"""A dataset through an encoder: features of its images and of its class names, made once and remembered."""

from __future__ import annotations

import hashlib
import io
import json
import re
import warnings
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.data.source import Source
from pzsl_bench.encoding.cache import write_cached
from pzsl_bench.encoding.crops import RECIPE, VIEWS, Augmentation
from pzsl_bench.encoding.encoder import Encoder, NoEncoder
from pzsl_bench.encoding.extract import BLOCK, Extraction, Forms, Progress
from pzsl_bench.encoding.feature_file import FeatureFile
from pzsl_bench.encoding.prompts import unit_rows

if TYPE_CHECKING:
    from PIL.Image import Image

    from pzsl_bench.encoding.open_clip_model import LoadedEncoder

FORMAT = 1
"""Raised when the meaning of a cached array changes."""


@dataclass(frozen=True)
class Encoded:
    """Unit vectors of M images and C classes; features that no encoder made are as they came."""

    features: NDArray[np.float32]
    """(M, d), read-only; memory-mapped when it comes from the cache."""
    texts: NDArray[np.float32]
    """(C, a); a = 0 where nothing makes texts."""
    scale: float
    """The logit scale that goes with them."""
    key: str
    """Hash of all that determines the numbers."""
    unreadable: tuple[int, ...]
    """Images that could not be read; their rows are NaN."""
    views: NDArray[np.float32] | None = None
    """(V, N, d) if asked for: V augmented forms of each readable training image of a seen class, in their order."""


def encode(
    source: Source,
    name: str,
    encoder: Encoder,
    *,
    cache: Path,
    device: str = "cpu",
    download: bool = False,
    progress: Progress | None = None,
    views: bool = False,
) -> Encoded:
    """Features of a dataset, and augmented views if wanted; the model is loaded only when the cache lacks something."""
    if views and not source.has_views:
        raise UserError(f"dataset '{name}' has no images of which views could be encoded; views: noise works there")
    job = _Job(source, name, encoder, cache, device, download, progress or (lambda what, done, total: None))
    made = job.ready(source.features) if source.features is not None else job.encoded()
    return replace(made, views=job.views(made)) if views else made


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
            "encoder": self.encoder.of_images.fingerprint(),
            "preprocessing": self.encoder.preprocessing,
            "dataset": self.source.checksum,
            "images": len(self.source),
            "view": 0,
            "block": BLOCK,
        }

    @property
    def view_key(self) -> dict[str, Any]:
        """What determines the plain features, the recipe of the views, and which images have them."""
        rows = hashlib.sha256(self.source.training.astype("<i8").tobytes()).hexdigest()
        return {**self.image_key, "view": RECIPE, "rows": rows[:16]}

    @property
    def text_key(self) -> dict[str, Any]:
        key = {"format": FORMAT, "names": list(self.source.class_names), "templates": list(self.source.templates)}
        if self.source.contexts is not None:
            key["contexts"] = list(self.source.contexts)
        if self.source.texts is not None:
            return {**key, "dataset": self.source.checksum}
        return {**key, "encoder": self.encoder.fingerprint()}

    def folder(self, kind: str, key: dict[str, Any]) -> Path:
        # The name without its variants, so that variants with the same images share a folder.
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.name.partition(":")[0])[:40]
        return self.cache / kind / f"{slug}-{identity_hash(key)[:16]}"

    def encoded(self) -> Encoded:
        """Features of images."""
        if isinstance(self.encoder, NoEncoder):
            raise UserError(f"dataset '{self.name}' holds images, so it needs an encoder; try --encoder embedded")
        features, unreadable = self.images()
        texts, scale = self.texts()
        if unreadable:
            some = ", ".join(map(str, unreadable[:5])) + (", ..." if len(unreadable) > 5 else "")
            warnings.warn(
                f"{self.name}: {len(unreadable)} of {len(features)} images cannot be read (numbers {some})",
                stacklevel=3,
            )
        key = identity_hash({"images": self.image_key, "texts": self.text_key, "unreadable": list(unreadable)})
        return Encoded(features, texts, scale, key, unreadable)

    def ready(self, given: NDArray[np.float32]) -> Encoded:
        """Features that the dataset brings itself."""
        if self.source.texts is not None and not isinstance(self.encoder, NoEncoder):
            raise UserError(
                f"dataset '{self.name}' brings ready features and class texts; encoder '{self.encoder.spec}' "
                "has nothing to do there, use 'none'"
            )
        if self.source.standardise and not isinstance(self.encoder, NoEncoder):
            raise UserError(f"no encoder made the features of dataset '{self.name}'; use encoder 'none'")
        if self.source.texts is None and isinstance(self.encoder, NoEncoder) and self.source.unseen:
            raise UserError(f"dataset '{self.name}' brings no class texts, so it needs the encoder of its features")
        # What is standardised later keeps its lengths.
        features = unit_rows(given) if self.source.unit and not self.source.standardise else given.view()
        features.flags.writeable = False
        texts, scale = self.texts()
        if self.source.texts is None and texts.shape[1] not in (0, features.shape[1]):
            raise UserError(
                f"encoder '{self.encoder.spec}' did not make the features of dataset '{self.name}': it makes"
                f" {texts.shape[1]} numbers of a class name, but the features have {features.shape[1]}"
            )
        unreadable = tuple(np.flatnonzero(np.isnan(features[:, 0])).tolist())
        key = identity_hash({"ready": self.source.checksum, "texts": self.text_key})
        return Encoded(features, texts, scale, key, unreadable)

    def texts(self) -> tuple[NDArray[np.float32], float]:
        """(C, a) class vectors and the logit scale."""
        if self.source.texts is not None:
            # The lengths of a single column are all that it says.
            single = self.source.texts.shape[1] == 1
            return self.source.texts if single else unit_rows(self.source.texts), self.source.scale
        if isinstance(self.encoder, NoEncoder):
            return np.empty((len(self.source.class_names), 0), dtype=np.float32), self.source.scale
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
        texts = self._said(model)
        buffer = io.BytesIO()
        np.savez(buffer, texts=texts, scale=np.float64(model.scale), key=np.array(json.dumps(self.text_key)))
        write_cached(path, buffer.getvalue())
        return texts, model.scale

    def _said(self, model: LoadedEncoder) -> NDArray[np.float32]:
        """(C, a) class vectors, each from its class's own templates where the dataset has such."""
        source, encode = self.source, model.encode_texts
        if source.contexts is None:
            return self.encoder.class_texts(encode, source.class_names, source.templates)
        pairs = zip(source.class_names, source.contexts, strict=True)
        return np.concatenate([self.encoder.class_texts(encode, [name], own) for name, own in pairs])

    def images(self) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        """(M, d) image vectors and the unreadable rows."""
        return self._extracted("features", self.image_key, np.arange(len(self.source)), 1, _as_it_is, "")

    def views(self, made: Encoded) -> NDArray[np.float32]:
        """(V, N, d) views of the training images of seen classes whose plain features are there, in the same order."""
        rows = self.source.training
        if self.source.images is None:
            assert self.source.views is not None
            views, unreadable = unit_rows(self.source.views()), made.unreadable
        else:
            # All views in one pass and one file: to read an image can be more work than to encode it.
            forms = Augmentation.suiting(self.encoder.preprocessing, self.source.checksum)
            what = f"{VIEWS} views of "
            found, unreadable = self._extracted("views", self.view_key, rows, VIEWS, forms, what)
            views = found.reshape(len(rows), VIEWS, found.shape[1]).transpose(1, 0, 2)
        there = ~np.isin(rows, made.unreadable)
        lost = there & np.isin(rows, unreadable)
        if lost.any():
            # Whoever wants views trains on the same images and candidate sets as everybody else.
            what = "image" if lost.sum() == 1 else "images"
            warnings.warn(
                f"{self.name}: {lost.sum()} {what} can no longer be read; plain features stand in for their views",
                stacklevel=3,
            )
            views = views.copy()
            views[:, lost] = made.features[rows[lost]]
        return views if there.all() else views[:, there]

    def _extracted(
        self, kind: str, key: dict[str, Any], picked: NDArray[np.int64], width: int, forms: Forms, what: str
    ) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        assert self.source.images is not None
        extraction = Extraction(
            name=self.name,
            title=f"encoding {what}{self.name}",
            images=self.source.images,
            picked=picked,
            forms=forms,
            width=width,
            file=FeatureFile(self.folder(kind, key), key, len(picked) * width),
        )
        return extraction.array(lambda: self.model, self.device, self.progress)


def _as_it_is(image: Image, index: int) -> list[Image]:
    return [image]
