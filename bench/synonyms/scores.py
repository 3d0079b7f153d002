"""How well an image fits a class that is a space of names and not a point.

x is a unit image, t_1 ... t_m are the unit names of a class that were kept; larger is better.

    canonical     x . t_1, the class's own name: CLIP's score
    center        x . unit(mean t_i)
    mean          mean of x . t_i
    max, min      the nearest, the farthest name
    lse           tau log mean exp(x . t_i / tau): from max (tau small) to mean (tau large)
    subspace      length of x in the span of the first `rank` principal directions through the origin
    affine        -d^2 / 2, d the distance to the flat through the mean along the first `rank` directions
    hull          -d^2 / 2, d the distance to the convex hull of the names
    simplex       -d^2 / 2, d the distance to the Vietoris-Rips complex: to the nearest of its simplices
    local_center  x . unit(sum_i w_i t_i), w says which names are near the image:
        knn       the k names of the largest x . t_i (k = 1 is max, k = m is center)
        star      the nearest name and all names that are joined to it
        facet     the best simplex: the largest x . unit(mean of its names)
        soft      all names, weighted by softmax(x . t_i / tau)

Where every class is a single point, every score is x . t. Scores are computed in blocks of images and classes, of
limited size, each from all its cosines at once: no tensor of all images x classes x names exists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pzsl_bench.contract import normalise
from pzsl_bench.synonyms.hull_distance import nearest_squares
from pzsl_bench.synonyms.space import Spaces

SCORES = (
    "local_center",
    "canonical",
    "center",
    "mean",
    "max",
    "min",
    "lse",
    "subspace",
    "affine",
    "hull",
    "simplex",
)
NEIGHBOURS = ("knn", "star", "facet", "soft")
BLOCK = 2**22
"""Numbers in the largest tensor of images x classes x names that exists at a time."""
DIRECTION_TOLERANCE = 1e-6
"""A direction that is shorter than this, relative to the longest one, does not count."""


@dataclass(frozen=True)
class Scoring:
    """Which score, and its settings."""

    score: str = "local_center"
    """One of SCORES."""
    neighbours: str = "knn"
    """One of NEIGHBOURS."""
    k: int = 0
    """How many of the nearest names `knn` takes; 0: half of the class's names, rounded up."""
    tau: float = 0.1
    rank: int = 2
    """Directions of `subspace` and `affine`; 0: all of them."""

    @property
    def wants_facets(self) -> bool:
        """Whether the score needs the facets of the complex."""
        return self.score == "simplex" or (self.score == "local_center" and self.neighbours == "facet")


def score_spaces(images: Tensor, spaces: Spaces, how: Scoring) -> Tensor:
    """(M, d) images -> (M, C) scores."""
    if how.score == "canonical":
        return images @ spaces.canonical.T
    if spaces.alone:
        return images @ spaces.points[:, 0].T
    if how.score in ("center", "mean"):
        means = _mean(spaces)
        return images @ (normalise(means) if how.score == "center" else means).T
    if how.score in ("subspace", "affine"):
        return _by_directions(images, spaces, how)
    rule = _RULES[how.score if how.score != "local_center" else how.neighbours]
    grams = _grams(spaces)
    scores = images.new_empty(len(images), len(spaces.points))
    for start, stop in _spans(len(spaces.points), _numbers_per_pair(spaces, how), BLOCK):
        part = Part(spaces.points[start:stop], spaces.there[start:stop], grams[start:stop])
        part = replace(part, joined=spaces.joined[start:stop], facets=spaces.facets[start:stop])
        flat = part.points.flatten(0, 1)
        for first, last in _spans(len(images), (stop - start) * _numbers_per_pair(spaces, how), BLOCK):
            block = images[first:last]
            dots = (block @ flat.T).view(len(block), *part.there.shape)
            scores[first:last, start:stop] = rule(dots, part, how, block.square().sum(-1))
    return scores


@dataclass(frozen=True)
class Part:
    """Some of the classes, with the inner products of their names; `Spaces` describes the other fields."""

    points: Tensor
    there: Tensor
    gram: Tensor
    """(C, m, m)"""
    joined: Tensor | None = None
    facets: Tensor | None = None


Rule = Callable[[Tensor, Part, Scoring, Tensor], Tensor]
"""(B, C, m) cosines, the classes, the settings, (B,) squared lengths of the images -> (B, C) scores."""


def _largest(dots: Tensor, part: Part, how: Scoring, squares: Tensor) -> Tensor:
    return dots.masked_fill(~part.there, float("-inf")).amax(-1)


def _smallest(dots: Tensor, part: Part, how: Scoring, squares: Tensor) -> Tensor:
    return dots.masked_fill(~part.there, float("inf")).amin(-1)


def _log_mean_exp(dots: Tensor, part: Part, how: Scoring, squares: Tensor) -> Tensor:
    among = (dots / how.tau).masked_fill(~part.there, float("-inf"))
    return how.tau * (among.logsumexp(-1) - part.there.sum(-1).to(dots).log())


def _hull(dots: Tensor, part: Part, how: Scoring, squares: Tensor) -> Tensor:
    there = part.there.expand_as(dots)
    return -nearest_squares(part.gram, dots, there, squares[:, None].expand(dots.shape[:-1])) / 2


def _simplex(dots: Tensor, part: Part, how: Scoring, squares: Tensor) -> Tensor:
    assert part.facets is not None
    best = dots.new_full(dots.shape[:-1], float("inf"))
    for facet in part.facets.unbind(1):
        there = facet.expand_as(dots)
        # A class of fewer facets has empty ones in the remaining places.
        is_facet = facet.any(-1)
        whole = torch.where(is_facet[:, None], there, part.there)
        squared_distances = nearest_squares(part.gram, dots, whole, squares[:, None].expand(dots.shape[:-1]))
        best = torch.where(is_facet, torch.minimum(best, squared_distances), best)
    return -best / 2


def _knn(dots: Tensor, part: Part, how: Scoring, squares: Tensor) -> Tensor:
    among = dots.masked_fill(~part.there, float("-inf"))
    names = part.there.sum(-1)
    k = (names + 1) // 2 if how.k == 0 else names.clamp(max=how.k)
    place = (among.shape[-1] - k).expand(dots.shape[:-1])[..., None]
    # Names that are equally near are all taken, whatever their order.
    weights = (among >= _sorted(among).gather(-1, place)).to(dots)
    return _cosine_to_mean(dots, weights, part.gram)


def _sorted(rows: Tensor) -> Tensor:
    """The rows in ascending order; NumPy sorts short ones several times faster than PyTorch does on a CPU."""
    return torch.from_numpy(np.sort(rows.numpy(), axis=-1)) if rows.device.type == "cpu" else rows.sort(-1).values


def _star(dots: Tensor, part: Part, how: Scoring, squares: Tensor) -> Tensor:
    assert part.joined is not None
    nearest = dots.masked_fill(~part.there, float("-inf")).argmax(-1)
    weights = part.joined[torch.arange(len(part.joined), device=dots.device), nearest].to(dots)
    return _cosine_to_mean(dots, weights, part.gram)


def _facet(dots: Tensor, part: Part, how: Scoring, squares: Tensor) -> Tensor:
    assert part.facets is not None
    members = part.facets.to(dots)
    lengths = torch.einsum("cfi,cij,cfj->cf", members, part.gram, members)
    is_facet = part.facets.any(-1)
    lengths = torch.where(is_facet, lengths, 1.0).clamp(min=torch.finfo(dots.dtype).tiny).sqrt()
    barycentres = torch.einsum("bci,cfi->bcf", dots, members) / lengths
    return barycentres.masked_fill(~is_facet, float("-inf")).amax(-1)


def _soft(dots: Tensor, part: Part, how: Scoring, squares: Tensor) -> Tensor:
    weights = (dots / how.tau).masked_fill(~part.there, float("-inf")).softmax(-1)
    return _cosine_to_mean(dots, weights, part.gram)


_RULES: dict[str, Rule] = {
    "max": _largest,
    "min": _smallest,
    "lse": _log_mean_exp,
    "hull": _hull,
    "simplex": _simplex,
    "knn": _knn,
    "star": _star,
    "facet": _facet,
    "soft": _soft,
}


def _cosine_to_mean(dots: Tensor, weights: Tensor, gram: Tensor) -> Tensor:
    """(B, C) x . unit(sum_i w_i t_i), from (B, C, m) cosines and weights; the sum itself is not computed."""
    length = (torch.bmm(weights.transpose(0, 1), gram).transpose(0, 1) * weights).sum(-1)
    return (dots * weights).sum(-1) / length.clamp(min=torch.finfo(dots.dtype).tiny).sqrt()


def _grams(spaces: Spaces) -> Tensor:
    """(C, m, m) inner products; exactly 1 where a class is one name, so that its score is exactly its cosine."""
    gram = spaces.points @ spaces.points.transpose(1, 2)
    single = (spaces.there.sum(-1) == 1)[:, None, None]
    return torch.where(single & spaces.joined, torch.ones_like(gram), gram)


def _mean(spaces: Spaces) -> Tensor:
    return spaces.points.sum(1) / spaces.there.sum(1, keepdim=True)


def _by_directions(images: Tensor, spaces: Spaces, how: Scoring) -> Tensor:
    """The scores of linear and affine spans, from (C, r, d) orthonormal directions, zero where there are fewer."""
    means = _mean(spaces)
    middle = means[:, None] if how.score == "affine" else torch.zeros_like(means[:, None])
    wide = ((spaces.points - middle) * spaces.there[..., None]).double()
    _, lengths, rows = torch.linalg.svd(wide, full_matrices=False)
    # Around its mean, a class of one name has only rounding errors.
    longest = lengths[:, :1] if how.score == "subspace" else lengths[:, :1].clamp(min=DIRECTION_TOLERANCE)
    basis = (rows * (lengths > DIRECTION_TOLERANCE * longest)[..., None]).to(images)
    basis = basis[:, : how.rank] if how.rank else basis
    scores = images.new_empty(len(images), len(means))
    flat, offsets = basis.flatten(0, 1), (basis @ means[..., None]).squeeze(-1)
    for first, last in _spans(len(images), flat.shape[0], BLOCK):
        block = images[first:last]
        parts = (block @ flat.T).view(len(block), *offsets.shape)
        if how.score == "subspace":
            scores[first:last] = parts.square().sum(-1).sqrt()
            continue
        to_mean = block.square().sum(-1, keepdim=True) - 2 * block @ means.T + means.square().sum(-1)
        scores[first:last] = -(to_mean - (parts - offsets).square().sum(-1)).clamp(min=0) / 2
    return scores


def _numbers_per_pair(spaces: Spaces, how: Scoring) -> int:
    """How many numbers the tensors of one image and one class have."""
    names = spaces.points.shape[1]
    if how.score in ("hull", "simplex"):
        return names * names
    return max(names, spaces.facets.shape[1])


def _spans(length: int, size: int, limit: int) -> list[tuple[int, int]]:
    """Consecutive spans of `length` things of `size` numbers each; a span has at most `limit` numbers, or one thing."""
    step = max(1, limit // max(1, size))
    return [(start, min(start + step, length)) for start in range(0, length, step)]
