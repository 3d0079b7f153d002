"""The synonymous semantic space of a class: which of its names belong together, and at which scale.

The names of a class are points on the unit sphere. At a scale eps, two of them are joined if they are at most eps
apart. Names that are all joined to each other span a simplex, and all simplices together are the Vietoris-Rips
complex. Its compact part is the largest connected component. Names that lie far off, such as those of another sense
of a word, are left out. As eps grows, components merge, one by one, at the lengths of the minimum spanning tree's
edges. These are the deaths of zero-dimensional persistent homology, and the rules for eps here are stated in them.

All this is geometry of a few points, computed once for each dataset in double precision on the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl_bench.encoding.prompts import unit

Reals = NDArray[np.float64]
Bools = NDArray[np.bool_]

VERSION = 1
"""Raised whenever the spaces of the same names change."""
METRICS = ("chord", "cosine", "angle")
RULES = ("coverage", "fixed", "gap", "quantile")
DISTANCE_TOLERANCE = 1e-9
"""How far a distance may lie above eps and still count as at most eps."""
COSINE_TOLERANCE = 1e-6
"""Names whose cosine is nearer to one than this are one name: a repeated name would count twice in every mean."""
MAX_FACETS = 256
"""Facets of a complex that are used, the first ones in order of their names; further ones are left out."""


@dataclass(frozen=True)
class Compactness:
    """How the scale of a class is found, and in which distance."""

    rule: str = "coverage"
    """One of RULES."""
    eps: float = 0.5
    """The scale of the rule `fixed`, in the metric's own measure."""
    rho: float = 0.8
    """Share of a class's names that the rule `coverage` keeps at least."""
    quantile: float = 0.5
    """The quantile of all classes' deaths that is the scale of the rule `quantile`."""
    metric: str = "chord"
    """One of METRICS."""


@dataclass(frozen=True)
class Compact:
    """One class: n names, of which some are kept."""

    eps: float
    kept: Bools
    """(n,) the names of the largest component."""
    joined: Bools
    """(n, n) pairs of names that are at most eps apart; every name is joined to itself."""


def distances(points: Reals, metric: str = "chord") -> Reals:
    """(n, n) distances of the unit rows (n, a); angles in radians."""
    cosines = np.clip(points @ points.T, -1.0, 1.0)
    if metric == "cosine":
        apart = 1.0 - cosines
    elif metric == "angle":
        apart = np.arccos(cosines)
    else:
        apart = np.sqrt(2.0 - 2.0 * cosines)
    np.fill_diagonal(apart, 0.0)
    return np.asarray((apart + apart.T) / 2)


def merges(apart: Reals) -> tuple[Reals, Reals]:
    """(n - 1,) the scales, ascending, at which two components merge, and (n - 1,) how many names they then have."""
    # Not imported at the top: planning a grid imports this module and does not need SciPy.
    from scipy.cluster.hierarchy import linkage

    if len(apart) < 2:
        return np.empty(0), np.empty(0)
    tree = linkage(apart[np.triu_indices(len(apart), 1)], "single")
    return tree[:, 2], tree[:, 3]


def deaths(apart: Reals) -> Reals:
    """(n - 1,) ascending: the scales at which a component ends in another."""
    return merges(apart)[0]


def largest(apart: Reals, eps: float) -> Bools:
    """(n,) the largest component at a scale: of several, the one with name 0, then the narrowest, then the first."""
    from scipy.sparse.csgraph import connected_components

    _, label = connected_components(apart <= eps + DISTANCE_TOLERANCE, directed=False)
    parts = [label == number for number in dict.fromkeys(label.tolist())]
    return min(parts, key=lambda part: (-int(part.sum()), not part[0], float(apart[np.ix_(part, part)].max())))


def scale_of(apart: Reals, how: Compactness, pooled: float = 0.0) -> float:
    """The scale of one class; `pooled` is the scale of the rule `quantile`, which is the same for all classes."""
    if how.rule == "fixed":
        return how.eps
    if how.rule == "quantile":
        return pooled
    scales, sizes = merges(apart)
    if how.rule == "gap" and len(scales) > 1:
        before = float(scales[np.diff(scales).argmax()])
        if 2 * largest(apart, before).sum() >= len(apart):
            return before
    names_needed = np.ceil(how.rho * len(apart) - DISTANCE_TOLERANCE)
    return float(scales[(sizes >= names_needed).argmax()]) if names_needed > 1 else 0.0


def compact(points: Reals, how: Compactness, pooled: float = 0.0) -> Compact:
    """The compact part of a class whose names are the unit rows (n, a), the class's own name first."""
    apart = distances(points, how.metric)
    eps = scale_of(apart, how, pooled)
    return Compact(eps, largest(apart, eps), apart <= eps + DISTANCE_TOLERANCE)


def distinct(points: Reals) -> Bools:
    """(n,) which of the unit rows (n, a) repeat no earlier row."""
    is_new = np.ones(len(points), dtype=bool)
    alike = points @ points.T > 1.0 - COSINE_TOLERANCE
    for number in range(1, len(points)):
        is_new[number] = not (alike[number, :number] & is_new[:number]).any()
    return is_new


def pooled_scale(names: Tensor, how: Compactness) -> float:
    """The scale of the rule `quantile` for classes (C, m, a); 0 for other rules, and where no class has two names."""
    if how.rule != "quantile":
        return 0.0
    ends = np.concatenate([deaths(distances(points, how.metric)) for _, points in _classes(names)])
    return float(np.quantile(ends, how.quantile)) if len(ends) else 0.0


def facets(joined: Bools, limit: int = MAX_FACETS) -> list[list[int]]:
    """The maximal simplices of a complex (n, n), each as its names: the maximal cliques (Bron and Kerbosch)."""
    near = [set(np.flatnonzero(row).tolist()) - {i} for i, row in enumerate(joined)]
    cliques: list[list[int]] = []

    def grow(chosen: list[int], open_: set[int], closed: set[int]) -> None:
        if len(cliques) >= limit:
            return
        if not open_ and not closed:
            cliques.append(sorted(chosen))
            return
        pivot = max(sorted(open_ | closed), key=lambda i: len(near[i] & open_))
        for i in sorted(open_ - near[pivot]):
            grow([*chosen, i], open_ & near[i], closed & near[i])
            open_, closed = open_ - {i}, closed | {i}

    grow([], set(range(len(near))), set())
    return cliques


@dataclass(frozen=True)
class Spaces:
    """The compact parts of C classes. Rows beyond the names of a class are zero, and False in `there`."""

    points: Tensor
    """(C, m, a) the names that are kept, in the order in which they came."""
    there: Tensor
    """(C, m) bool: which rows are names."""
    canonical: Tensor
    """(C, a) the class's own name, also where the space leaves it out."""
    joined: Tensor
    """(C, m, m) bool: names that are at most the class's scale apart."""
    facets: Tensor
    """(C, F, m) bool: the names of every maximal simplex; F = 0 if they were not asked for."""
    eps: Tensor
    """(C,) the scale of each class."""

    @property
    def alone(self) -> bool:
        """Whether every class is a single point."""
        return self.points.shape[1] == 1


def build_spaces(names: Tensor, how: Compactness, pooled: float = 0.0, with_facets: bool = False) -> Spaces:
    """The spaces of classes whose unit rows are (C, m, a), the class's own name first, rows of zeros at the end."""
    parts = [(rows, compact(points, how, pooled)) for rows, points in _classes(names)]
    kept_rows = [rows[one.kept] for rows, one in parts]
    joined = [one.joined[np.ix_(one.kept, one.kept)] for _, one in parts]
    simplices = [facets(edges) if with_facets else [] for edges in joined]
    classes, width = len(parts), max(len(rows) for rows in kept_rows)
    picked = torch.zeros(classes, width, dtype=torch.int64)
    there = torch.zeros(classes, width, dtype=torch.bool)
    edges = torch.zeros(classes, width, width, dtype=torch.bool)
    cliques = torch.zeros(classes, max(map(len, simplices)), width, dtype=torch.bool)
    for c, rows in enumerate(kept_rows):
        picked[c, : len(rows)] = torch.from_numpy(rows)
        there[c, : len(rows)] = True
        edges[c, : len(rows), : len(rows)] = torch.from_numpy(joined[c])
        for f, simplex in enumerate(simplices[c]):
            cliques[c, f, simplex] = True
    picked, there = picked.to(names.device), there.to(names.device)
    points = names.gather(1, picked[..., None].expand(-1, -1, names.shape[-1])) * there[..., None]
    eps = torch.tensor([one.eps for _, one in parts], dtype=torch.float64).to(points)
    return Spaces(points, there, names[:, 0], edges.to(names.device), cliques.to(names.device), eps)


def ensemble(names: Tensor) -> Tensor:
    """(C, m, a) -> (C, a) the normalised mean of all different names of each class."""
    return _mean_rows(names, [rows for rows, _ in _classes(names)])


def centres(names: Tensor, how: Compactness | None = None) -> Tensor:
    """(C, m, a) -> (C, a) the normalised mean of each class's compact part."""
    how = how or Compactness()
    pooled = pooled_scale(names, how)
    return _mean_rows(names, [rows[compact(points, how, pooled).kept] for rows, points in _classes(names)])


def _mean_rows(names: Tensor, rows_by_class: Sequence[NDArray[np.int64]]) -> Tensor:
    host = names.double().cpu().numpy()
    means = unit(np.stack([unit(host[c, rows]).mean(0) for c, rows in enumerate(rows_by_class)]))
    # A class of one name keeps that name's own numbers.
    single = torch.tensor([len(rows) == 1 for rows in rows_by_class], device=names.device)
    return torch.where(single[:, None], names[:, 0], torch.from_numpy(means).to(names))


def _classes(names: Tensor) -> Iterator[tuple[NDArray[np.int64], Reals]]:
    """For each class the numbers of its different names, and their unit rows (n, a); a class has at least one name."""
    for rows in names.double().cpu().numpy():
        there = np.flatnonzero(np.abs(rows).max(1) > 0)
        there = there if len(there) else np.array([0])
        points = np.nan_to_num(unit(rows[there]))
        different = distinct(points)
        yield there[different], points[different]
