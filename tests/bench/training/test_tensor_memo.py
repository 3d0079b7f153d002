"""What is kept of long computations: the latest, within a budget, and only for the same content."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pzsl_bench.training.tensor_memo import TensorMemo, content

CPU = torch.device("cpu")


@dataclass
class Maker:
    """Counts how often it is asked."""

    asked: list[str] = field(default_factory=list)

    def of(self, kept: TensorMemo, key: str, numbers: int = 4) -> Tensor:
        def make() -> Tensor:
            self.asked.append(key)
            return torch.full((numbers,), float(len(self.asked)))

        return kept.get(key, CPU, make)


def test_the_latest_stay_and_the_one_that_was_longest_unused_goes() -> None:
    kept, maker = TensorMemo(most=32), Maker()
    for key in ("a", "b", "a", "c", "a", "b"):
        maker.of(kept, key)
    assert maker.asked == ["a", "b", "c", "b"]


def test_what_is_larger_than_the_budget_is_made_anew_and_leaves_the_others() -> None:
    kept, maker = TensorMemo(most=32), Maker()
    for key, numbers in (("a", 4), ("large", 9), ("large", 9), ("a", 4)):
        assert len(maker.of(kept, key, numbers)) == numbers
    assert maker.asked == ["a", "large", "large"]


def test_content_is_bytes_shape_and_type_and_not_identity() -> None:
    one = torch.arange(6.0)
    assert content(one, "x") == content(one.clone(), "x") == content(torch.arange(12.0)[:6], "x")
    others = (content(one.view(2, 3), "x"), content(one.int(), "x"), content(one, "y"), content(one, "x", "x"))
    assert len({content(one, "x"), *others}) == 5
