"""Sums over pairs equal their definition, with value and gradient, however they are cut into pieces."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks import tag_pairs
from pzsl_bench.blocks.tag_pairs import Kernel, attached, hinge, logistic, pair_sums

KERNELS = {"logistic": (logistic, F.softplus), "hinge": (hinge(0.7), lambda gap: (0.7 + gap).relu())}


def given_numbers(seed: int, images: int = 3, classes: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, weights of the upper and of the lower ones; some are zero and some classes are on both sides."""
    generator = torch.Generator().manual_seed(seed)
    scores, upper, lower = (torch.rand(images, classes, generator=generator).double() for _ in range(3))
    return 4 * scores, upper * (upper > 0.4), lower * (lower > 0.3)


def by_definition(scores: Tensor, upper: Tensor, lower: Tensor, cost: object) -> Tensor:
    assert callable(cost)
    gaps = scores.unsqueeze(-2) - scores.unsqueeze(-1)
    others = 1 - torch.eye(scores.shape[-1]).double()
    total: Tensor = (cost(gaps) * upper.unsqueeze(-1) * lower.unsqueeze(-2) * others).sum((-1, -2))
    return total


@pytest.mark.parametrize("name", KERNELS)
@settings(deadline=None)
@given(seed=st.integers(0, 50), most=st.sampled_from([0, 5, 99]))
def test_value_and_gradient_equal_the_definition(name: str, seed: int, most: int) -> None:
    kernel, cost = KERNELS[name]
    scores, upper, lower = given_numbers(seed)
    scores.requires_grad_()
    want = by_definition(scores, upper, lower, cost)
    got = attached(*pair_sums(scores, upper, lower, most, kernel), scores)
    torch.testing.assert_close(got, want)
    slopes = [torch.autograd.grad(total.sum(), [scores])[0] for total in (got, want)]
    torch.testing.assert_close(*slopes)


def test_pieces_do_not_change_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = given_numbers(3)
    whole = pair_sums(*numbers, 0, logistic)
    monkeypatch.setattr(tag_pairs, "GAPS_AT_ONCE", 1)
    for one, other in zip(whole, pair_sums(*numbers, 0, logistic), strict=True):
        torch.testing.assert_close(one, other)


def test_no_more_upper_ones_than_there_are_need_be_looked_at() -> None:
    scores, _, lower = given_numbers(4)
    upper = F.one_hot(torch.tensor([1, 0, 4]), 5).double() * 0.3
    seen: list[int] = []

    def watched(gap: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(gap.shape[-2] if gap.ndim == 3 else 0)
        return logistic(gap)

    few: Kernel = watched
    one, all_of_them = pair_sums(scores, upper, lower, 1, few), pair_sums(scores, upper, lower, 0, logistic)
    assert max(seen) == 1
    for got, want in zip(one, all_of_them, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("kernel", [logistic, hinge(1.0)], ids=["logistic", "hinge"])
def test_gaps_of_any_size_are_finite(kernel: Kernel) -> None:
    scores = torch.tensor([[-300.0, 300.0, 0.0]])
    value, slopes = pair_sums(scores, torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 1.0, 1.0]]), 1, kernel)
    assert value.isfinite().all()
    torch.testing.assert_close(slopes, torch.tensor([[-2.0, 1.0, 1.0]]))
