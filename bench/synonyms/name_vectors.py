"""The vectors of all names of every class. Each name is encoded like the class's own, through the same templates."""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.identity import identity_hash
from pzsl_bench.data.source import Source
from pzsl_bench.encoding.cache import write_cached
from pzsl_bench.encoding.encoder import Encoder
from pzsl_bench.encoding.prompts import fill, unit

if TYPE_CHECKING:
    from pzsl_bench.synonyms.words import Synonyms

FORMAT = 1
"""Raised when the meaning of a cached array changes."""
PROMPTS_AT_ONCE = 4096
"""Prompts that are encoded at a time: the vectors of many names in many templates would not fit into memory."""


def name_texts(
    source: Source,
    dataset: str,
    encoder: Encoder,
    synonyms: Synonyms,
    texts: NDArray[np.float32],
    *,
    cache: Path,
    device: str = "cpu",
    download: bool = False,
) -> NDArray[np.float32]:
    """(C, m, a) the own text (C, a) of each class, then its other names; rows of zeros where a class has fewer names.

    The encoder is loaded only if these names were not encoded before.
    """
    width = max(map(len, synonyms.names))
    vectors = np.zeros((len(texts), width, texts.shape[1]), dtype=np.float32)
    vectors[:, 0] = texts
    prompts = [_prompts(source, synonyms, c, name) for c, names in enumerate(synonyms.names) for name in names[1:]]
    if prompts:
        rows = _cached(prompts, dataset, encoder, cache, device, download)
        places = [(c, i) for c, names in enumerate(synonyms.names) for i in range(1, len(names))]
        classes, numbers = np.array(places).T
        vectors[classes, numbers] = rows
    return vectors


def every_name(
    source: Source,
    dataset: str,
    encoder: Encoder,
    texts: NDArray[np.float32],
    data: Path | None,
    cache: Path,
    device: str = "cpu",
    download: bool = False,
) -> NDArray[np.float32]:
    """(C, m, a) the same for the synonyms of `find_synonyms`; the plan has shown its warnings already.

    A dataset that brings vectors of its names has them taken as they are.
    """
    if source.names is not None:
        lengths = np.linalg.norm(source.names, axis=-1, keepdims=True)
        return np.concatenate([texts[:, None], source.names / np.where(lengths > 0, lengths, 1)], axis=1)
    from pzsl_bench.synonyms.words import find_synonyms

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        synonyms = find_synonyms(dataset, source.class_names, data, cache)
    return name_texts(source, dataset, encoder, synonyms, texts, cache=cache, device=device, download=download)


def _prompts(source: Source, synonyms: Synonyms, number: int, name: str) -> list[str]:
    if synonyms.as_prompt[number]:
        return [name]
    return fill([name], source.templates if source.contexts is None else source.contexts[number])


def _cached(
    prompts: Sequence[list[str]], dataset: str, encoder: Encoder, cache: Path, device: str, download: bool
) -> NDArray[np.float32]:
    """(n, a) one unit row for each list of prompts, from the cache if it is there."""
    key: dict[str, Any] = {"format": FORMAT, "prompts": list(prompts), "encoder": encoder.fingerprint()}
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", dataset.partition(":")[0])[:40]
    path = cache / "names" / f"{slug}-{identity_hash(key)[:16]}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            rows: NDArray[np.float32] = archive["rows"]
        if rows.ndim == 2 and len(rows) == len(prompts):
            return rows
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        warnings.warn(f"names {path} are damaged; encoding again", stacklevel=3)
    model = encoder.load(device, download)
    rows = np.concatenate([_means(model.encode_texts, part) for part in _parts(prompts)])
    buffer = io.BytesIO()
    np.savez(buffer, rows=rows, key=np.array(json.dumps({**key, "prompts": len(prompts)})))
    write_cached(path, buffer.getvalue())
    return rows


def _means(encode: Any, prompt_lists: Sequence[list[str]]) -> NDArray[np.float32]:
    """(n, a) the normalised mean of each list's normalised embeddings."""
    rows = unit(encode([prompt for prompts in prompt_lists for prompt in prompts]))
    ends = np.cumsum([len(prompts) for prompts in prompt_lists])[:-1]
    return unit(np.stack([part.mean(0) for part in np.split(rows, ends)])).astype(np.float32)


def _parts(prompt_lists: Sequence[list[str]]) -> Iterator[list[list[str]]]:
    """The lists in groups of at most so many prompts, or of one list."""
    part: list[list[str]] = []
    for prompts in prompt_lists:
        if part and sum(map(len, part)) + len(prompts) > PROMPTS_AT_ONCE:
            yield part
            part = []
        part.append(prompts)
    yield part
