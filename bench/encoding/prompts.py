"""From class names to one unit vector per class: every template is filled, encoded, normalised and averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError

SLOT = "{}"


def fill(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """All prompts, class by class; underscores in names are read as spaces."""
    if not templates:
        raise UserError("no prompt template given; 'a photo of a {}.' is the usual one")
    for template in templates:
        if SLOT not in template:
            raise UserError(f"prompt template '{template}' has no {SLOT} where the class name goes")
    return [template.replace(SLOT, name.replace("_", " ")) for name in names for template in templates]


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """`unit` rounded to single precision."""
    return unit(rows).astype(np.float32)


def class_texts(
    encode: Callable[[list[str]], NDArray[np.floating]], names: Sequence[str], templates: Sequence[str]
) -> NDArray[np.float32]:
    """(C, a) unit rows: the normalised mean of each class's normalised prompt embeddings (CLIP's ensemble)."""
    rows = unit(encode(fill(names, templates)))
    return unit_rows(rows.reshape(len(names), len(templates), -1).mean(axis=1))


def unit(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows scaled to unit length in double precision; a row without direction becomes NaN."""
    wide = rows.astype(np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled: NDArray[np.float64] = np.where(np.isfinite(length) & (length > 0), wide / length, np.nan)
    return scaled
