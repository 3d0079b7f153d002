"""Sinkhorn's scaling reaches the sums it was asked for where it can, and stays a number where it cannot."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pzsl_bench.blocks.sinkhorn import scaled, sinkhorn


def scale(logs: Tensor, allowed: Tensor, columns: Tensor, rounds: int = 50) -> Tensor:
    table, largest = scaled(logs, allowed)
    rows = torch.full_like(largest, 1 / len(largest))
    return sinkhorn(table, rows * largest, rows, columns, rounds)


def test_columns_and_rows_sum_to_what_was_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    logs = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    columns = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    allowed = torch.rand(40, 4, generator=generator) < 0.8
    allowed[:, 0] |= ~allowed.any(1)
    made = scale(logs, allowed, columns)
    torch.testing.assert_close(made.sum(1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(made.mean(0), columns, atol=1e-6, rtol=0)


def test_what_an_absent_class_was_to_have_goes_to_the_others() -> None:
    allowed = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]]).bool()
    made = scale(torch.zeros(4, 3), allowed, torch.tensor([0.3, 0.3, 0.4]))
    torch.testing.assert_close(made.mean(0), torch.tensor([0.5, 0.5, 0.0]))


def test_a_class_that_asks_for_too_much_gets_all_rows_that_allow_it() -> None:
    allowed = torch.ones(30, 2).bool()
    allowed[3:, 1] = False
    made = scale(torch.randn(30, 2, generator=torch.Generator().manual_seed(0)), allowed, torch.tensor([0.1, 0.9]))
    torch.testing.assert_close(made[:, 1], allowed[:, 1].float(), atol=1e-3, rtol=0)


@given(
    st.lists(st.floats(-900, 900, width=32), min_size=12, max_size=12),
    st.lists(st.integers(1, 15), min_size=3, max_size=3),
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4).filter(any),
)
@settings(max_examples=100, deadline=None)
def test_rows_sum_to_one_on_what_is_allowed_at_any_gap(
    values: list[float], masks: list[int], sums: list[float]
) -> None:
    allowed = torch.tensor([[mask >> k & 1 for k in range(4)] for mask in masks]).bool()
    columns = torch.tensor(sums) / sum(sums)
    made = scale(torch.tensor(values).view(3, 4), allowed, columns)
    torch.testing.assert_close(made.sum(1), torch.ones(3))
    assert (made >= 0).all()
    assert not made[~allowed].any()
