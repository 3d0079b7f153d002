"""The frozen text side of an encoder, for methods that learn what stands in front of a class name.

Such a method needs more of a class than the vector of its text. Where it asks for the "text tower", every row of
`texts` describes a class as the encoder's tower reads it: the vector that other methods see, then what the tower has
to know of the name. Unseen classes thus reach the method as all others do, in the exam and not before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Names:
    """C class names, ready to be put behind a context."""

    words: Tensor
    """(C, n, w) embeddings of their tokens; what follows a shorter name is never looked at."""
    ends: Tensor
    """(C,) number of the token at which a text is read off."""


class Tower(ABC):
    """A text encoder without its parameters in sight: they are the same for all runs, and nothing trains them."""

    phrase: Tensor
    """(P, w) token embeddings of "a photo of a", where learned contexts may start."""

    @abstractmethod
    def vectors(self, rows: Tensor) -> Tensor:
        """(C, .) rows -> (C, a) the class vectors in them."""

    @abstractmethod
    def names(self, rows: Tensor, context: int) -> Names:
        """The names in (C, .) rows, as far as they fit behind a context of so many tokens."""

    @abstractmethod
    def encode(self, context: Tensor, names: Names) -> Tensor:
        """(M, w) token embeddings, and what stands behind them -> (C, a) unit vectors of the whole prompts."""

    @abstractmethod
    def floats(self, names: Names, context: int) -> int:
        """About how many numbers `encode` keeps for its gradient."""
