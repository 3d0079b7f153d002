"""What a method must bring before it is registered."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import METHODS, Batch, Gradient, Study, method
from pzsl_bench.methods.proden import Proden


def test_a_trained_method_without_a_loss_or_a_step_is_refused_when_it_is_registered() -> None:
    @dataclass(frozen=True)
    class Empty(Gradient):
        """Nothing of its own."""

    with pytest.raises(TypeError, match="Empty has neither a loss nor a step of its own"):
        method("empty", title="Empty", family="pll")(Empty)
    assert "empty" not in METHODS.names()


def test_a_family_that_does_not_exist_is_told_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="unknown family 'plll'; did you mean 'pll'"):
        method("strange", title="Strange", family="plll")(Proden)  # type: ignore[arg-type]
    assert "strange" not in METHODS.names()
    assert Proden.info.name == "proden"


@pytest.mark.parametrize("kind", [Study, Batch])
def test_what_a_method_sees_tells_neither_the_truth_nor_how_noisy_its_labels_are(kind: type) -> None:
    assert not {spec.name for spec in fields(kind)} & {"truth", "labels", "noise", "rate", "ambiguity"}
