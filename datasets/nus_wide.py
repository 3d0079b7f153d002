"""NUS-WIDE: photographs of Flickr with the tags of their owners, and 81 concepts that people have checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.name_lists import read_lines, require_distinct, stem
from pzsl_bench.data.source import Source, dataset
from pzsl_bench.data.tagged_features import find_features
from pzsl_bench.data.tagged_folders import Listing, TaggedFiles

BLOCK = 2**24
"""Bytes of a table that are processed together."""
ZERO, NEWLINE = ord("0"), ord("\n")
SPACES = np.array([ord(c) for c in " \t\r\n"], dtype=np.uint8)


@dataset(
    "nus_wide",
    title="NUS-WIDE",
    version=1,
    task="tags",
    citation="Chua et al. NUS-WIDE: A Real-World Web Image Database from National University of Singapore. CIVR, 2009.",
    licence="research use; images under the terms of Flickr",
    obtain="https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html",
    deviations=(
        "All images of the lists are used, also those without a concept; whether these count is a matter of the preset"
        " by which the exam is marked.",
    ),
)
class NusWide(TaggedFiles):
    """925 seen tags and 81 unseen concepts on 161,789 images to train on and 107,859 to test on (the set's own split).

    Unseen are the 81 concepts, which people have checked. Seen are the 1,000 most frequent tags of Flickr but for the
    75 that are concepts too; nobody has checked them, and a tag that is not given counts as absent.

    DIR/nus_wide (or DIR/NUS-WIDE, DIR/nuswide) holds

        ImageList/Imagelist.txt, TrainImagelist.txt, TestImagelist.txt    a path a line
        NUS_WID_Tags/TagList1k.txt, AllTags1k.txt                         1,000 names; 0 or 1, a row an image
        ConceptsList/Concepts81.txt                                       81 names
        Groundtruth/AllLabels/Labels_CONCEPT.txt                          0 or 1, a line an image
        Flickr/...                                                        the images

    Many of the images are gone from where the lists point to. Instead of Flickr the folder can hold features.npz, or a
    folder `features` of .npy files, as listed below, of all images or of those that you have. All tags take 271 MB.
    """

    places = ("nus_wide", "NUS-WIDE", "nuswide")
    layout = "ImageList, NUS_WID_Tags, ConceptsList, Groundtruth/AllLabels and Flickr"

    def open(self) -> Source:
        """Read lists and tables."""
        concept_file = self.pick("ConceptsList/Concepts81.txt", "Concepts81.txt")
        tag_file = self.pick("NUS_WID_Tags/TagList1k.txt", "TagList1k.txt")
        concepts = require_distinct(concept_file, read_lines(concept_file))
        tags = require_distinct(tag_file, read_lines(tag_file))
        paths = [line.replace("\\", "/") for line in read_lines(self._list("Imagelist.txt"))]
        seen = [i for i, tag in enumerate(tags) if tag not in set(concepts)]
        marks = np.empty((len(paths), len(seen) + len(concepts)), dtype=np.int8)
        table = self.pick("NUS_WID_Tags/AllTags1k.txt", "AllTags1k.txt")
        for rows, block in read_table(table, len(paths), len(tags)):
            marks[rows, : len(seen)] = block[:, seen]
        for column, concept in enumerate(concepts, len(seen)):
            name = f"AllLabels/Labels_{concept}.txt"
            for rows, block in read_table(self.pick(f"Groundtruth/{name}", name), len(paths), 1):
                marks[rows, column] = block[:, 0]
        marks *= 2
        marks -= 1
        listing = Listing(
            images=[stem(path) for path in paths],
            files=[self.folder / "Flickr" / path for path in paths],
            tags=marks,
            is_test=self._is_test(paths),
        )
        names = [*(tags[i] for i in seen), *concepts]
        return self.source(listing, find_features(self.folder), names, range(len(seen), len(names)))

    def _list(self, name: str) -> Path:
        return self.pick(f"ImageList/{name}", name)

    def _is_test(self, paths: list[str]) -> NDArray[np.bool_]:
        """(M,) the images of the test list; every image must be in one of the two."""
        parts = []
        for name in ("TrainImagelist.txt", "TestImagelist.txt"):
            file = self._list(name)
            part = {line.replace("\\", "/") for line in read_lines(file)}
            if strangers := part.difference(paths):
                raise UserError(f"{file}: '{min(strangers)}' is not in {self._list('Imagelist.txt').name}")
            parts.append(part)
        train, test = parts
        for path in paths:
            if (path in train) == (path in test):
                where = "both" if path in test else "neither"
                raise UserError(
                    f"{self._list('TestImagelist.txt')}: '{path}' is in {where} of the lists to train and test"
                )
        return np.array([path in test for path in paths])


def read_table(path: Path, rows: int, columns: int) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """A table of the digits 0 and 1 in blocks: the rows of each block, and its (n, columns) content."""
    done = line = 0
    for text in _whole_lines(path):
        block = _block(path, text, line, columns)
        line += text.count(b"\n")
        if done + len(block) <= rows:
            yield slice(done, done + len(block)), block
        done += len(block)
    if done != rows:
        raise UserError(f"{path}: has {done} rows, but the list of images has {rows}")


def _whole_lines(path: Path) -> Iterator[bytes]:
    """A file in blocks of whole lines."""
    rest = b""
    try:
        with path.open("rb") as file:
            while piece := file.read(BLOCK):
                whole, end, rest = (rest + piece).rpartition(b"\n")
                if end:
                    yield whole + end
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if rest.strip():
        yield rest + b"\n"


def _block(path: Path, text: bytes, before: int, columns: int) -> NDArray[np.bool_]:
    """(n, columns) the digits in a block of lines, without empty lines; `before` is the number of lines before it."""
    letters = np.frombuffer(text, dtype=np.uint8)
    is_digit = (letters == ZERO) | (letters == ZERO + 1)
    starts = np.flatnonzero(np.r_[True, letters[:-1] == NEWLINE])
    counts = np.add.reduceat(is_digit, starts, dtype=np.int64)
    # Two digits side by side are a number of two digits, neither 0 nor 1.
    strange = ~(is_digit | np.isin(letters, SPACES)) | (is_digit & np.r_[False, is_digit[:-1]])
    broken = np.logical_or.reduceat(strange, starts) | ((counts != columns) & (counts != 0))
    if broken.any():
        number = before + int(broken.argmax()) + 1
        raise UserError(f"{path}: line {number}: needed are {columns} of the digits 0 and 1, with spaces between them")
    ones: NDArray[np.bool_] = letters[is_digit] == ZERO + 1
    return ones.reshape(-1, columns)
