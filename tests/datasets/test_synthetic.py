from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pzsl_bench.base.errors import UserError
from pzsl_bench.data.source import Source, find_dataset
from pzsl_bench.datasets.synthetic import PRESETS, read_world
from pzsl_bench.encoding.crops import VIEWS

Array = NDArray[np.float64]

CLIP = {
    "image-image": (0.69, 0.10),
    "text-text": (0.61, 0.12),
    "true": 0.251,
    "wrong": 0.187,
    "image mean": 0.83,
    "text mean": 0.78,
    "gap": 1.0,
    "image rank": 16.0,
    "text rank": 55.0,
    "11-way accuracy": 0.84,
}
"""Measured on CLIP ViT-B/32: 2,000 photographs of 40 types, the 1,000 ImageNet names, all of unit length."""


def make(spec: str) -> Source:
    return find_dataset(spec).open()


def off_diagonal(gram: Array) -> Array:
    return gram[~np.eye(len(gram), dtype=bool)]


def effective_rank(rows: Array) -> float:
    spectrum = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    return float(spectrum.sum() ** 2 / (spectrum**2).sum())


def geometry(source: Source) -> dict[str, float | tuple[float, float]]:
    rng = np.random.default_rng(0)
    assert source.features is not None and source.texts is not None
    some = rng.permutation(len(source.labels))[:2000]
    x, t, y = source.features[some].astype(float), source.texts.astype(float), source.labels[some]
    image_image, text_text, image_text = off_diagonal(x @ x.T), off_diagonal(t @ t.T), x @ t.T
    own = np.arange(len(t)) == y[:, None]
    right = []
    for _ in range(40):
        classes = rng.permutation(len(t))[:11]
        rows = np.isin(y, classes)
        right.append((classes[image_text[rows][:, classes].argmax(1)] == y[rows]).mean())
    return {
        "image-image": (image_image.mean(), image_image.std()),
        "text-text": (text_text.mean(), text_text.std()),
        "true": image_text[own].mean(),
        "wrong": image_text[~own].mean(),
        "image mean": np.linalg.norm(x.mean(0)),
        "text mean": np.linalg.norm(t.mean(0)),
        "gap": np.linalg.norm(x.mean(0) - t.mean(0)),
        "image rank": effective_rank(x),
        "text rank": effective_rank(t),
        "11-way accuracy": float(np.mean(right)),
    }


@pytest.mark.parametrize(
    ("spec", "text_rank", "accuracy"),
    [
        # Sixty names in 64 dimensions cannot spread over 55: that figure belongs to a thousand names.
        ("synthetic", (18, 32), 0.2),
        ("synthetic:cub", (35, 60), 0.05),
        ("synthetic:seen=800:unseen=200:dim=512:per_class=2:test=1", (48, 62), 0.05),
    ],
)
def test_the_geometry_is_that_of_clip(spec: str, text_rank: tuple[float, float], accuracy: float) -> None:
    g = geometry(make(spec))
    for pair in ("image-image", "text-text"):
        assert g[pair] == pytest.approx(CLIP[pair], abs=0.03), pair
    for figure in ("true", "wrong", "image mean", "text mean"):
        assert g[figure] == pytest.approx(CLIP[figure], abs=0.02), figure
    assert g["gap"] == pytest.approx(CLIP["gap"], abs=0.05)
    assert g["image rank"] == pytest.approx(CLIP["image rank"], abs=4)
    assert text_rank[0] < g["text rank"] < text_rank[1]
    assert g["11-way accuracy"] == pytest.approx(CLIP["11-way accuracy"], abs=accuracy)


def test_a_map_learned_on_seen_classes_helps_on_unseen_ones() -> None:
    s = make("synthetic:cub")
    assert s.features is not None and s.texts is not None
    x, t, seen, unseen = s.features, s.texts, list(s.seen), np.array(s.unseen)
    train, test = ~s.is_test, s.is_test & np.isin(s.labels, unseen)
    origin, names = x[train].mean(0), t[seen].mean(0)
    centred = x[train] - origin
    ridge = np.linalg.solve(centred.T @ centred + np.eye(512) * 5, centred.T @ (t[s.labels[train]] - names))
    zero_shot = (unseen[(x[test] @ t[unseen].T).argmax(1)] == s.labels[test]).mean()
    learned = (unseen[((x[test] - origin) @ ridge @ (t[unseen] - names).T).argmax(1)] == s.labels[test]).mean()
    assert zero_shot > 0.5 and learned > zero_shot + 0.05


def test_the_same_words_give_the_same_numbers_in_another_process() -> None:
    code = (
        "import hashlib; from pzsl_bench.data.source import find_dataset; s = find_dataset('synthetic').open();"
        "print(hashlib.sha256(s.features.round(5).tobytes() + s.texts.round(5).tobytes()).hexdigest(), s.checksum)"
    )
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(runs) == 1 and make("synthetic").checksum in runs.pop()


def test_an_image_does_not_depend_on_how_many_follow() -> None:
    few, many = make("synthetic:test=3"), make("synthetic:test=9")
    assert few.features is not None and many.features is not None
    train = int((~few.is_test).sum())
    np.testing.assert_array_equal(few.features[:train], many.features[:train])


def test_every_setting_changes_the_checksum() -> None:
    specs = ["", "seen=41", "unseen=21", "dim=65", "per_class=9", "test=7", "noise=2", "gap=0.9", "cone=0.7", "seed=1"]
    sums = {make(":".join(filter(None, ["synthetic", s]))).checksum for s in specs}
    assert len(sums) == len(specs)
    assert make("synthetic:seen=40").checksum == make("synthetic").checksum


def test_tags_are_one_to_four_of_which_some_are_frequent() -> None:
    s = make("synthetic:tags:test=200")
    assert s.task == find_dataset("synthetic:tags").task == "tags"
    assert s.tags is not None and s.labels is None
    present = s.tags > 0
    assert np.unique(present.sum(1)).tolist() == [1, 2, 3, 4]
    assert set(np.unique(s.tags).tolist()) == {-1, 1}
    often = np.sort(present.sum(0))
    assert often[0] > 0 and often[-1] > 2 * often[0]
    seen, unseen = present[:, list(s.seen)].mean(), present[:, list(s.unseen)].mean()
    assert 0.7 < seen / unseen < 1.4
    assert abs((~s.is_test).sum() - 40 * 100 / 2.5) < 1


def test_texts_find_the_images_of_a_tag() -> None:
    s = make("synthetic:tags")
    assert s.features is not None and s.texts is not None and s.tags is not None
    scores, present = s.features @ s.texts.T, s.tags > 0
    higher = np.mean([(scores[present[:, k], k].mean() > scores[~present[:, k], k].mean()) for k in range(60)])
    assert higher > 0.95


def test_a_world_without_the_word_tags_is_what_it_was() -> None:
    assert make("synthetic").checksum == "8490a0af457c0a078a477df346431546c793f3c9eb413a535a0227d6ab98e514"
    assert make("synthetic:tags").checksum != make("synthetic").checksum
    assert make("synthetic:tags:seen=20").checksum == make("synthetic:seen=20:tags").checksum


def test_cub_has_the_size_of_cub() -> None:
    s = make("synthetic:cub")
    assert s.features is not None and s.features.shape[1] == 512
    assert (~s.is_test).sum() == 7057
    assert (len(s.seen), len(s.unseen)) == (150, 50)
    assert not np.isin(s.labels[~s.is_test], s.unseen).any()
    assert (np.bincount(s.labels[s.is_test]) == 30).all()


def test_knobs_do_what_they_say() -> None:
    wide, narrow = geometry(make("synthetic:noise=2")), geometry(make("synthetic:noise=0.5"))
    assert wide["11-way accuracy"] < narrow["11-way accuracy"]
    assert geometry(make("synthetic:gap=0.8"))["gap"] == pytest.approx(0.8, abs=0.02)
    assert geometry(make("synthetic:cone=0.6"))["text mean"] == pytest.approx(0.6, abs=0.03)
    other = make("synthetic:seed=1").features
    same = make("synthetic").features
    assert other is not None and same is not None and not np.allclose(other, same)


def test_settings_follow_a_preset() -> None:
    world = read_world("synthetic:cub:dim=256", ["cub", "dim=256"])
    assert world.dim == 256 and world.seen == PRESETS["cub"].seen


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("synthetic:cubs", "did you mean 'cub'"),
        ("synthetic:tag", "did you mean 'tags'"),
        ("synthetic:sen=3", "did you mean 'seen'"),
        ("synthetic:seen=many", "seen=many is not a whole number"),
        ("synthetic:seen=2.5", "not a whole number"),
        ("synthetic:seen=1", "at least 2"),
        ("synthetic:dim=4", "at least 8"),
        ("synthetic:noise=loud", "noise=loud is not a number"),
        ("synthetic:noise=-1", "must not be negative"),
        ("synthetic:noise=nan", "must not be negative"),
        ("synthetic:cone=1.5", "between 0 and 1"),
        ("synthetic:gap=5", r"gap must lie in \[0.05, 1.61\]"),
    ],
)
def test_wrong_words_are_told_before_anything_is_made(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_dataset(spec)


@settings(max_examples=25, deadline=None)
@given(
    seen=st.integers(2, 30),
    unseen=st.integers(1, 10),
    dim=st.integers(8, 80),
    per_class=st.integers(1, 5),
    noise=st.floats(0, 5),
    gap=st.floats(0.06, 1.6),
)
def test_any_world_is_finite_unit_rows(
    seen: int, unseen: int, dim: int, per_class: int, noise: float, gap: float
) -> None:
    s = make(f"synthetic:seen={seen}:unseen={unseen}:dim={dim}:per_class={per_class}:noise={noise}:gap={gap}:test=2")
    assert s.features is not None and s.texts is not None
    assert s.features.dtype == s.texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(s.features, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(s.texts, axis=1), 1, atol=1e-4)
    assert len(s.features) == seen * per_class + 2 * (seen + unseen)


def test_the_figures_of_real_texts_are_those_of_the_real_file(shared_data: Path) -> None:
    path = shared_data / "clip" / "imagenet_text_vitb32.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    rows = np.load(path)["text"].astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = off_diagonal(rows @ rows.T)
    assert (round(cosines.mean(), 2), round(cosines.std(), 2)) == CLIP["text-text"]
    assert np.linalg.norm(rows.mean(0)) == pytest.approx(CLIP["text mean"], abs=0.005)
    assert effective_rank(rows) == pytest.approx(CLIP["text rank"], abs=1)


@pytest.mark.parametrize("spec", ["synthetic", "synthetic:cub:per_class=10", "synthetic:noise=2"])
def test_a_view_is_nearer_to_its_own_image_than_to_others(spec: str) -> None:
    s = make(spec)
    assert s.features is not None and s.views is not None
    x, y = s.features[s.training], s.labels[s.training]
    views = s.views()
    assert views.shape == (VIEWS, *x.shape) and views.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(views, axis=-1), 1, atol=1e-4)
    assert all(not np.allclose(views[0], view) for view in views[1:])
    kin = (y[:, None] == y) & ~np.eye(len(y), dtype=bool)
    for view in views:
        cosine = view @ x.T
        own = cosine.diagonal()
        assert own.mean() == pytest.approx(0.9, abs=0.02)
        assert own.mean() > cosine[kin].mean() + 0.1
        nearer = (cosine > own[:, None]).sum(1)
        # Crops of `shapes` find their own image first for 30 percent, and among the nearest hundredth for 82 percent.
        assert (nearer == 0).mean() > 0.3
        assert (nearer < len(x) / 100).mean() > 0.7


def test_views_have_the_geometry_of_images() -> None:
    s = make("synthetic:cub:per_class=10")
    assert s.features is not None and s.texts is not None and s.views is not None
    x, t, y = s.features[s.training], s.texts[list(s.seen)], s.labels[s.training]
    for view in s.views():
        assert view.mean(0) @ view.mean(0) == pytest.approx(x.mean(0) @ x.mean(0), abs=0.01)
        assert (view * t[y]).sum(1).mean() == pytest.approx((x * t[y]).sum(1).mean(), abs=0.005)
        assert ((view @ t.T).argmax(1) == y).mean() == pytest.approx(((x @ t.T).argmax(1) == y).mean(), abs=0.05)


def test_views_are_the_same_every_time_and_whatever_is_tested() -> None:
    few, many = make("synthetic:test=3").views, make("synthetic:test=9").views
    assert few is not None and many is not None
    np.testing.assert_array_equal(few(), many())
