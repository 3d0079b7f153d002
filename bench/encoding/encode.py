"""Encode a dataset: the features of its images and of its class names, computed once and kept in the cache."""

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
    """Unit vectors of M images and C classes; features that come with the dataset may keep their lengths."""

    features: NDArray[np.float32]
    """(M, d), read-only; memory-mapped when it comes from the cache."""
    texts: NDArray[np.float32]
    """(C, a); a = 0 where there are no class texts."""
    scale: float
    """The logit scale that goes with them."""
    key: str
    """Hash of everything that determines the numbers."""
    unreadable: tuple[int, ...]
    """Images that could not be read; their rows are NaN."""
    views: NDArray[np.float32] | None = None
    """(V, N, d) if asked for: V augmented views of each readable training image of a seen class, in their order."""


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
    encoded = job.from_features(source.features) if source.features is not None else job.from_images()
    return replace(encoded, views=job.views(encoded)) if views else encoded


def class_texts_of(source: Source, encoder: Encoder, model: LoadedEncoder) -> NDArray[np.float32]:
    """(C, a) class vectors, each from the templates of its own class where the dataset has such templates."""
    encode = model.encode_texts
    if source.contexts is None:
        return encoder.class_texts(encode, source.class_names, source.templates)
    pairs = zip(source.class_names, source.contexts, strict=True)
    return np.concatenate([encoder.class_texts(encode, [name], templates) for name, templates in pairs])


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
        # The name without the variant, so that variants with the same images share a folder.
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.name.partition(":")[0])[:40]
        return self.cache / kind / f"{slug}-{identity_hash(key)[:16]}"

    def from_images(self) -> Encoded:
        """Features of images, encoded or from the cache."""
        if isinstance(self.encoder, NoEncoder):
            raise UserError(f"dataset '{self.name}' holds images, so it needs an encoder; try --encoder embedded")
        features, unreadable = self.images()
        texts, scale = self.texts()
        if unreadable:
            numbers = ", ".join(map(str, unreadable[:5])) + (", ..." if len(unreadable) > 5 else "")
            warnings.warn(
                f"{self.name}: {len(unreadable)} of {len(features)} images cannot be read (numbers {numbers})",
                stacklevel=3,
            )
        key = identity_hash({"images": self.image_key, "texts": self.text_key, "unreadable": list(unreadable)})
        return Encoded(features, texts, scale, key, unreadable)

    def from_features(self, rows: NDArray[np.float32]) -> Encoded:
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
        # Features that are standardised later keep their lengths.
        features = unit_rows(rows) if self.source.unit and not self.source.standardise else rows.view()
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
            # Scaled to unit length, a single column would lose its numbers.
            single = self.source.texts.shape[1] == 1
            return self.source.texts if single else unit_rows(self.source.texts), self.source.scale
        if isinstance(self.encoder, NoEncoder):
            return np.empty((len(self.source.class_names), 0), dtype=np.float32), self.source.scale
        path = self.folder("texts", self.text_key).with_suffix(".npz")
        try:
            with np.load(path, allow_pickle=False) as archive:
                texts, scale = archive["texts"], float(archive["scale"])
            if texts.ndim == 2 and len(texts) == len(self.source.class_names):
                return texts, scale
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            warnings.warn(f"class texts {path} are damaged; encoding again", stacklevel=3)
        model = self.model
        texts = class_texts_of(self.source, self.encoder, model)
        buffer = io.BytesIO()
        np.savez(buffer, texts=texts, scale=np.float64(model.scale), key=np.array(json.dumps(self.text_key)))
        write_cached(path, buffer.getvalue())
        return texts, model.scale

    def images(self) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        """(M, d) image vectors and the unreadable rows."""
        return self._extracted("features", self.image_key, np.arange(len(self.source)), 1, _as_it_is, "")

    def views(self, encoded: Encoded) -> NDArray[np.float32]:
        """(V, N, d) views of those training images of seen classes that have plain features, in the same order."""
        rows = self.source.training
        if self.source.images is None:
            assert self.source.views is not None
            views, unreadable = unit_rows(self.source.views()), encoded.unreadable
        else:
            # All views in one pass and one file: reading an image can be more work than encoding it.
            forms = Augmentation.suiting(self.encoder.preprocessing, self.source.checksum)
            what = f"{VIEWS} views of "
            view_rows, unreadable = self._extracted("views", self.view_key, rows, VIEWS, forms, what)
            views = view_rows.reshape(len(rows), VIEWS, view_rows.shape[1]).transpose(1, 0, 2)
        has_features = ~np.isin(rows, encoded.unreadable)
        broken = has_features & np.isin(rows, unreadable)
        if broken.any():
            # Methods with views train on the same images and candidate sets as all others, so no image is dropped.
            what = "image" if broken.sum() == 1 else "images"
            warnings.warn(
                f"{self.name}: {broken.sum()} {what} can no longer be read; plain features stand in for their views",
                stacklevel=3,
            )
            views = views.copy()
            views[:, broken] = encoded.features[rows[broken]]
        return views if has_features.all() else views[:, has_features]

    def _extracted(
        self, kind: str, key: dict[str, Any], picked: NDArray[np.int64], forms_per_image: int, forms: Forms, what: str
    ) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        assert self.source.images is not None
        extraction = Extraction(
            name=self.name,
            title=f"encoding {what}{self.name}",
            images=self.source.images,
            picked=picked,
            forms=forms,
            forms_per_image=forms_per_image,
            file=FeatureFile(self.folder(kind, key), key, len(picked) * forms_per_image),
        )
        return extraction.array(lambda: self.model, self.device, self.progress)


def _as_it_is(image: Image, index: int) -> list[Image]:
    return [image]
