"""Candidate sets, splits and batch orders hang on these numbers: they may never change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.base.randomness import bits, key, permutation, uniform

STREAMS = st.integers(0, 2**64 - 1)
WORD = 2**64


def splitmix64(state: int, count: int) -> list[int]:
    """Vigna's generator in plain integers, stepping its state."""
    out = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % WORD
        z = state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
        z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
        out.append(z ^ z >> 31)
    return out


@pytest.mark.parametrize(
    ("seed", "published"),
    [
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]),
    ],
)
def test_the_published_outputs_of_splitmix64_come_out(seed: int, published: list[int]) -> None:
    assert bits(seed, 4).tolist() == published


@given(STREAMS)
def test_every_stream_is_splitmix64_seeded_by_its_key(stream: int) -> None:
    assert bits(stream, 20).tolist() == splitmix64(stream, 20)


@given(STREAMS)
def test_a_uniform_is_the_upper_53_bits_of_a_draw(stream: int) -> None:
    assert uniform(stream, 20).tolist() == [(word >> 11) / 2**53 for word in splitmix64(stream, 20)]


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        ((), 0x141CFC9842C4B0E3),
        (("shapes", "flip", 0.1, 3), 0x6596979F1D2C2A0E),
        (("shapes:odd", "pair", 0.5, 0), 0xAF4E746A8317BD45),
    ],
)
def test_keys_are_frozen(parts: tuple[object, ...], value: int) -> None:
    assert key(*parts) == value


def test_uniforms_and_permutations_are_frozen() -> None:
    stream = key("golden")
    assert uniform(stream, 3).tolist() == [0.49516391594169173, 0.07489429188398677, 0.00986876583805818]
    assert permutation(stream, 10).tolist() == [2, 1, 4, 0, 7, 3, 6, 5, 8, 9]


def test_the_border_between_parts_counts() -> None:
    assert len({key("ab", "c"), key("a", "bc"), key("abc"), key("ab", "c", "")}) == 4


@given(STREAMS, st.integers(0, 50), st.integers(0, 50))
def test_drawing_more_leaves_the_first_draws_as_they_were(stream: int, few: int, more: int) -> None:
    assert np.array_equal(bits(stream, few + more)[:few], bits(stream, few))
    assert np.array_equal(uniform(stream, few + more)[:few], uniform(stream, few))


@given(STREAMS, st.lists(st.integers(0, 2**40), min_size=1, max_size=30))
def test_a_draw_depends_on_its_position_alone(stream: int, positions: list[int]) -> None:
    together = bits(stream, np.array(positions))
    alone = [int(bits(stream, np.array([position]))[0]) for position in positions]
    assert together.tolist() == alone


@given(STREAMS, st.integers(1, 8), st.integers(1, 8))
def test_a_shape_is_filled_row_by_row(stream: int, rows: int, columns: int) -> None:
    table = uniform(stream, rows, columns)
    assert table.shape == (rows, columns)
    assert np.array_equal(table.ravel(), uniform(stream, rows * columns))


@given(STREAMS)
def test_uniforms_stay_below_one_on_the_grid_of_doubles(stream: int) -> None:
    drawn = uniform(stream, 200)
    assert drawn.dtype == np.float64
    assert (drawn >= 0).all()
    assert (drawn < 1).all()
    assert (drawn * 2**53 % 1 == 0).all()


def test_uniforms_are_uniform() -> None:
    drawn = uniform(key("uniformity"), 100_000)
    counts = np.histogram(drawn, bins=100, range=(0, 1))[0]
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    # 99 degrees of freedom: the 0.001 and 0.999 quantiles.
    assert 60 < chi_squared < 149
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01


def test_streams_with_neighbouring_names_are_unrelated() -> None:
    table = np.stack([uniform(key("cell", seed), 20_000) for seed in range(8)])
    related = np.corrcoef(table) - np.eye(8)
    assert np.abs(related).max() < 0.03


@given(STREAMS, st.integers(0, 300))
def test_a_permutation_names_every_position_once(stream: int, n: int) -> None:
    order = permutation(stream, n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_all_orders_are_equally_likely() -> None:
    orders = np.stack([permutation(key("order", trial), 4) for trial in range(4800)])
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    # 23 degrees of freedom: the 0.999 quantile.
    assert ((counts - 200) ** 2 / 200).sum() < 50
