"""The frozen text side of an encoder, for methods that learn what stands in front of a class name.

For such a method the vector of a class's text is not enough. If "text tower" is among its needs, its study has the
tower and the `tokens` of the seen classes, and the exam has those of all classes. So unseen classes reach the method as
they reach all others: in the exam, not before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Names:
    """C class names, ready to be put behind a context."""

    words: Tensor
    """(C, n, w) embeddings of their tokens; positions after the end of a shorter name are never read."""
    ends: Tensor
    """(C,) position of the token whose output is the vector of the text."""


class Tower(ABC):
    """A frozen text encoder. Its parameters are the same for all runs and are not visible to methods."""

    phrase: Tensor
    """(P, w) token embeddings of "a photo of a", a possible start of learned contexts."""

    @abstractmethod
    def names(self, tokens: Tensor, context: int) -> Names:
        """The names with these tokens (C, L), cut to what fits behind a context of so many tokens."""

    @abstractmethod
    def encode(self, context: Tensor, names: Names) -> Tensor:
        """(M, w) token embeddings, and the names behind them -> (C, a) unit vectors of the whole prompts."""

    @abstractmethod
    def floats(self, names: Names, context: int) -> int:
        """Estimated floats that `encode` keeps in memory for its gradient."""
