"""What is drawn for a ranking loss is drawn from the right classes, and as often as it should be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.blocks.ranking import draw_class, draw_marked, first_marked, of_class, rank_weights, trials

DICE = st.floats(0, 1 - 2**-24, width=32)
MASK = st.lists(st.booleans(), min_size=1, max_size=9)
GRID = (torch.arange(10_000) + 0.5) / 10_000


@given(st.lists(st.sampled_from([0.0, 1e-9, 0.2, 1.0, 3.0]), min_size=1, max_size=9).filter(any), DICE)
def test_a_class_of_weight_zero_is_never_drawn(soft: list[float], dice: float) -> None:
    [number] = draw_class(torch.tensor([soft]), torch.tensor([dice])).tolist()
    assert soft[number] > 0


def test_classes_are_drawn_as_often_as_their_weight_says() -> None:
    soft = torch.tensor([0.1, 0.0, 0.6, 0.3])
    share = draw_class(soft.expand(len(GRID), 4), GRID).bincount(minlength=4) / len(GRID)
    torch.testing.assert_close(share, soft, atol=1e-3, rtol=0.0)


@given(MASK, DICE)
def test_a_member_is_a_marked_class_where_one_is_marked(mask: list[bool], dice: float) -> None:
    [number] = draw_marked(torch.tensor([mask]), torch.tensor([dice])).tolist()
    assert mask[number] if any(mask) else number == 0


def test_all_members_are_equally_likely() -> None:
    mask = torch.tensor([False, True, True, False, True])
    share = draw_marked(mask.expand(len(GRID), 5), GRID).bincount(minlength=5) / len(GRID)
    torch.testing.assert_close(share, mask / 3, atol=1e-3, rtol=0.0)


@given(MASK)
def test_first_is_the_first_marked_class(mask: list[bool]) -> None:
    assert first_marked(torch.tensor([mask])).item() == (mask.index(True) if any(mask) else 0)


@given(st.integers(0, 2000), st.integers(0, 2000), DICE)
def test_trials_end_after_one_more_than_there_are_classes(hits: int, misses: int, dice: float) -> None:
    classes = hits + misses
    [count] = trials(torch.tensor([hits]), torch.tensor([classes]), torch.tensor([dice])).tolist()
    assert 1 <= count <= classes + 1
    if not hits:
        assert count == classes + 1
    elif not misses:
        assert count == 1


def test_trials_are_as_many_as_drawing_with_replacement_takes() -> None:
    count = trials(torch.full_like(GRID, 2).long(), torch.full_like(GRID, 8).long(), GRID)
    for tried in range(1, 9):
        share = (count == tried).float().mean().item()
        assert share == pytest.approx(0.75 ** (tried - 1) * 0.25, abs=1e-3)
    assert (count == 9).float().mean().item() == pytest.approx(0.75**8, abs=1e-3)


def test_a_rank_costs_the_sum_of_its_reciprocals() -> None:
    weights = rank_weights(5, torch.zeros((), dtype=torch.float64))
    assert weights.tolist() == pytest.approx([0, 1, 1.5, 1.5 + 1 / 3, 1.75 + 1 / 3])
    assert rank_weights(1, torch.zeros(())).tolist() == [0]


def test_values_of_classes_are_picked_row_by_row() -> None:
    assert of_class(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0])).tolist() == [2, 3]
