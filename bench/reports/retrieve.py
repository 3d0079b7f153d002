"""Find images by text: all images of a dataset, ranked by their cosine to the text. Nothing is trained.

A text that is the name of a class gets the vector of that class, as in the exam. Any other text goes through the
encoder as it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.data.source import Source
from pzsl_bench.encoding.encode import Encoded, encode
from pzsl_bench.encoding.encoder import Encoder, NoEncoder
from pzsl_bench.encoding.extract import Progress
from pzsl_bench.encoding.prompts import unit_rows


@dataclass(frozen=True)
class Hit:
    """An image that was found."""

    image: int
    """Its number in the dataset."""
    score: float
    names: tuple[str, ...]
    """The tags that it is known to have, or its class."""
    right: bool | None
    """Whether the text is one of them; None where the text is no class, or nobody has looked."""


@dataclass(frozen=True)
class Ranking:
    """The best images for a text, best first."""

    text: str
    hits: tuple[Hit, ...]
    images: int
    """How many were ranked."""
    share: float | None
    """Of all ranked images where it is known, the fraction that has the class that the text names."""

    @property
    def verdict(self) -> str:
        """How many of the images shown are right, in a sentence; empty where the text is no class."""
        judged = [hit for hit in self.hits if hit.right is not None]
        if self.share is None or not judged:
            return ""
        right = sum(hit.right is True for hit in judged)
        return f"{right} of these {len(judged)} are '{self.text}', as are {100 * self.share:.0f} % of all {self.images}"


def retrieve(
    source: Source,
    name: str,
    encoder: Encoder,
    text: str,
    *,
    top: int,
    cache: Path,
    contrast: bool = False,
    device: str = "cpu",
    download: bool = False,
    progress: Progress | None = None,
) -> Ranking:
    """Rank all images of a dataset for a text; equal scores in the order of the images.

    With `contrast` the mean of all class texts is subtracted from the text, so that an image that is close to any
    words at all has no advantage.
    """
    text = text.strip()
    if not text:
        raise UserError("the text to look for is empty; say --tag 'a red heart'")
    is_free_text = text not in source.class_names
    if is_free_text and isinstance(encoder, NoEncoder):
        suggestion = str(unknown(f"class of {name}", text, source.class_names))
        mistake = suggestion if "did you mean" in suggestion else f"'{text}' is no class of dataset '{name}'"
        raise UserError(f"{mistake}; other words need an encoder to read them: --encoder NAME:WEIGHTS")
    if source.features is not None and source.texts is not None and not isinstance(encoder, NoEncoder):
        # With ready texts, only names of classes can be looked for. Whoever names an encoder wants it to read the text.
        source = replace(source, texts=None)
    encoded = encode(source, name, encoder, cache=cache, device=device, download=download, progress=progress)
    if is_free_text:
        query = unit_rows(encoder.load(device, download).encode_texts([text]))[0]
    else:
        query = encoded.texts[source.class_names.index(text)]
    _check(source, name, encoded, query)
    if contrast:
        query = query - encoded.texts.mean(0)
    ranked = np.setdiff1d(np.arange(len(encoded.features)), encoded.unreadable)
    if not len(ranked):
        raise UserError(f"dataset '{name}' has no image that can be read")
    scores = encoded.features[ranked] @ query
    best = np.argsort(-scores, kind="stable")[:top]
    marks = None if is_free_text else marks_of(source, source.class_names.index(text))[ranked]
    hits = [
        Hit(
            image=int(ranked[i]),
            score=float(scores[i]),
            names=names_of(source, int(ranked[i])),
            right=None if marks is None or marks[i] == 0 else bool(marks[i] > 0),
        )
        for i in best.tolist()
    ]
    known = None if marks is None else marks[marks != 0]
    return Ranking(
        text, tuple(hits), len(ranked), float((known > 0).mean()) if known is not None and len(known) else None
    )


def names_of(source: Source, image: int) -> tuple[str, ...]:
    """The tags that an image is known to have, or its class."""
    if source.tags is not None:
        return tuple(source.class_names[k] for k in np.flatnonzero(source.tags[image] > 0).tolist())
    assert source.labels is not None
    return (source.class_names[source.labels[image]],)


def marks_of(source: Source, k: int) -> NDArray[np.int8]:
    """(M,) 1 for images of a class, -1 for others, 0 where nobody has looked."""
    if source.tags is not None:
        return source.tags[:, k]
    return np.where(source.labels == k, 1, -1).astype(np.int8)


def lines(ranking: Ranking) -> list[tuple[str, ...]]:
    """A table: rank, image, score, whether it is right, and what it is known to show."""
    sign = {True: "yes", False: "no", None: ""}
    rows: Sequence[tuple[str, ...]] = [
        (str(rank), str(hit.image), f"{hit.score:.3f}", sign[hit.right], ", ".join(hit.names))
        for rank, hit in enumerate(ranking.hits, 1)
    ]
    return [("rank", "image", "score", "right", "known to show"), *rows]


def _check(source: Source, name: str, encoded: Encoded, query: NDArray[np.float32]) -> None:
    if query.shape[-1] != encoded.features.shape[1] or source.standardise or not source.aligned:
        raise UserError(
            f"dataset '{name}' has class texts of another origin than its images ({len(query)} and"
            f" {encoded.features.shape[1]} numbers), so no text can be compared with them"
        )
