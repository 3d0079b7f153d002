"""Which names of a class belong together, at which scale, and which of them form a simplex."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_space import CLASS, NAMES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pzsl_bench.encoding.prompts import unit
from pzsl_bench.synonyms.space import (
    METRICS,
    RULES,
    Compactness,
    build_spaces,
    centres,
    compact,
    deaths,
    distances,
    distinct,
    ensemble,
    facets,
    largest,
    pooled_scale,
)

Reals = NDArray[np.float64]


def cloud(seed: int, names: int = 7, width: int = 5) -> Reals:
    """Unit rows around a common direction."""
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=width) + rng.normal(size=(names, width)))


few = settings(deadline=None, max_examples=30)
clouds = st.builds(cloud, st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 6))


def rule(name: str, **more: float | str) -> Compactness:
    return Compactness(rule=name, **more)  # type: ignore[arg-type]


def test_distances_of_names_in_a_plane() -> None:
    apart = distances(NAMES)
    assert apart[0, 1] == pytest.approx(0.174311, abs=1e-6)
    assert apart[0, 2] == pytest.approx(0.347296, abs=1e-6)
    assert apart[2, 3] == pytest.approx(1.0, abs=1e-6)
    assert apart[1, 3] == pytest.approx(1.147153, abs=1e-6)
    assert apart[0, 3] == pytest.approx(1.285575, abs=1e-6)
    np.testing.assert_allclose(distances(NAMES, "cosine"), apart**2 / 2, atol=1e-12)
    np.testing.assert_allclose(2 * np.sin(distances(NAMES, "angle") / 2), apart, atol=1e-7)


def test_components_die_at_the_edges_of_the_spanning_tree() -> None:
    np.testing.assert_allclose(deaths(distances(NAMES)), [0.174311, 0.174311, 1.0], atol=1e-6)
    assert deaths(distances(NAMES[:1])).shape == (0,)


@pytest.mark.parametrize(("eps", "kept"), [(0.1, [0]), (0.2, [0, 1, 2]), (0.35, [0, 1, 2]), (1.01, [0, 1, 2, 3])])
def test_the_largest_component_at_a_scale(eps: float, kept: list[int]) -> None:
    assert np.flatnonzero(largest(distances(NAMES), eps)).tolist() == kept


@pytest.mark.parametrize(
    ("how", "eps", "kept"),
    [
        (rule("coverage", rho=0.75), 0.174311, [0, 1, 2]),
        (rule("coverage", rho=0.8), 1.0, [0, 1, 2, 3]),
        (rule("gap"), 0.174311, [0, 1, 2]),
        (rule("fixed", eps=0.2), 0.2, [0, 1, 2]),
        (rule("fixed", eps=0.0), 0.0, [0]),
        (rule("quantile", quantile=0.5), 0.174311, [0, 1, 2]),
        (rule("quantile", quantile=1.0), 1.0, [0, 1, 2, 3]),
    ],
)
def test_each_rule_finds_its_scale(how: Compactness, eps: float, kept: list[int]) -> None:
    part = compact(NAMES, how, pooled_scale(CLASS, how))
    assert part.eps == pytest.approx(eps, abs=1e-6)
    assert np.flatnonzero(part.kept).tolist() == kept


def test_a_gap_that_would_leave_less_than_half_of_the_names_is_not_taken() -> None:
    angles = np.radians([0, 1, 40, 80, 120])
    names = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert compact(names, rule("gap")).eps == compact(names, rule("coverage")).eps


def test_of_components_of_one_size_the_class_s_own_name_then_the_narrower_one_decides() -> None:
    angles = np.radians([0, 10, 90, 94, 180])
    apart = distances(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert np.flatnonzero(largest(apart, 0.2)).tolist() == [0, 1]
    elsewhere = apart[np.ix_([4, 0, 1, 2, 3], [4, 0, 1, 2, 3])]
    assert np.flatnonzero(largest(elsewhere, 0.2)).tolist() == [3, 4]
    alike = np.full((5, 5), 2.0)
    np.fill_diagonal(alike, 0.0)
    alike[1, 2] = alike[2, 1] = alike[3, 4] = alike[4, 3] = 0.1
    assert np.flatnonzero(largest(alike, 0.2)).tolist() == [1, 2]


@few
@given(clouds, st.sampled_from(METRICS))
def test_below_the_first_death_the_class_s_own_name_is_kept(points: Reals, metric: str) -> None:
    first = deaths(distances(points, metric))
    eps = float(first[0]) * 0.999 - 1e-9 if len(first) else 1.0
    assert np.flatnonzero(compact(points, rule("fixed", eps=eps, metric=metric)).kept).tolist() == [0]


@few
@given(clouds, st.floats(0, 2), st.floats(0, 2))
def test_more_is_kept_at_a_larger_scale(points: Reals, one: float, other: float) -> None:
    apart = distances(points)
    small, large = sorted((one, other))
    assert largest(apart, small).sum() <= largest(apart, large).sum()


@few
@given(clouds, st.sampled_from(("coverage", "gap")), st.floats(0.1, 1), st.integers(0, 10**6))
def test_the_order_of_the_names_changes_nothing(points: Reals, name: str, rho: float, seed: int) -> None:
    order = np.concatenate([[0], 1 + np.random.default_rng(seed).permutation(len(points) - 1)])
    how = rule(name, rho=rho)
    part, reordered = compact(points, how), compact(points[order], how)
    assert part.eps == pytest.approx(reordered.eps, abs=1e-12)
    np.testing.assert_array_equal(part.kept[order], reordered.kept)


@few
@given(clouds, st.floats(0, 1))
def test_coverage_keeps_its_share_and_no_smaller_scale_would(points: Reals, rho: float) -> None:
    part = compact(points, rule("coverage", rho=rho))
    names_needed = np.ceil(rho * len(points) - 1e-9)
    assert part.kept.sum() >= names_needed
    if part.eps > 0:
        assert largest(distances(points), part.eps - 1e-7).sum() < names_needed


@few
@given(clouds)
def test_deaths_and_components_are_those_of_a_topology_library(points: Reals) -> None:
    gudhi = pytest.importorskip("gudhi", reason="gudhi is not installed; it is among the dev requirements")
    apart = distances(points)
    tree = gudhi.RipsComplex(distance_matrix=apart, max_edge_length=3.0).create_simplex_tree(max_dimension=1)
    tree.compute_persistence(min_persistence=-1, persistence_dim_max=True)
    ends = sorted(end for _, end in tree.persistence_intervals_in_dimension(0) if np.isfinite(end))
    np.testing.assert_allclose(deaths(apart), ends, atol=1e-12)
    for eps in np.linspace(0.1, 1.9, 5):
        pieces = gudhi.RipsComplex(distance_matrix=apart, max_edge_length=eps).create_simplex_tree(max_dimension=1)
        pieces.compute_persistence(min_persistence=-1, persistence_dim_max=True)
        alive = sum(1 for _, end in pieces.persistence_intervals_in_dimension(0) if not np.isfinite(end))
        assert alive == 1 + (deaths(apart) > eps).sum()


@few
@given(clouds, st.floats(0.2, 2))
def test_facets_are_all_maximal_sets_of_joined_names(points: Reals, eps: float) -> None:
    joined = distances(points) <= eps
    n = len(points)
    cliques = [
        set(names)
        for size in range(1, n + 1)
        for names in combinations(range(n), size)
        if joined[np.ix_(names, names)].all()
    ]
    maximal = {frozenset(c) for c in cliques if not any(c < other for other in cliques)}
    simplices = facets(joined)
    assert {frozenset(names) for names in simplices} == maximal
    assert len(simplices) == len(maximal)


def test_facets_stop_at_a_limit() -> None:
    # The complement of six pairs: 2^6 maximal cliques.
    joined = np.ones((12, 12), dtype=bool)
    for i in range(6):
        joined[2 * i, 2 * i + 1] = joined[2 * i + 1, 2 * i] = False
    assert len(facets(joined)) == 64
    assert len(facets(joined, limit=10)) == 10


def test_a_name_said_twice_counts_once() -> None:
    twice = np.concatenate([NAMES[:2], NAMES[:1] + 1e-9, NAMES[2:]])
    assert distinct(unit(twice)).tolist() == [True, True, False, True, True]
    spaces = build_spaces(torch.from_numpy(twice)[None], rule("fixed", eps=0.2))
    torch.testing.assert_close(spaces.points, CLASS[:, :3])


def test_spaces_of_classes_of_different_sizes_stand_in_one_table() -> None:
    names = torch.zeros(3, 4, 3, dtype=torch.float64)
    names[0] = CLASS[0]
    names[1, :1] = CLASS[0, 3:]
    names[2, :2] = CLASS[0, 2:]
    spaces = build_spaces(names, rule("fixed", eps=0.2), with_facets=True)
    assert spaces.there.sum(1).tolist() == [3, 1, 1]
    assert spaces.points.shape == (3, 3, 3)
    assert not spaces.points[~spaces.there].any()
    assert torch.equal(spaces.canonical, names[:, 0])
    assert spaces.facets.sum(2).tolist() == [[2, 2], [1, 0], [1, 0]]
    assert spaces.joined[0].tolist() == [[True, True, False], [True, True, True], [False, True, True]]
    assert spaces.eps.tolist() == [0.2, 0.2, 0.2]


def test_a_far_name_moves_the_mean_of_all_names_but_not_of_those_that_hang_together() -> None:
    near, far = CLASS[:, :3], CLASS[:, :3].clone()
    far = torch.cat([near, torch.tensor([[[0.0, -0.6, 0.8]]], dtype=torch.float64)], dim=1)
    gap = Compactness(rule="gap")
    assert not torch.allclose(ensemble(near), ensemble(far))
    torch.testing.assert_close(centres(far, gap), ensemble(near))


def test_a_class_of_one_name_keeps_its_text_to_the_bit() -> None:
    names = torch.nn.functional.normalize(torch.randn(5, 1, 9), dim=-1)
    names = torch.cat([names, torch.zeros(5, 2, 9)], dim=1)
    for rows in (ensemble(names), centres(names), build_spaces(names, Compactness()).points[:, 0]):
        assert torch.equal(rows, names[:, 0])


@pytest.mark.parametrize("name", RULES)
def test_real_class_names_form_sound_spaces(shared_data: Path, name: str) -> None:
    path = shared_data / "clip" / "imagenet_text_vitb32.npz"
    if not path.exists():
        pytest.skip(f"no real text vectors at {path}")
    with np.load(path) as archive:
        texts = unit(archive["text"].astype(np.float64))[:400]
    # Twenty names of neighbouring numbers, which in this list are often of one kind, play the names of a class.
    names = torch.from_numpy(texts.reshape(20, 20, -1)).float()
    how = rule(name, eps=0.8)
    spaces = build_spaces(names, how, pooled_scale(names, how), with_facets=True)
    sizes = spaces.there.sum(1)
    assert sizes.min() >= 1
    if name == "coverage":
        assert sizes.min() >= 16
    assert spaces.points.isfinite().all()
    assert spaces.facets.any(2).any(1).all()
