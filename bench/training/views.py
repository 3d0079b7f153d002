"""Augmented views of training images, for methods that train on several views of an image.

There are two kinds. For crops, a few augmented forms of every training image were encoded once. Noise on the features
is a variant for datasets without images; no paper augments in this way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.distributions import normal
from pzsl_bench.contract import Gradient, Viewed
from pzsl_bench.problem.studies import Studies
from pzsl_bench.training.device_random import Dice

ViewMaker = Callable[[int, int, Tensor, Tensor], Tensor]
"""(step, epoch, (R * B,) images, (R, B, d) their features) -> (R, looks, B, d)."""
SAMPLE = 512
"""The most images among which nearest neighbours are searched."""


def view_maker(method: Gradient, varying: Mapping[str, Tensor], studies: Studies) -> ViewMaker:
    """The function that makes the views of every batch for a method."""
    if not isinstance(method, Viewed):
        raise TypeError(f"{type(method).__name__} wants views but is not a Viewed method")
    if method.views == "noise":
        strength = varying.get("view_noise", torch.tensor(method.view_noise)).view(-1, 1, 1, 1)
        return _noise(method.looks, strength.to(studies.features.device), studies)
    if studies.views is None:
        raise UserError("there are no encoded crops here; views: noise works on features alone")
    return _crops(method.looks, studies.views, len(studies))


def _crops(looks: int, crops: Tensor, runs: int) -> ViewMaker:
    def make(step: int, epoch: int, picked: Tensor, features: Tensor) -> Tensor:
        # Epochs take the encoded crops in turn.
        views = [crops[(epoch * looks + j) % len(crops)] for j in range(looks)]
        return torch.stack([c.index_select(0, picked).view_as(features) for c in views], dim=1)

    return make


def _noise(looks: int, strength: Tensor, studies: Studies) -> ViewMaker:
    dice = Dice(studies.keys, studies.features.device)
    first = studies.of(0).features
    unit_length = bool((first.norm(dim=1) - 1).abs().max() < 1e-3)
    # The distance is that of the run's images, so that a run does not depend on its stack.
    images = studies.features if studies.per_run_features else first.unsqueeze(0)
    distance = torch.stack([neighbour_distance(features) for features in images]).view(-1, 1, 1, 1)
    length = strength * distance / math.sqrt(first.shape[1])
    largest: dict[str, int] = {}

    def make(step: int, epoch: int, picked: Tensor, features: Tensor) -> Tensor:
        shape = (looks, features.shape[1], 2 * features.shape[2])
        size = largest.setdefault("noise", math.prod(shape))
        thrown = dice.throw(step, {"noise": shape}, {"noise": size})["noise"]
        noisy = features.unsqueeze(1) + length * normal(thrown)
        return torch.nn.functional.normalize(noisy, dim=-1) if unit_length else noisy

    return make


def neighbour_distance(features: Tensor) -> Tensor:
    """Mean distance to the nearest other image, estimated on a sample of the images."""
    sample = features[:: max(1, len(features) // SAMPLE)][:SAMPLE]
    distance = torch.cdist(sample, sample)
    distance.fill_diagonal_(float("inf"))
    return distance.amin(1).mean() if len(sample) > 1 else distance.new_ones(())
