"""The cache of tensors: the latest ones within a budget, and only for the same content."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pzsl_bench.training.tensor_memo import TensorMemo, content

CPU = torch.device("cpu")


@dataclass
class Maker:
    """Records the keys of the tensors that were computed."""

    computed: list[str] = field(default_factory=list)

    def get(self, memo: TensorMemo, key: str, numbers: int = 4) -> Tensor:
        def make() -> Tensor:
            self.computed.append(key)
            return torch.full((numbers,), float(len(self.computed)))

        return memo.get(key, CPU, make)


def test_the_latest_stay_and_the_one_that_was_longest_unused_goes() -> None:
    memo, maker = TensorMemo(budget=32), Maker()
    for key in ("a", "b", "a", "c", "a", "b"):
        maker.get(memo, key)
    assert maker.computed == ["a", "b", "c", "b"]


def test_what_is_larger_than_the_budget_is_made_anew_and_leaves_the_others() -> None:
    memo, maker = TensorMemo(budget=32), Maker()
    for key, numbers in (("a", 4), ("large", 9), ("large", 9), ("a", 4)):
        assert len(maker.get(memo, key, numbers)) == numbers
    assert maker.computed == ["a", "large", "large"]


def test_content_is_bytes_shape_and_type_and_not_identity() -> None:
    one = torch.arange(6.0)
    assert content(one, "x") == content(one.clone(), "x") == content(torch.arange(12.0)[:6], "x")
    others = (content(one.view(2, 3), "x"), content(one.int(), "x"), content(one, "y"), content(one, "x", "x"))
    assert len({content(one, "x"), *others}) == 5
