"""Other looks at an image, for methods that live on augmentation.

Encoded crops are the real thing: every training image was encoded again in a few augmented forms, once. Noise on the
features is a variant for data sets without images; no paper's own augmentation looks like it.
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

Maker = Callable[[int, int, Tensor, Tensor], Tensor]
"""(step, epoch, (R * B,) images, (R, B, d) their features) -> (R, looks, B, d)."""
SAMPLE = 512
"""Images among which nearest neighbours are looked for."""


def view_maker(method: Gradient, varying: Mapping[str, Tensor], studies: Studies) -> Maker:
    """What makes the views that a method asks for."""
    if not isinstance(method, Viewed):
        raise TypeError(f"{type(method).__name__} wants views but is not a Viewed method")
    if method.views == "noise":
        strength = varying.get("view_noise", torch.tensor(method.view_noise)).view(-1, 1, 1, 1)
        return _noise(method.looks, strength.to(studies.features.device), studies)
    if studies.views is None:
        raise UserError("there are no encoded crops here; views: noise works on features alone")
    return _crops(method.looks, studies.views, len(studies))


def _crops(looks: int, crops: Tensor, runs: int) -> Maker:
    def make(step: int, epoch: int, picked: Tensor, features: Tensor) -> Tensor:
        # The looks change from epoch to epoch, in turn.
        chosen = [crops[(epoch * looks + j) % len(crops)] for j in range(looks)]
        return torch.stack([c.index_select(0, picked).view_as(features) for c in chosen], dim=1)

    return make


def _noise(looks: int, strength: Tensor, studies: Studies) -> Maker:
    dice = Dice(studies.keys, studies.features.device)
    first = studies.of(0).features
    unit = bool((first.norm(dim=1) - 1).abs().max() < 1e-3)
    # From a run's own images, so that it does not depend on its stack.
    images = studies.features if studies.per_run_features else first.unsqueeze(0)
    distance = torch.stack([neighbour_distance(own) for own in images]).view(-1, 1, 1, 1)
    length = strength * distance / math.sqrt(first.shape[1])
    largest: dict[str, int] = {}

    def make(step: int, epoch: int, picked: Tensor, features: Tensor) -> Tensor:
        shape = (looks, features.shape[1], 2 * features.shape[2])
        size = largest.setdefault("noise", math.prod(shape))
        thrown = dice.throw(step, {"noise": shape}, {"noise": size})["noise"]
        noisy = features.unsqueeze(1) + length * normal(thrown)
        return torch.nn.functional.normalize(noisy, dim=-1) if unit else noisy

    return make


def neighbour_distance(features: Tensor) -> Tensor:
    """Mean distance to the nearest other image, from some of the images."""
    some = features[:: max(1, len(features) // SAMPLE)][:SAMPLE]
    distance = torch.cdist(some, some)
    distance.fill_diagonal_(float("inf"))
    return distance.amin(1).mean() if len(some) > 1 else distance.new_ones(())
