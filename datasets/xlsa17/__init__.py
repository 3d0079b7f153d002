"""The Proposed Split of zero-shot learning: ResNet-101 features and attributes of five sets."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import MissingDataError, UserError, unknown
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.data.source import Dataset, Source, Table, dataset
from pzsl_bench.datasets.xlsa17.catalogue import ARCHIVE, PAGE, SETS, TERMS, ProposedSet
from pzsl_bench.datasets.xlsa17.files import (
    FEATURES,
    PARTS,
    SPLITS,
    VALIDATION_LIST,
    Pictures,
    Split,
    classes_of,
    read_names,
    read_pictures,
    read_split,
)

RAW = "raw"
PLACES = ("xlsa17", "xlsa17/data", "zsl/xlsa17")
"""Folders under --data DIR in which the sets are looked for."""
LEAKING = "its split is version 1, whose validation images hold test images"


@dataset(
    "xlsa17",
    title="Proposed Split of zero-shot learning",
    version=1,
    licence=TERMS,
    obtain=f"{ARCHIVE} (described at {PAGE}); unpack it in DIR as DIR/xlsa17 and say --data DIR",
    citation="Xian, Lampert, Schiele and Akata. Zero-Shot Learning - A Comprehensive Evaluation of the Good, the Bad"
    " and the Ugly. TPAMI 41, 2019. https://arxiv.org/abs/1707.00600",
    variants=(*SETS, f"NAME:{RAW}"),
    deviations=(
        "Rows of features are scaled to unit length (raw leaves them as they are); the paper's methods differ in this.",
        "Missing attributes (-1) become 0.",
        "Settings are chosen in three folds of validation classes; those of fold 1 of the files come first.",
    ),
)
class XLSA17(Dataset):
    """ResNet-101 features of five sets, with attributes, in the split that most papers report.

    xlsa17:AWA2        images of seen classes are trained on (trainval_loc) or tested on (test_seen_loc); those of
                       unseen classes are tested on (test_unseen_loc)
    xlsa17:AWA2:raw    the same with features of any length

    Files lie in DIR/xlsa17/AWA2 or DIR/xlsa17/data/AWA2, where --data says DIR: res101.mat, att_splits.mat and, for the
    classes that are held out to choose settings, valclasses1.txt; without it they are those of val_loc.

    There are two versions of att_splits.mat. In the first, train_loc and val_loc hold the seen test images: settings
    chosen on them have seen the test. It is read with a warning, and nothing is tuned or calibrated on it, whatever the
    rule.
    """

    @classmethod
    def check(cls, spec: str, variants: Sequence[str]) -> None:
        """The name of a set, and perhaps `raw`."""
        if not variants:
            raise UserError(f"dataset '{spec}' needs the name of a set: {', '.join(f'{spec}:{name}' for name in SETS)}")
        name, *more = variants
        if name not in SETS:
            raise unknown("set of dataset 'xlsa17'", name, SETS)
        if more not in ([], [RAW]):
            raise UserError(f"dataset '{spec}': after the set's name only '{RAW}' may follow, for features as they are")

    @classmethod
    def members(cls, root: Path | None = None) -> tuple[str, ...]:
        """Every set."""
        return tuple(f"xlsa17:{name}" for name in SETS)

    @classmethod
    def details(cls, variants: Sequence[str]) -> Table | None:
        """The sets in a table, or all that is known of one."""
        return about(SETS[variants[0]]) if variants else overview()

    def open(self) -> Source:
        """Read the two files."""
        name, *raw = self.variants
        folder = find(name, self.root)
        split = read_split(folder / SPLITS)
        pictures = read_pictures(folder / FEATURES, split)
        seen, unseen = classes_of(folder / SPLITS, pictures, split)
        if not raw and (flat := ~pictures.features.any(1)).any():
            raise UserError(
                f"{folder / FEATURES}: features: image {flat.argmax() + 1} is all zeros, which no scaling brings to"
                f" unit length; use xlsa17:{name}:{RAW}"
            )
        validation_classes = validation(folder, split, pictures, seen)
        used = np.sort(np.concatenate([split.parts[part] for part in PARTS]))
        if len(used) < len(pictures.labels):
            pictures = Pictures(pictures.features[used], pictures.labels[used])
        is_test = ~np.isin(used, split.parts["trainval_loc"])
        return Source(
            labels=pictures.labels,
            is_test=is_test,
            class_names=tuple(map(prompt_name, split.names)),
            seen=seen,
            unseen=unseen,
            validation=validation_classes,
            untunable=LEAKING if split.leaked else "",
            checksum=_checksum(split, pictures, is_test, unit=not raw),
            features=pictures.features,
            texts=split.attributes,
            unit=not raw,
            aligned=False,
        )


def find(name: str, root: Path | None) -> Path:
    """The folder of a set under the data folder, which must have both files."""
    folders = [root / place / name for place in PLACES] if root is not None else []
    existing = [folder for folder in folders if folder.is_dir()]
    for folder in existing:
        if not (absent := [file for file in (FEATURES, SPLITS) if not (folder / file).is_file()]):
            return folder
    if existing:
        place = f"{existing[0]} has no {' and no '.join(absent)}"
    elif root is None:
        place = "--data DIR is not given"
    else:
        place = f"neither {folders[0]} nor {folders[1]} is a folder"
    raise MissingDataError(
        f"{SETS[name].title} in the Proposed Split is not here ({place}); get {ARCHIVE},"
        f" unpack it so that DIR/xlsa17/{name} holds {FEATURES} and {SPLITS}, and say --data DIR"
    )


def validation(folder: Path, split: Split, pictures: Pictures, seen: Sequence[int]) -> tuple[int, ...]:
    """The seen classes that fold 1 holds out for validation; none if the fold contains test images."""
    path = folder / SPLITS
    if leaked := split.leaked:
        warnings.warn(
            f"{path} is version 1 of the Proposed Split: its train_loc and val_loc hold {leaked} images of"
            " test_seen_loc. Its results stand as they are, but nothing is tuned or calibrated on it;"
            " in version 2 the two together are trainval_loc",
            stacklevel=2,
        )
        return ()
    if (listed := folder / VALIDATION_LIST).is_file():
        path, classes = listed, read_names(listed, split)
    elif split.has_fold:
        classes = tuple(np.unique(pictures.labels[split.parts["val_loc"]]).tolist())
    else:
        return ()
    if strangers := set(classes) - set(seen):
        raise UserError(f"{path}: class '{split.names[min(strangers)]}' is held out for validation, but is not seen")
    if set(classes) == set(seen):
        raise UserError(f"{path}: all seen classes are held out for validation; some must be left to train on")
    return classes


def prompt_name(name: str) -> str:
    """A name as prompts use it: "001.Black_footed_Albatross" and "grizzly+bear" without number and signs."""
    return re.sub(r"[_+\s]+", " ", re.sub(r"^\d+\.", "", name)).strip()


def _checksum(split: Split, pictures: Pictures, is_test: NDArray[np.bool_], unit: bool) -> str:
    """Hash of the content as read, so that it does not depend on how a copy is stored."""
    parts = (pictures.features, pictures.labels, is_test, split.attributes)
    facts = {
        "xlsa17": XLSA17.info.version,
        "shape": [*pictures.features.shape, *split.attributes.shape],
        "content": [hashlib.sha256(np.ascontiguousarray(part).data).hexdigest() for part in parts],
        "unit": unit,
    }
    return identity_hash(facts)


def overview() -> Table:
    """The sets, one a row."""
    head = ("set", "images", "attributes", "seen", "unseen", "training", "seen test", "unseen test")
    rows = [
        (name, s.images, s.attributes, s.seen, s.unseen, s.train, s.seen_test, s.unseen_test)
        for name, s in SETS.items()
    ]
    return "Sets (seen, unseen: classes; training and test: images)", [head, *rows]


def about(known: ProposedSet) -> Table:
    """All that is known of a set, one fact a row."""
    facts = {
        "classes": f"{known.seen} seen ({known.validation} of them held out by fold 1), {known.unseen} unseen",
        "images": f"{known.images}: {known.train} training; test: {known.seen_test} seen, {known.unseen_test} unseen",
        "attributes": str(known.attributes),
        "citation": known.citation,
        "remark": known.remark,
    }
    return f"{known.title} (set)", [(f"{name}:", text) for name, text in facts.items() if text]
