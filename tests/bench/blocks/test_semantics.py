"""Centring: what classes share is taken away, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pzsl_bench.blocks.semantics import CentredBoth, class_semantics
from pzsl_bench.contract import configure, normalise
from pzsl_bench.data.ambiguity import draw_candidates
from pzsl_bench.judging.judge import judge
from pzsl_bench.problem.problem import Problem
from pzsl_bench.training.fit import fit


@dataclass(frozen=True)
class Plain(CentredBoth):
    pass


def narrow(classes: int = 12, width: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return normalise(torch.randn(classes, width, generator=generator) + 3)


def test_unseen_classes_lose_what_the_seen_ones_share() -> None:
    texts, method = narrow(), Plain()
    mean = method.text_mean(texts[:8])
    torch.testing.assert_close(mean, texts[:8].mean(0))
    torch.testing.assert_close(method.semantics(texts, mean), normalise(texts - texts[:8].mean(0)))


def test_centring_can_be_switched_off() -> None:
    texts, method = narrow(), Plain(center_texts=False, center_images=False)
    assert method.semantics(texts, method.text_mean(texts)) is texts
    assert not method.image_mean(texts).any()


def test_a_single_class_or_image_is_not_its_own_mean() -> None:
    texts = narrow()
    assert not Plain().text_mean(texts[:1]).any()
    assert not Plain().image_mean(texts[:1]).any()


def test_classes_that_are_all_the_same_have_no_direction_left() -> None:
    texts = narrow()[:1].expand(5, -1) * torch.ones(5, 1)
    assert not class_semantics(texts, texts.mean(0)).abs().gt(0.3).any()


def test_a_single_attribute_keeps_its_size() -> None:
    texts = torch.tensor([[1.0], [2.0], [6.0]])
    assert class_semantics(texts, texts.mean(0)).flatten().tolist() == [-2.0, -1.0, 3.0]


@pytest.fixture(scope="module")
def names(shared_data: Path) -> Tensor:
    """(90, 512) every eleventh class name of ImageNet as CLIP ViT-B/32 really encodes it."""
    with np.load(shared_data / "clip" / "imagenet_text_vitb32.npz") as arrays:
        return normalise(torch.from_numpy(arrays["text"]).float())[::11][:90]


def test_real_names_lie_in_a_narrow_cone_until_they_are_centred(names: Tensor) -> None:
    def cosine(rows: Tensor) -> float:
        return float((rows @ rows.T)[~torch.eye(len(rows)).bool()].mean())

    assert cosine(names) > 0.55
    assert abs(cosine(class_semantics(names, names.mean(0)))) < 0.05


def around(texts: Tensor, seen: int) -> Problem:
    """Images that differ as the texts do, beside a mean of their own: the gap between the two kinds of CLIP vectors."""
    generator = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    gap, train, test = noise(512), np.repeat(np.arange(seen), 20), np.repeat(np.arange(len(texts)), 10)
    images = [normalise(texts[t] - texts.mean(0) + gap + noise(len(t), 512)) for t in (train, test)]
    return Problem("cone", images[0], train, images[1], test, texts, ("",) * len(texts), seen, (), 100.0)


@pytest.mark.parametrize(
    ("name", "settings", "flip", "gain"),
    [("ridge", {}, 0.0, 0.3), ("eszsl", {"reg_semantic": 30.0}, 0.1, 0.1), ("eszsl", {}, 0.0, 0.0)],
)
def test_centring_real_names_helps_unseen_classes(
    names: Tensor, name: str, settings: dict[str, float], flip: float, gain: float
) -> None:
    problem = around(names, 60)
    candidates = torch.from_numpy(draw_candidates("flip", problem.labelled, flip, "cone", 0))[None]
    studies = problem.studies(candidates, ["a"], ["a"])

    def accuracy(center: bool) -> float:
        plain = {"prior": "none", "units": "absolute"}
        method = configure(name, {**settings, **plain, "center_texts": center, "center_images": center})
        [metrics] = judge(fit([method], studies), problem.exam(), problem.train, candidates, [None])
        assert metrics["T1"] is not None
        return metrics["T1"]

    assert accuracy(True) > accuracy(False) + gain
