"""Real partial-label data: features with the candidate sets that the world gave them, from the public .mat files."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base import randomness
from pzsl_bench.base.errors import MissingDataError, UserError, unknown
from pzsl_bench.base.identity import identity_hash
from pzsl_bench.data.source import Dataset, Source, Table, dataset
from pzsl_bench.datasets.pll_mat.catalogue import PAGE, SETS, TERMS, PublicSet, plain
from pzsl_bench.datasets.pll_mat.matfile import Content, read

FOLDS = 10
EXAMPLES_PER_TEST = 5
"""A random split tests on one of so many examples."""
SPLIT = "split"


@dataset(
    "pll_mat",
    title="Real partial-label sets",
    version=1,
    licence=TERMS,
    obtain=f"{PAGE} (data sets for partial label learning); put the .mat files into DIR/pll and say --data DIR",
    citation="each set has its own: pzsl-bench show pll_mat:msrcv2",
    variants=(*SETS, f"msrcv2:{SPLIT}"),
    deviations=(
        "All classes of a file are kept, also those without an example.",
        "Columns are z-scored on the training examples of each split, not on all examples as in some released code.",
    ),
)
class PLLMat(Dataset):
    """Faces named by captions, segments by whole pictures, words by every part of speech that a dictionary allows.

    Here ambiguity is not drawn but found: the ambiguity `given` (rate 0) hands the sets of the file to the methods.
    There are no images and no class texts, hence no unseen classes. Columns are z-scored on the training examples of
    each split.

    pll_mat:msrcv2        ten-fold cross-validation: seed s is fold s % 10 of repetition s // 10; every fold tests on
                          a tenth of the examples, rounded down, and trains on all others
    pll_mat:msrcv2:split  repeated random splits: every seed tests on a fifth of its own, rounded down

    Files lie in DIR/pll or in DIR, where --data says DIR.
    """

    @classmethod
    def check(cls, spec: str, variants: Sequence[str]) -> None:
        """The name of a set, and perhaps `split`."""
        if not variants:
            raise UserError(f"dataset '{spec}' needs the name of a set: {', '.join(f'{spec}:{name}' for name in SETS)}")
        name, *protocol = variants
        if name not in SETS:
            raise unknown("set of dataset 'pll_mat'", name, SETS)
        if protocol not in ([], [SPLIT]):
            raise UserError(f"dataset '{spec}': after the set's name only '{SPLIT}' may follow, for random splits")

    @classmethod
    def members(cls, root: Path | None = None) -> tuple[str, ...]:
        """Every public set."""
        return tuple(f"pll_mat:{name}" for name in SETS)

    @classmethod
    def details(cls, variants: Sequence[str]) -> Table | None:
        """The sets in a table, or all that is known of one."""
        return about(SETS[variants[0]]) if variants else overview()

    def open(self) -> Source:
        """Read the file."""
        name, *protocol = self.variants
        public_set = SETS[name]
        path = find(public_set, self.root)
        content = read(path)
        examples, classes = content.candidates.shape
        if examples < FOLDS:
            raise UserError(f"{path}: data has {examples} rows, where {FOLDS} folds need at least {FOLDS}")
        _warn_of_another_version(path, public_set)
        rule = random_split if protocol else fold
        split: Callable[[int], NDArray[np.bool_]] = partial(rule, f"pll_mat:{name}", examples)
        return Source(
            labels=content.labels,
            is_test=split(0),
            class_names=tuple(f"class {k + 1}" for k in range(classes)),
            seen=tuple(range(classes)),
            unseen=(),
            validation=(),
            checksum=_checksum(content),
            features=content.features,
            candidates=content.candidates,
            split=split,
            standardise=True,
            ordinal=public_set.ordinal,
        )


def fold(name: str, examples: int, seed: int) -> NDArray[np.bool_]:
    """(N,) the test examples of fold seed % 10 in repetition seed // 10.

    Folds are of one size, so that they can be trained together; the remaining examples are trained on in every fold.
    """
    repetition, number = divmod(seed, FOLDS)
    size = examples // FOLDS
    order = randomness.permutation(randomness.key(name, "folds", repetition), examples)
    return _mask(order[number * size : (number + 1) * size], examples)


def random_split(name: str, examples: int, seed: int) -> NDArray[np.bool_]:
    """(N,) the test examples of a seed's own random split."""
    order = randomness.permutation(randomness.key(name, "split", seed), examples)
    return _mask(order[: examples // EXAMPLES_PER_TEST], examples)


def _mask(rows: NDArray[np.int64], examples: int) -> NDArray[np.bool_]:
    mask = np.zeros(examples, dtype=bool)
    mask[rows] = True
    return mask


def find(public_set: PublicSet, root: Path | None) -> Path:
    """The set's file under the data folder, whatever the case and punctuation of its name."""
    if root is not None:
        name = plain(Path(public_set.file).stem)
        for folder in (root / "pll", root):
            files = sorted(folder.glob("*")) if folder.is_dir() else []
            for path in files:
                if path.suffix.lower() == ".mat" and plain(path.stem) == name:
                    return path
    place = "and --data DIR is not given" if root is None else f"neither in {root / 'pll'} nor in {root}"
    raise MissingDataError(
        f"{public_set.title} is not here ({public_set.file}, {place}); get it from {public_set.obtain},"
        " put the .mat file into DIR/pll and say --data DIR"
    )


def _warn_of_another_version(path: Path, public_set: PublicSet) -> None:
    if public_set.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != public_set.sha256:
        warnings.warn(
            f"{path} is not the file of {public_set.title} that circulates (its SHA-256 differs);"
            " results may differ too",
            stacklevel=3,
        )


def _checksum(content: Content) -> str:
    """Hash of the content as read, so that it does not depend on how a copy is stored."""
    parts = (content.features, content.labels, np.packbits(content.candidates))
    facts = {
        "shape": [*content.features.shape, content.candidates.shape[1]],
        "content": [hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest() for part in parts],
    }
    return identity_hash({"pll_mat": PLLMat.info.version, **facts})


def overview() -> Table:
    """The sets, one a row."""
    head = ("set", "examples", "features", "classes", "candidates", "file")
    rows = [(name, s.examples, s.features, s.classes, f"{s.candidates:.2f}", s.file) for name, s in SETS.items()]
    return "Sets (candidates: mean size of the candidate sets)", [head, *rows]


def about(public_set: PublicSet) -> Table:
    """All that is known of a set, one fact a row."""
    origin = "" if public_set.sha256 else " (as papers report it)"
    empty = f", {public_set.empty} of them without examples" if public_set.empty else ""
    classes = f"{public_set.classes} classes{empty}{origin}"
    facts = {
        "task": public_set.task,
        "size": f"{public_set.examples} examples, {public_set.features} features, {classes}",
        "candidates": f"{public_set.candidates:.2f} on average",
        "file": public_set.file + (f", {public_set.bytes} bytes" if public_set.bytes else ""),
        "sha256": public_set.sha256,
        "obtain": public_set.obtain,
        "citation": public_set.citation,
        "remark": public_set.remark,
    }
    return f"{public_set.title} (set)", [(f"{name}:", text) for name, text in facts.items() if text]
