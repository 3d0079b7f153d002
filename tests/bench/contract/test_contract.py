"""What a method must bring before it is registered."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pzsl_bench.contract import METHODS, Gradient, method


def test_a_trained_method_without_a_loss_or_a_step_is_refused_when_it_is_registered() -> None:
    @dataclass(frozen=True)
    class Empty(Gradient):
        """Nothing of its own."""

    with pytest.raises(TypeError, match="Empty has neither a loss nor a step of its own"):
        method("empty", title="Empty", family="pll")(Empty)
    assert "empty" not in METHODS.names()
