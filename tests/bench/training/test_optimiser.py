"""Stacked optimisers: torch's own updates, for all runs at once."""

from __future__ import annotations

import pytest
import torch

from pzsl_bench.contract import configure
from pzsl_bench.training.optimiser import StackedOptimiser, rate_factor

RUNS = 3


def descend(optimiser: StackedOptimiser, steps: int = 5) -> None:
    for step in range(steps):
        grads = [torch.sin(p.detach() * (1 + torch.arange(RUNS).view(-1, 1))) for p in optimiser.params]
        optimiser.step(grads, step / steps)


def parameters() -> list[torch.Tensor]:
    return [torch.linspace(-1, 1, 12).reshape(RUNS, 4).requires_grad_(), torch.ones(RUNS, 2).requires_grad_()]


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_per_run_settings_that_are_equal_give_the_fused_update(kind: str, clip: float) -> None:
    method = configure("proden", {"optimiser": kind, "lr": 0.1, "weight_decay": 0.01, "clip": clip})
    fused, spread = parameters(), parameters()
    descend(StackedOptimiser(method, fused, {}))
    equal = {"lr": 0.1, "weight_decay": 0.01, "momentum": 0.9, "clip": clip}
    descend(StackedOptimiser(method, spread, {name: torch.full((RUNS,), v) for name, v in equal.items()}))
    for a, b in zip(fused, spread, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_a_method_may_have_an_eps_of_its_own(kind: str) -> None:
    steps = []
    for eps in (1e-8, 1.0):
        method = configure("tip_adapter_f", {"optimiser": kind, "lr": 0.1, "weight_decay": 0.0, "eps": eps})
        fused, spread = parameters(), parameters()
        descend(StackedOptimiser(method, fused, {}))
        descend(StackedOptimiser(method, spread, {"lr": torch.full((RUNS,), 0.1)}))
        torch.testing.assert_close(fused[0], spread[0], atol=1e-6, rtol=1e-5)
        steps.append((fused[0] - parameters()[0]).abs().max())
    assert steps[1] < 0.6 * steps[0]


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_how_a_gradient_lies_in_memory_does_not_matter(kind: str) -> None:
    def moved(gradient: torch.Tensor) -> torch.Tensor:
        param = torch.zeros(RUNS, 4, 5).requires_grad_()
        optimiser = StackedOptimiser(configure("proden", {"optimiser": kind, "lr": 0.1}), [param], {})
        for _ in range(2):
            optimiser.step([gradient], 0.0)
        return param.detach()

    gradient = torch.linspace(-1, 2, RUNS * 20).reshape(RUNS, 5, 4).transpose(1, 2)
    assert torch.equal(moved(gradient), moved(gradient.contiguous()))


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_every_run_follows_its_own_learning_rate(kind: str) -> None:
    rates = [0.01, 0.1, 0.2]
    method = configure("proden", {"optimiser": kind, "lr": 0.01})
    together = parameters()
    descend(StackedOptimiser(method, together, {"lr": torch.tensor(rates)}))
    for run, lr in enumerate(rates):
        alone = parameters()
        descend(StackedOptimiser(configure("proden", {"optimiser": kind, "lr": lr}), alone, {}))
        torch.testing.assert_close(alone[0][run], together[0][run], atol=1e-6, rtol=1e-5)


def test_clipping_is_by_the_norm_of_one_run() -> None:
    method = configure(
        "proden",
        {"optimiser": "sgd", "momentum": 0.0, "lr": 1.0, "clip": 1.0, "weight_decay": 0.0, "schedule": "cosine"},
    )
    params = [torch.zeros(2, 4).requires_grad_()]
    optimiser = StackedOptimiser(method, params, {})
    optimiser.step([torch.stack([torch.full((4,), 50.0), torch.full((4,), 0.1)])], 0.0)
    torch.testing.assert_close(params[0][0].norm().item(), 1.0, atol=1e-4, rtol=0)
    torch.testing.assert_close(params[0][1], torch.full((4,), -0.1))


def test_the_cosine_schedule_starts_full_and_ends_near_zero() -> None:
    method = configure(
        "proden", {"optimiser": "sgd", "momentum": 0.0, "lr": 1.0, "weight_decay": 0.0, "schedule": "cosine"}
    )
    for progress, size in ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0)):
        params = [torch.zeros(1, 1).requires_grad_()]
        StackedOptimiser(method, params, {}).step([torch.ones(1, 1)], progress)
        assert params[0].item() == pytest.approx(-size, abs=1e-6)


@pytest.mark.parametrize(("epochs", "rise"), [(1, 0.5), (4, 0.25), (10, 0.1), (100, 0.1)])
def test_a_warm_up_rises_over_a_tenth_of_the_epochs_but_over_one_at_least(epochs: int, rise: float) -> None:
    method = configure("proden", {"epochs": epochs})
    assert rate_factor(method, 0.0) == 0
    assert rate_factor(method, rise / 2) == pytest.approx(0.5)
    assert rate_factor(method, rise) == pytest.approx(1.0)
    assert rate_factor(method, 1.0) == pytest.approx(0.0, abs=1e-9)
    assert rate_factor(configure("proden", {"epochs": epochs, "schedule": "constant"}), rise / 2) == 1
