"""Features of your own: one .npz file, or a folder of .npy files, with labels, classes and a split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pzsl_bench.base.errors import MissingDataError, UserError, unknown
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.data.arrays import keys_of
from pzsl_bench.data.source import Dataset, Source, Table, dataset
from pzsl_bench.datasets.features.content import KEYS, Content, read_content

RAW = "raw"
PLACES = ("", "features", "zsl")
"""Folders under --data DIR in which files are looked for."""


@dataset(
    "features",
    title="Features of your own",
    version=1,
    licence="that of your data",
    citation="that of your data",
    obtain="save DIR/NAME.npz as pzsl-bench show features describes, and say --data DIR",
    variants=("NAME", f"NAME:{RAW}"),
    deviations=(
        "Rows of features and of class semantics are scaled to unit length (raw leaves features as they are).",
        "Missing attributes are -1, and become 0, where no other attribute is negative.",
    ),
)
class Features(Dataset):
    """Ready features of any origin, classic descriptors and attributes as well as CLIP features and texts.

    features:NAME      the file NAME.npz, or the folder NAME with one .npy file for each key, in DIR, DIR/features or
                       DIR/zsl, where --data says DIR
    features:NAME:raw  the same with rows of any length

    For example, forty images of eight animals, two of them unseen, written with numpy:

        import numpy as np

        random = np.random.default_rng(0)
        labels = np.repeat(np.arange(8), 5)
        attributes = random.random((8, 12))
        np.savez_compressed(
            "animals.npz",
            features=attributes[labels] @ random.normal(size=(12, 16)) + random.normal(size=(40, 16)),
            labels=labels,
            class_names=["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"],
            attributes=attributes,
            unseen=["gnu", "hen"],
        )

    With `--data .`, a grid names it `features:animals`. Without attributes and texts, class names go through the text
    tower of the encoder that made the features: --encoder NAME:WEIGHTS.
    """

    @classmethod
    def check(cls, spec: str, variants: Sequence[str]) -> None:
        """The name of a file, and perhaps `raw`."""
        name, *more = variants or ("",)
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
            raise UserError(
                f"dataset '{spec}' needs the name of a file: features:NAME for DIR/NAME.npz, with --data DIR"
            )
        if more not in ([], [RAW]):
            raise UserError(f"dataset '{spec}': after the file's name only '{RAW}' may follow, for rows of any length")

    @classmethod
    def members(cls, root: Path | None = None) -> tuple[str, ...]:
        """The files that are there."""
        return tuple(f"features:{name}" for name in files(root))

    @classmethod
    def details(cls, variants: Sequence[str]) -> Table | None:
        """The keys of a file."""
        rows = [(key, shape, meaning) for key, (shape, meaning) in KEYS.items()]
        return "Keys of a file (in brackets: without it)", [("key", "shape", "meaning"), *rows]

    def open(self) -> Source:
        """Read the file."""
        name, *raw = self.variants
        path = find(name, self.root)
        content = read_content(path)
        unit = content.unit and not raw
        if unit and (flat := ~content.features.any(1)).any():
            raise UserError(
                f"{path}: features: row {flat.argmax()} is all zeros, which no scaling brings to unit length;"
                f" leave it out, or use features:{name}:{RAW}"
            )
        return Source(
            labels=content.labels,
            is_test=content.is_test,
            class_names=content.class_names,
            seen=content.seen,
            unseen=content.unseen,
            validation=content.validation,
            checksum=_checksum(content, unit),
            features=content.features,
            texts=content.texts if content.attributes is None else content.attributes,
            names=content.names,
            scale=content.scale,
            unit=unit,
            aligned=content.attributes is None,
        )


def files(root: Path | None) -> dict[str, Path]:
    """What can be opened under a data folder: name -> path. Of two paths with one name, the first counts."""
    paths: dict[str, Path] = {}
    for path in _candidates(root):
        if "features" in keys_of(path):
            paths.setdefault(path.name if path.is_dir() else path.stem, path)
    return paths


def find(name: str, root: Path | None) -> Path:
    """The file or folder of that name under the data folder."""
    for path in _candidates(root):
        if (path.name if path.is_dir() else path.stem) == name and (path.is_file() or keys_of(path)):
            return path
    if root is None:
        place = "--data DIR is not given"
    elif others := files(root):
        raise MissingDataError(f"{root}: {unknown('file of dataset features', name, others)}")
    else:
        place = f"{root} has no {name}.npz, nor have its folders features and zsl"
    raise MissingDataError(f"features:{name} is not here: {place}; pzsl-bench show features says how to write one")


def _candidates(root: Path | None) -> Iterator[Path]:
    """Every .npz file and every folder, in the order of search."""
    for place in PLACES if root is not None else ():
        folder = Path(root or "", place)
        yield from sorted(folder.glob("*.npz"))
        yield from sorted(path for path in folder.glob("*") if path.is_dir() and path.name not in PLACES)


def _checksum(content: Content, unit: bool) -> str:
    """Hash of the content as read, so that it does not depend on how a copy is stored."""
    semantics = content.texts if content.attributes is None else content.attributes
    parts = (content.features, content.labels, content.is_test, *(() if semantics is None else (semantics,)))
    facts = {
        "features": Features.info.version,
        "shape": [*content.features.shape, *(() if semantics is None else semantics.shape)],
        "content": [hashlib.sha256(np.ascontiguousarray(part).data).hexdigest() for part in parts],
        "attributes": content.attributes is not None,
        "unit": unit,
        "scale": content.scale,
    }
    if content.names is not None:
        facts["names"] = hashlib.sha256(np.ascontiguousarray(content.names).data).hexdigest()
    return identity_hash(facts)
