"""The base class of datasets on disk whose images have several tags.

Images of such datasets are often no longer available, while features of them are. So each can be opened in two ways:
with its images, or with ready features in its folder, which then determine the images and their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import MissingDataError, UserError
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.data.name_lists import stem
from pzsl_bench.data.source import Dataset, Source, Table
from pzsl_bench.data.tagged_features import FEATURES, KEYS, TaggedFeatures

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Listing:
    """What the files of a dataset say about its M images and C classes."""

    images: Sequence[str]
    """M file names without folder and ending."""
    files: Sequence[Path]
    """Where the M image files belong; they need not exist."""
    tags: NDArray[np.int8]
    """(M, C) 1 present, -1 absent, 0 unknown."""
    is_test: NDArray[np.bool_]
    """(M,)"""


class TaggedFiles(Dataset):
    """A dataset in a folder of its own under --data DIR."""

    places: ClassVar[tuple[str, ...]] = ()
    """Names that its folder under DIR may have, the usual one first."""
    layout: ClassVar[str] = ""
    """What its folder must hold, in words for messages."""

    @classmethod
    def members(cls, root: Path | None = None) -> tuple[str, ...]:
        """The dataset itself where its folder exists, else nothing."""
        return (cls.info.name,) if cls.folder_under(root) else ()

    @classmethod
    def folder_under(cls, root: Path | None) -> Path | None:
        """The folder under --data DIR, if there is one."""
        folders = [root / place for place in cls.places] if root is not None else []
        return next((folder for folder in folders if folder.is_dir()), None)

    @classmethod
    def details(cls, variants: Sequence[str]) -> Table | None:
        """The keys of a file of ready features."""
        rows = [(key, shape, meaning) for key, (shape, meaning) in KEYS.items()]
        return f"Keys of {FEATURES}.npz (in brackets: without it)", [("key", "shape", "meaning"), *rows]

    @property
    def folder(self) -> Path:
        """The folder, which must be there."""
        if (folder := self.folder_under(self.root)) is not None:
            return folder
        if self.root is None:
            raise self.missing("--data DIR is not given")
        raise self.missing(f"{self.root} has no folder {' or '.join(self.places)}")

    def missing(self, what: str) -> MissingDataError:
        """The error for files that are not here."""
        return MissingDataError(
            f"{self.info.title} is not here ({what}); get it from {self.info.obtain},"
            f" so that DIR/{self.places[0]} holds {self.layout}, and say --data DIR"
        )

    def pick(self, *names: str) -> Path:
        """The first that exists of these files (paths relative to the folder), whatever the capitals in its name."""
        for path in (self.folder / name for name in names):
            if path.is_file():
                return path
            if path.parent.is_dir():
                alike = [other for other in path.parent.iterdir() if other.name.lower() == path.name.lower()]
                if alike:
                    return alike[0]
        raise self.missing(f"{self.folder} has no {names[0]}")

    def source(
        self,
        listing: Listing,
        ready: TaggedFeatures | None,
        class_names: Sequence[str],
        unseen: Iterable[int],
        *,
        keys: Sequence[str] | None = None,
        top: tuple[int, ...] = (3, 5),
    ) -> Source:
        """The dataset with its images or with ready features; `keys` are the classes as its own files call them."""
        rows, features, texts = np.arange(len(listing.images)), None, None
        if ready is not None:
            rows, features = self._rows(listing, ready), ready.features
            texts = ready.class_texts(keys or class_names)
        elif not any(file.is_file() for file in listing.files):
            raise self.missing(f"none of its {len(listing.files)} images is there, such as {listing.files[0]}")
        tags, is_test = listing.tags[rows], listing.is_test[rows]
        unseen_classes = tuple(sorted(unseen))
        return Source(
            labels=None,
            tags=tags,
            is_test=is_test,
            class_names=tuple(class_names),
            seen=tuple(k for k in range(len(class_names)) if k not in unseen_classes),
            unseen=unseen_classes,
            validation=(),
            checksum=self._checksum(listing, rows, tags, is_test, ready),
            images=None if ready is not None else Files(listing.files),
            features=features,
            texts=texts,
            scale=100.0 if ready is None else ready.scale,
            top=top,
        )

    def _rows(self, listing: Listing, ready: TaggedFeatures) -> NDArray[np.int64]:
        """(N,) the number of the image that every row of the features belongs to."""
        if ready.images is None:
            if len(ready.features) != len(listing.images):
                raise UserError(
                    f"{ready.path}: features has {len(ready.features)} rows, but {self.info.title} has"
                    f" {len(listing.images)} images; name yours in the key images"
                )
            return np.arange(len(listing.images))
        number = {name: i for i, name in enumerate(listing.images)}
        names = list(map(stem, ready.images))
        if strangers := [name for name in names if name not in number]:
            raise UserError(
                f"{ready.path}: images: '{strangers[0]}' is no image of {self.info.title}"
                + (f" ({len(strangers)} such names)" if len(strangers) > 1 else "")
            )
        return np.array([number[name] for name in names], dtype=np.int64)

    def _checksum(
        self,
        listing: Listing,
        rows: NDArray[np.int64],
        tags: NDArray[np.int8],
        is_test: NDArray[np.bool_],
        ready: TaggedFeatures | None,
    ) -> str:
        """Hash of names, tags and split, and of the features or the sizes of the image files."""
        content = np.array([_size(file) for file in listing.files]) if ready is None else ready.features
        facts = {
            self.info.name: self.info.version,
            "shape": [*tags.shape, *content.shape],
            "images": _hash("\n".join(listing.images[i] for i in rows.tolist()).encode()),
            "content": [_hash(np.ascontiguousarray(part).data) for part in (tags, is_test, content)],
        }
        if ready is not None:
            facts["texts"] = None if ready.texts is None else _hash(np.ascontiguousarray(ready.texts).data)
            facts["scale"] = ready.scale
        return identity_hash(facts)


class Files:
    """Image files, opened when asked for."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image:
        from PIL.Image import open as open_image

        with open_image(self.paths[index]) as image:
            return image.convert("RGB")


def _size(file: Path) -> int:
    """Size in bytes; -1 for a file that does not exist."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


def _hash(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
