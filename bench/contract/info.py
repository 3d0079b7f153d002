"""Facts about a method, as data: where it comes from, and what differs from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Citation:
    """Where a method or data set comes from."""

    authors: str
    title: str
    venue: str
    year: int
    url: str = ""

    def __str__(self) -> str:
        return f"{self.authors}. {self.title}. {self.venue}, {self.year}." + (f" {self.url}" if self.url else "")


Family = Literal["pll", "zsl", "clip", "tags", "pzsl", "bound"]
FAMILIES: dict[Family, str] = {
    "pll": "partial-label learning",
    "zsl": "zero-shot learning from true labels",
    "clip": "CLIP's own classifier, adapted",
    "tags": "images with several tags",
    "pzsl": "zero-shot learning from ambiguous labels",
    "bound": "what candidates or true labels alone give",
}
"""What the methods of a family are for. The file of a method names its family in its first lines."""

SHARED_HEAD = (
    "A cosine head over class texts with a residual adapter replaces the paper's networks, so that unseen classes can"
    " be scored; AdamW with a cosine schedule replaces the paper's optimiser and schedule."
)
"""The deviation that all partial-label methods with the shared head and optimiser have in common."""


@dataclass(frozen=True)
class MethodInfo:
    """Facts about a method, as data."""

    name: str
    title: str
    family: Family
    version: int
    """Raised whenever results change; part of every record's identity."""
    citation: Citation | None
    deviations: tuple[str, ...]
    """What differs from the paper or its released code, and why."""
    reveals_truth: bool
    """A bound that is trained on true labels; marked in every table."""
    transductive: bool = False
    """It scores the images of an exam together, whatever its settings are; see `Method.transductive`."""
    reference: bool = False
    """Others are measured by it: it stands at the head of every table, as all methods of the family "bound" do."""
