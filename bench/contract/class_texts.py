"""What is known of classes by their names: a vector for each, and more of them for the methods that need more."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassTexts:
    """C classes, in the order of their numbers."""

    vectors: Tensor
    """(C, a) the embedding of each class's text; a = 0 where classes have no texts."""
    tokens: Tensor | None = None
    """(C, L) the names as the encoder's text tower reads them; only if the method needs the "text tower"."""
    names: Tensor | None = None
    """(C, m, a) the embeddings of all names of each class, its own first, rows of zeros at the end; only if needed."""

    @classmethod
    def of(cls, texts: Tensor | ClassTexts) -> ClassTexts:
        """Class texts as they are, or those that consist of vectors only."""
        return texts if isinstance(texts, ClassTexts) else cls(texts)

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice | Tensor) -> ClassTexts:
        """Some of the classes; their numbers may be repeated."""
        parts = (self.vectors, self.tokens, self.names)
        return ClassTexts(*(None if part is None else part[rows] for part in parts))  # type: ignore[arg-type]

    def same_as(self, other: ClassTexts) -> bool:
        """Whether all numbers are the same."""
        pairs = ((self.vectors, other.vectors), (self.tokens, other.tokens), (self.names, other.names))
        return all(
            one is another if one is None or another is None else torch.equal(one, another) for one, another in pairs
        )
