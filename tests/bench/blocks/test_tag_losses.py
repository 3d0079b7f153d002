"""The asymmetric loss is finite with a useful slope at any logits, and its exponents and shift do what they say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks.tag_losses import asymmetric

NONE = torch.zeros(1, 1)
ONE = torch.ones(1, 1)


def absent(logit: float, exponent: float, shift: float, differentiate: bool = False) -> tuple[Tensor, Tensor]:
    """Loss of one absent tag, and its slope."""
    logits = torch.tensor([[logit]], requires_grad=True)
    loss = asymmetric(logits, ((NONE, 0.0), (ONE, exponent)), shift, differentiate).sum()
    return loss.detach(), torch.autograd.grad(loss, [logits])[0][0, 0]


@pytest.mark.parametrize("differentiate", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.05])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("logit", [-300.0, -20.0, 0.0, 20.0, 300.0])
def test_value_and_slope_are_finite(logit: float, exponent: float, shift: float, differentiate: bool) -> None:
    loss, slope = absent(logit, exponent, shift, differentiate)
    assert loss.isfinite()
    assert slope.isfinite()
    assert loss >= 0


def test_without_a_shift_a_surely_wrong_answer_still_moves() -> None:
    loss, slope = absent(300.0, 0.0, 0.0)
    torch.testing.assert_close(loss, torch.tensor(300.0))
    torch.testing.assert_close(slope, torch.tensor(1.0))


def test_exponents_make_good_answers_cheaper_and_leave_bad_ones() -> None:
    cheap, plain = absent(-2.0, 2.0, 0.0)[0], absent(-2.0, 0.0, 0.0)[0]
    torch.testing.assert_close(cheap / plain, torch.tensor(-2.0).sigmoid().square())
    assert absent(8.0, 2.0, 0.0)[0] > 0.99 * absent(8.0, 0.0, 0.0)[0]


def test_kinds_of_absent_tags_have_exponents_of_their_own() -> None:
    logits = torch.tensor([[0.3, 0.3]])
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    loss = asymmetric(logits, ((torch.zeros(1, 2), 0.0), (first, 0.0), (second, 1.0)), 0.0)
    torch.testing.assert_close(loss, F.softplus(logits) * torch.cat([torch.ones(1, 1), logits[:, 1:].sigmoid()], 1))
