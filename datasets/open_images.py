"""Open Images V4: labels that people have verified, for 7,186 seen and 400 unseen classes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.name_lists import IMAGE_ENDINGS, read_lines, require_distinct, stem
from pzsl_bench.data.source import Source, dataset
from pzsl_bench.data.tagged_features import TaggedFeatures, find_features
from pzsl_bench.data.tagged_folders import Listing, TaggedFiles

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "test")
TABLE = "{0}-annotations-human-imagelabels.csv"
COLUMNS = ("ImageID", "LabelName", "Confidence")
CHUNK = 10**6
"""Rows of a table that are processed together."""
VERSION = "2018_04"


@dataset(
    "open_images",
    title="Open Images V4",
    version=1,
    task="tags",
    citation="Kuznetsova et al. The Open Images Dataset V4. IJCV 128, 2020.",
    licence="annotations CC BY 4.0; images CC BY 2.0 as their owners say",
    obtain="https://storage.googleapis.com/openimages/web/download_v4.html (and classes-unseen.txt: show open_images)",
    deviations=(
        "Images are those that you have, or have features of; papers train on what could still be downloaded then.",
        "All 400 unseen classes are tested; one without a verified image in your test part counts as the preset says.",
    ),
)
class OpenImages(TaggedFiles):
    """Photographs of Flickr with labels that people have verified as present or absent; all others are unknown.

    DIR/open_images (or DIR/OpenImages) holds, there or in folders 2018_04, train and test,

        classes-trainable.txt                            codes such as /m/011k07 of the 7,186 seen classes, one a line
        classes-unseen.txt                               codes of the 400 unseen classes, one a line
        class-descriptions.csv                           a code and a name a line
        train-annotations-human-imagelabels.csv          ImageID,Source,LabelName,Confidence
        test-annotations-human-imagelabels.csv           the same
        train/ID.jpg, test/ID.jpg                        the images that you have

    The unseen classes are those of LESA and BiAM, whose repositories hold them as positions in a pickled list. In
    datasets/OpenImages/2018_04 of akshitac8/BiAM this writes the file (a pickle can run code: look where it is from):

        python -c "import pickle, numpy as np; a = np.asarray(pickle.load(open('unseen_labels.pkl', 'rb')));
        print(*a[np.loadtxt('top_400_unseen.csv', int)], sep='\\n')" > classes-unseen.txt

    Instead of images the folder can hold features.npz, or a folder `features` of .npy files, as listed below, with the
    key images. An image takes a byte for each of 7,586 classes: the 125,436 test images take 952 MB, 100,000 training
    images 759 MB and as much again in every run that is trained on them. Take as many training images as fit.
    """

    places = ("open_images", "OpenImages", "openimages")
    layout = "classes-trainable.txt, classes-unseen.txt, class-descriptions.csv, the two tables and the images"

    def open(self) -> Source:
        """Read the classes, and the annotations of the images that are here."""
        seen, unseen = self._codes("classes-trainable.txt"), self._codes("classes-unseen.txt")
        if both := sorted({*seen} & {*unseen}):
            raise UserError(f"{self._file('classes-unseen.txt')}: class {both[0]} is in classes-trainable.txt too")
        codes = [*seen, *unseen]
        names = self._names(codes)
        ready = find_features(self.folder)
        listing = self._listing(self._images(ready), codes, skip_unknown=ready is None)
        return self.source(listing, ready, names, range(len(seen), len(codes)), keys=codes, top=(10, 20))

    def _file(self, name: str, part: str = "") -> Path:
        places = [
            f"{version}{folder}" for version in ("", f"{VERSION}/") for folder in ("", *([f"{part}/"] if part else []))
        ]
        return self.pick(*(place + name for place in places))

    def _codes(self, name: str) -> Sequence[str]:
        path = self._file(name)
        return require_distinct(path, read_lines(path))

    def _names(self, codes: Sequence[str]) -> list[str]:
        """The names of these classes, for prompts."""
        path = self._file("class-descriptions.csv")
        with path.open(encoding="utf-8", newline="") as file:
            names = {row[0]: row[1] for row in csv.reader(file) if len(row) > 1}
        for code in codes:
            if code not in names:
                raise UserError(f"{path}: has no name for class {code}")
        return [names[code] for code in codes]

    def _images(self, ready: TaggedFeatures | None) -> dict[str, Path]:
        """The images that are here, or that have ready features: name -> path."""
        if ready is None:
            folders = [self.folder / part for part in PARTS]
            files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
            images = {stem(file.name): file for file in files if file.suffix.lower() in IMAGE_ENDINGS}
            if not images:
                raise self.missing(f"{folders[0]} and {folders[1]} hold no images, and there are no features")
            return images
        if ready.images is None:
            raise UserError(
                f"{ready.path}: has no images, the key that says which image every row of features belongs to"
            )
        return {stem(name): self.folder / f"{stem(name)}.jpg" for name in ready.images}

    def _listing(self, images: dict[str, Path], codes: Sequence[str], skip_unknown: bool) -> Listing:
        """What the two tables say about these images.

        An image that is in neither table is left out with `skip_unknown`, and an error without.
        """
        import pandas as pd

        names, classes = pd.Index(list(images)), pd.Index(codes)
        tags = np.zeros((len(names), len(classes)), dtype=np.int8)
        parts = np.full(len(names), -1, dtype=np.int8)
        for number, part in enumerate(PARTS):
            path = self._file(TABLE.format(part), part)
            for chunk in _chunks(path):
                row, column = (
                    names.get_indexer(pd.Index(chunk["ImageID"])),
                    classes.get_indexer(pd.Index(chunk["LabelName"])),
                )
                is_ours = row >= 0
                if (twice := is_ours & (parts[row] == 1 - number)).any():
                    raise UserError(f"{path}: image '{chunk['ImageID'].iloc[int(twice.argmax())]}' is in both tables")
                parts[row[is_ours]] = number
                annotated = is_ours & (column >= 0)
                tags[row[annotated], column[annotated]] = 2 * _verified(path, chunk)[annotated] - 1
        known = parts >= 0
        if not (skip_unknown or known.all()):
            raise UserError(
                f"image '{names[int((~known).argmax())]}' of the features is in no table of Open Images labels"
            )
        known_names = [name for name, is_known in zip(images, known.tolist(), strict=True) if is_known]
        if not known_names:
            raise self.missing(f"of {len(names)} images none is in the tables of labels")
        return Listing(
            known_names,
            [images[name] for name in known_names],
            tags[known] if not known.all() else tags,
            parts[known] == 1,
        )


def _chunks(path: Path) -> Iterator[pd.DataFrame]:
    """A table of labels, in chunks of rows."""
    import pandas as pd

    try:
        with pd.read_csv(path, usecols=list(COLUMNS), dtype=str, chunksize=CHUNK, keep_default_na=False) as table:
            yield from table
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read as a table with {', '.join(COLUMNS)}: {reason}") from None


def _verified(path: Path, rows: pd.DataFrame) -> NDArray[np.int8]:
    """(n,) 1 where people found the class in the image, 0 where they did not."""
    confidence = rows["Confidence"]
    yes, no = confidence.isin(("1", "1.0")), confidence.isin(("0", "0.0"))
    if (broken := ~(yes | no).to_numpy()).any():
        row = int(broken.argmax())
        raise UserError(
            f"{path}: line {rows.index[row] + 2}: Confidence is '{confidence.iloc[row]}', where only 0 and 1 belong;"
            " is it a table of labels by machines?"
        )
    return yes.to_numpy().astype(np.int8)
