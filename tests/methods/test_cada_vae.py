"""CADA-VAE's loss, its ramps and gradients agree with the authors' release."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from replay import agree, double, fixture
from retrain import Retrain, dice_of, study_of
from torch.distributions import Normal, kl_divergence

from pzsl_bench.contract import State
from pzsl_bench.methods.cada_vae import RAMPS, divergence, ramp_share, wasserstein_distance

FILE = fixture("cada_vae_loss")
GIVEN = FILE["inputs"]
BOUNDS = {"atol": FILE["tolerance"], "rtol": 1e-12}
CASES = list(zip(GIVEN["cases"], FILE["expected"], strict=True))
RELEASE = {
    "images": "as_given",
    "center_images": False,
    "center_texts": False,
    "rescale": False,
    "epochs": 100,
    "latent": 3,
    "upstream_noise": True,
}
NAMES = {
    "enc.resnet_features.feature_encoder.0": "images.inner",
    "enc.resnet_features._mu": "images.mean",
    "enc.resnet_features._logvar": "images.log_variance",
    "enc.attributes.feature_encoder.0": "texts.inner",
    "enc.attributes._mu": "texts.mean",
    "enc.attributes._logvar": "texts.log_variance",
    "dec.resnet_features.feature_decoder.0": "to_images.inner",
    "dec.resnet_features.feature_decoder.2": "to_images.out",
    "dec.attributes.feature_decoder.0": "to_texts.inner",
    "dec.attributes.feature_decoder.2": "to_texts.out",
}
GRADIENTS = {"grad_enc_img_mu_weight": "images.mean.weight", "grad_dec_att_first_weight": "to_texts.inner.weight"}
SETTINGS = {"beta": "beta", "cross": "cross_reconstruction", "align": "distance"}
"""Our names of the weights, and the release's of their ramps."""


def played(case: dict[str, Any]) -> tuple[float, State, State]:
    """Loss, its parts and gradients of one case; every image is of a class of its own."""
    start = {}
    for name, value in GIVEN["parameters"].items():
        layer, _, kind = name.rpartition(".")
        start[f"{NAMES[layer]}.{kind}"] = double(value).t()
    factors = {ours: GIVEN["warmup"][theirs]["factor"] for ours, theirs in SETTINGS.items()}
    study = study_of(double(GIVEN["img"]), double(GIVEN["att"]), torch.eye(5, dtype=torch.float64))
    run = Retrain("cada_vae", study, {**RELEASE, **factors}, start)
    noise = {m: double(GIVEN[f"eps_{key}"]) * case["noise"] for m, key in (("image", "img"), ("text", "att"))}
    dice = {"label": torch.zeros(5, dtype=torch.float64), **{m: dice_of(eps) for m, eps in noise.items()}}
    loss, gradients = run.step(range(5), dice=dice, epoch=case["epoch"])
    return loss, run.notes, gradients


@pytest.mark.parametrize(("case", "expected"), CASES)
def test_loss_parts_and_gradients_equal_the_release(case: dict[str, Any], expected: dict[str, Any]) -> None:
    loss, notes, gradients = played(case)
    parts = expected["parts"]
    agree(double(loss), expected["loss"], BOUNDS)
    agree(notes["own"], parts["reconstruction"], BOUNDS)
    agree(notes["cross"], parts["cross_reconstruction"], BOUNDS)
    agree(-notes["beta"], parts["kld_signed"], BOUNDS)
    agree(notes["align"], parts["distance"], BOUNDS)
    for theirs, ours in GRADIENTS.items():
        if expected[theirs] is not None:
            agree(gradients[ours].T, expected[theirs], BOUNDS)


@pytest.mark.parametrize(("case", "expected"), CASES)
def test_weights_rise_as_in_the_release(case: dict[str, Any], expected: dict[str, Any]) -> None:
    theirs = {"beta": "beta", "cross": "cross_factor", "align": "distance_factor"}
    for ours, ramp in SETTINGS.items():
        recorded = GIVEN["warmup"][ramp]
        assert RAMPS[ours] == (recorded["start_epoch"], recorded["end_epoch"])
        weight = recorded["factor"] * ramp_share(double(case["epoch"]), *RAMPS[ours])
        agree(weight, expected["parts"][theirs[ours]], BOUNDS)


def test_distances_between_codes_are_those_between_normal_distributions() -> None:
    mean, log_variance, other = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    code = Normal(mean, (log_variance / 2).exp())
    standard = Normal(torch.zeros(4, 6), torch.ones(4, 6))
    torch.testing.assert_close(divergence(mean, log_variance), kl_divergence(code, standard).sum())
    torch.testing.assert_close(wasserstein_distance((mean, other), (other, other)), (mean - other).norm(dim=-1).sum())


def test_codes_that_coincide_have_a_slope() -> None:
    mean = torch.zeros(2, 3, requires_grad=True)
    wasserstein_distance((mean, torch.zeros(2, 3)), (torch.zeros(2, 3), torch.zeros(2, 3))).backward()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()
