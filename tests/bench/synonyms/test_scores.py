"""How a point is compared with a space: golden numbers of a plane, and what every score must bear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_space import CLASS, IMAGE
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.synonyms import scores as space_scores
from pzsl_bench.synonyms.scores import NEIGHBOURS, SCORES, Scoring, score_spaces
from pzsl_bench.synonyms.space import Compactness, Spaces, build_spaces

THREE = Compactness(rule="fixed", eps=0.2)
ALL = Compactness(rule="fixed", eps=2.0)
EVERY = [Scoring(score, "knn") for score in SCORES] + [Scoring("local_center", n) for n in NEIGHBOURS[1:]]
EVERY += [Scoring("local_center", k=3), Scoring("subspace", rank=0), Scoring("affine", rank=0)]
few = settings(deadline=None, max_examples=25)


def golden(how: Scoring, which: Compactness = THREE) -> float:
    return float(score_spaces(IMAGE, build_spaces(CLASS, which, with_facets=True), how))


def drawn(seed: int, classes: int = 4, names: int = 6, width: int = 8, images: int = 5) -> tuple[Tensor, Tensor]:
    """Names of classes (C, m, d) of which each has a number of its own, and images (B, d)."""
    g = torch.Generator().manual_seed(seed)
    middle = torch.randn(classes, 1, width, generator=g, dtype=torch.float64)
    points = F.normalize(middle + 0.6 * torch.randn(classes, names, width, generator=g, dtype=torch.float64), dim=-1)
    sizes = torch.randint(1, names + 1, (classes,), generator=g)
    points *= (torch.arange(names) < sizes[:, None])[..., None]
    return points, F.normalize(torch.randn(images, width, generator=g, dtype=torch.float64), dim=-1)


def spaces_of(names: Tensor, which: Compactness | None = None) -> Spaces:
    return build_spaces(names, which or Compactness(), with_facets=True)


@pytest.mark.parametrize(
    ("how", "score"),
    [
        (Scoring("canonical"), 0.77949605),
        (Scoring("center"), 0.79890363),
        (Scoring("mean"), 0.79081220),
        (Scoring("max"), 0.79890363),
        (Scoring("min"), 0.77949605),
        (Scoring("lse", tau=0.1), 0.79114688),
        (Scoring("subspace", rank=2), 0.8),
        (Scoring("subspace", rank=0), 0.8),
        (Scoring("affine", rank=0), -(0.6**2) / 2),
        (Scoring("hull"), -(0.62814039**2) / 2),
        (Scoring("simplex"), -(0.63141477**2) / 2),
        (Scoring("local_center", k=1), 0.79890363),
        (Scoring("local_center", k=2), 0.79951266),
        (Scoring("local_center", k=0), 0.79951266),
        (Scoring("local_center", k=3), 0.79890363),
        (Scoring("local_center", k=9), 0.79890363),
        (Scoring("local_center", "star"), 0.79890363),
        (Scoring("local_center", "facet"), 0.79951266),
        (Scoring("local_center", "soft", tau=0.1), 0.79921804),
    ],
)
def test_scores_of_names_in_a_plane(how: Scoring, score: float) -> None:
    assert golden(how) == pytest.approx(score, abs=1e-6)


def test_the_complex_is_the_hull_once_the_triangle_is_there() -> None:
    wider = Compactness(rule="fixed", eps=0.35)
    assert golden(Scoring("simplex"), wider) == pytest.approx(golden(Scoring("hull"), wider), abs=1e-12)
    assert golden(Scoring("simplex")) < golden(Scoring("hull"))


@pytest.mark.parametrize("how", EVERY)
def test_a_space_of_one_point_is_that_point(how: Scoring) -> None:
    names = F.normalize(torch.randn(7, 3, 16), dim=-1)
    images = F.normalize(torch.randn(9, 16), dim=-1)
    alone = spaces_of(names, Compactness(rule="fixed", eps=0.0))
    assert torch.equal(score_spaces(images, alone, how), images @ names[:, 0].T)


@pytest.mark.parametrize("how", EVERY)
def test_a_class_of_one_name_beside_others_is_ranked_as_its_cosine_says(how: Scoring) -> None:
    points, images = drawn(3)
    points[1, 1:] = 0
    score, cosine = score_spaces(images, spaces_of(points, ALL), how)[:, 1], images @ points[1, 0]
    if how.score == "subspace":
        torch.testing.assert_close(score, cosine.abs())
    else:
        torch.testing.assert_close(score, cosine - float(how.score in ("affine", "hull", "simplex")))


@pytest.mark.parametrize("how", EVERY)
@few
@given(seed=st.integers(0, 10**6))
def test_the_order_of_names_and_a_turn_of_the_sphere_change_nothing(how: Scoring, seed: int) -> None:
    points, images = drawn(seed)
    expected = score_spaces(images, spaces_of(points), how)
    g = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=g, dtype=torch.float64)).Q
    torch.testing.assert_close(score_spaces(images @ turn, spaces_of(points @ turn), how), expected, atol=1e-7, rtol=0)
    order = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + torch.randperm(5, generator=g)])
    torch.testing.assert_close(score_spaces(images, spaces_of(points[:, order]), how), expected, atol=1e-7, rtol=0)


@few
@given(seed=st.integers(0, 10**6))
def test_scores_keep_their_order_among_each_other(seed: int) -> None:
    points, images = drawn(seed)
    spaces = spaces_of(points, ALL)

    def scores(*how: object, **more: float) -> Tensor:
        return score_spaces(images, spaces, Scoring(*how, **more))  # type: ignore[arg-type]

    near, far, mean = scores("max"), scores("min"), scores("mean")
    assert (far <= mean + 1e-9).all()
    assert (mean <= near + 1e-9).all()
    torch.testing.assert_close(scores("lse", tau=1e-4), near, atol=1e-3, rtol=0)
    torch.testing.assert_close(scores("lse", tau=1e3), mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(scores("local_center", k=1), near)
    torch.testing.assert_close(scores("local_center", k=6), scores("center"))
    torch.testing.assert_close(scores("local_center", "soft", tau=1e6), scores("center"), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores("simplex"), scores("hull"), atol=1e-9, rtol=0)
    assert (scores("hull") >= near - 1 - 1e-9).all()
    assert (scores("affine", rank=0) >= scores("hull") - 1e-9).all()


def test_a_far_name_moves_the_center_of_all_names_but_not_of_those_that_hang_together() -> None:
    outlier = torch.tensor([[[0.0, -0.6, 0.8]]], dtype=torch.float64)
    more = torch.cat([CLASS[:, :3], outlier], dim=1)
    together = Compactness(rule="gap")
    for how in (Scoring("center"), Scoring("mean"), Scoring("hull"), Scoring("local_center", "soft")):
        without = score_spaces(IMAGE, spaces_of(CLASS[:, :3], ALL), how)
        torch.testing.assert_close(score_spaces(IMAGE, spaces_of(more, together), how), without)
        assert not torch.allclose(score_spaces(IMAGE, spaces_of(more, ALL), how), without)


@pytest.mark.parametrize("how", EVERY)
def test_blocks_of_any_size_give_the_same_scores(how: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    points, images = drawn(8, classes=6, images=11)
    whole = score_spaces(images, spaces_of(points), how)
    for size in (1, 50, 400):
        monkeypatch.setattr(space_scores, "BLOCK", size)
        torch.testing.assert_close(score_spaces(images, spaces_of(points), how), whole, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("how", EVERY)
def test_no_score_is_ever_no_number(how: Scoring) -> None:
    points = drawn(4)[0].float()
    points[2] = points[2, :1]
    points[3, 1] = -points[3, 0]
    images = torch.cat([points[:, 0], torch.zeros(1, 8), -points[:1, 0], 300 * points[1:2, 0]])
    for which in (Compactness(), ALL, Compactness(rule="fixed", eps=0.0)):
        assert score_spaces(images, spaces_of(points, which), how).isfinite().all()
        assert score_spaces(images[:1], spaces_of(points[:2], which), how).isfinite().all()


def test_names_that_are_equally_near_are_all_taken() -> None:
    names = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    image = F.normalize(torch.ones(1, 2), dim=-1)
    torch.testing.assert_close(score_spaces(image, spaces_of(names, ALL), Scoring(k=1)), torch.ones(1, 1))


@pytest.mark.parametrize("how", EVERY)
def test_single_precision_is_enough_for_real_class_names(how: Scoring, shared_data: Path) -> None:
    path = shared_data / "clip" / "imagenet_text_vitb32.npz"
    if not path.exists():
        pytest.skip(f"no real text vectors at {path}")
    with np.load(path) as archive:
        texts = F.normalize(torch.from_numpy(archive["text"].astype(np.float64)), dim=-1)
    names, images = texts[:80].view(8, 10, -1), texts[80:100]
    exact = score_spaces(images, spaces_of(names), how)
    rounded = score_spaces(images.float(), spaces_of(names.float()), how)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, atol=1e-5, rtol=0)
