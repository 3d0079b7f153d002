"""Cells of the grid: one point on its axes, whose result is one record."""

from __future__ import annotations

import re
from dataclasses import dataclass

PROTOCOL = 2
"""Raised when the meaning of a result changes for every method: splits, metrics, candidate sets."""

Scalar = str | int | float | bool


@dataclass(frozen=True, order=True)
class Cell:
    """A point of the grid. `settings` are the hyper-parameters that the grid sets, in name order."""

    dataset: str
    encoder: str
    ambiguity: str
    rate: float
    method: str
    settings: tuple[tuple[str, Scalar], ...]
    seed: int
    select: str = "last"
    """The rule that chooses the epoch, and the draw of the settings where there are several."""
    tune: int = 0
    """How many draws of the settings there are, the grid's own included; 0 leaves them as they are."""
    noise: float = 0.0
    """The share of images whose true label is missing from their candidates; 0 for an ambiguity without noise."""

    @property
    def row(self) -> str:
        """The method with its settings, as tables and commands name it: eszsl(candidates_as=random) [covering]."""
        settings = f"({','.join(f'{k}={v}' for k, v in self.settings)})" if self.settings else ""
        return f"{self.method}{settings} {choice_label(self.select, self.tune)}".rstrip()

    @property
    def where(self) -> dict[str, Scalar]:
        """The coordinates as plain columns."""
        return {
            "dataset": self.dataset,
            "encoder": self.encoder,
            "ambiguity": self.ambiguity,
            "rate": self.rate,
            "noise": self.noise,
            "method": self.row,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        ambiguity = ambiguity_label(self.ambiguity, self.rate, self.noise)
        return f"{self.dataset}/{self.encoder}/{ambiguity}/{self.row}/seed {self.seed}"


def split_row(row: str) -> tuple[str, dict[str, str], str]:
    """The parts of a row's name: method, settings as text, and `choice_label` (empty for the end of training)."""
    match = re.fullmatch(r"([^( ]*)(?:\((.*)\))?(?: (\[.*\]))?", row, re.DOTALL)
    if match is None:
        return row, {}, ""
    method, inside, choice = match.groups()
    pairs = re.split(r",(?=\w+=)", inside) if inside else []
    return method, {key: value for key, _, value in (pair.partition("=") for pair in pairs)}, choice or ""


def ambiguity_label(ambiguity: str, rate: float, noise: float) -> str:
    """An ambiguity with its numbers, as messages name it: flip-0.3, or flip_noisy-0.3-noise0.1."""
    return f"{ambiguity}-{rate:g}" + (f"-noise{noise:g}" if noise else "")


def choice_label(select: str, tune: int) -> str:
    """How a row's name says how its epoch and settings were chosen: [covering, 20 draws].

    Empty for the end of a training without tuning.
    """
    parts = [select] if select != "last" else []
    parts += [f"{tune} draws"] if tune else []
    return f"[{', '.join(parts)}]" if parts else ""
