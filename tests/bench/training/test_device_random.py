"""Random numbers on the device: the integers of `base/randomness.py`, and the distributions made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pzsl_bench.base import randomness
from pzsl_bench.blocks.distributions import beta, normal
from pzsl_bench.training.device_random import Dice, bits, uniform

CPU = torch.device("cpu")


def stream(key: int) -> torch.Tensor:
    return torch.from_numpy(np.array([key], dtype=np.uint64).view(np.int64))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 10**9), st.integers(1, 20))
def test_the_bits_are_those_of_base_randomness(key: int, first: int, count: int) -> None:
    on_device = bits(stream(key), first, count)[0].numpy().view(np.uint64)
    assert (on_device == randomness.bits(key, np.arange(first, first + count))).all()


def test_uniform_numbers_are_below_one_and_even() -> None:
    thrown = uniform(stream(randomness.key("even")), 0, 20_000)[0]
    assert float(thrown.min()) >= 0
    assert float(thrown.max()) < 1
    assert stats.kstest(thrown.numpy(), "uniform").pvalue > 1e-3


def test_a_run_throws_the_same_in_any_stack_and_at_every_step_anew() -> None:
    together, alone = Dice(["a", "b"], CPU), Dice(["b"], CPU)
    shapes, largest = {"mix": (3, 2)}, {"mix": 6}
    both = together.throw(4, shapes, largest)["mix"]
    assert torch.equal(both[1], alone.throw(4, shapes, largest)["mix"][0])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both, together.throw(5, shapes, largest)["mix"])


def test_a_smaller_last_batch_does_not_repeat_numbers_of_the_next_step() -> None:
    dice = Dice(["a"], CPU)
    small = dice.throw(0, {"mix": (2,)}, {"mix": 4})["mix"]
    following = dice.throw(1, {"mix": (4,)}, {"mix": 4})["mix"]
    assert not set(small.flatten().tolist()) & set(following.flatten().tolist())


def test_normal_numbers_are_normal() -> None:
    thrown = normal(uniform(stream(randomness.key("normal")), 0, 40_000))
    assert thrown.shape == (1, 20_000)
    assert stats.kstest(thrown[0].numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("strength", [1, 4, 8])
def test_the_middle_of_uniform_numbers_is_beta(strength: int) -> None:
    raw = uniform(stream(randomness.key("beta")), 0, 5_000 * (2 * strength - 1)).view(5_000, -1)
    assert stats.kstest(beta(raw, strength).numpy(), stats.beta(strength, strength).cdf).pvalue > 1e-3


def test_beta_of_another_strength_than_its_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="15 uniform numbers"):
        beta(torch.rand(2, 7), 8)
