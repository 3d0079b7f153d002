"""Optimisers for the stacked parameters of all runs.

A stacked parameter is a tensor with a leading run axis. If the runs share their settings, PyTorch's fused kernels
update all of them in one call. Runs that differ in learning rate, weight decay or momentum, as in a search, are updated
with per-run settings that broadcast against the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pzsl_bench.contract import Gradient

EPS = 1e-8
"""Adam adds this to the root of the second moment, unless the method has a setting `eps`."""
BETA_2 = 0.999


WARMUP = 0.1
"""Share of the training in which the learning rate rises, if that is an epoch or more.

A method that refines labels by its own predictions starts from labels that are all alike. Before the rate is high, the
warm-up has shown it every image once, so that it learns from labels that the encoder has told apart.
"""


def rate_factor(method: Gradient, progress: float) -> float:
    """The factor of the learning rate when this share of the training is done."""
    if method.schedule == "constant":
        return 1.0
    rise = max(WARMUP, min(0.5, 1 / method.epochs)) if method.schedule == "warmup" else 0.0
    if progress < rise:
        return progress / rise
    return 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))


class StackedOptimiser:
    """SGD, Adam or AdamW on tensors whose first axis is the run."""

    def __init__(self, method: Gradient, params: Sequence[Tensor], varying: Mapping[str, Tensor]):
        self.method = method
        self.params = list(params)
        self.varying = {k: v for k, v in varying.items() if k in ("lr", "weight_decay", "momentum", "clip")}
        self.steps = 0
        lr, decay = method.lr, method.weight_decay
        self.eps = float(getattr(method, "eps", EPS))
        self.fused: torch.optim.Optimizer | None = None
        self.moments: list[tuple[Tensor, Tensor]] = []
        if set(self.varying) - {"clip"}:
            self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.params]
        elif method.optimiser == "sgd":
            self.fused = torch.optim.SGD(self.params, lr=lr, momentum=method.momentum, weight_decay=decay, fused=True)
        elif method.optimiser == "adam":
            self.fused = torch.optim.Adam(self.params, lr=lr, eps=self.eps, weight_decay=decay, fused=True)
        else:
            self.fused = torch.optim.AdamW(self.params, lr=lr, eps=self.eps, weight_decay=decay, fused=True)

    def step(self, grads: Sequence[Tensor], progress: float) -> None:
        """One update of every run."""
        factor = rate_factor(self.method, progress)
        self.steps += 1
        with torch.no_grad():
            clipped = self._clipped(grads)
            if self.fused is None:
                for p, g, moment in zip(self.params, clipped, self.moments, strict=True):
                    self._broadcast_update(p, g, moment, factor)
                return
            for p, g in zip(self.params, clipped, strict=True):
                # PyTorch's fused kernels on a CPU assume that a gradient has the strides of its parameter.
                p.grad = g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)
            for group in self.fused.param_groups:
                group["lr"] = self.method.lr * factor
            self.fused.step()

    def _value(self, name: str, like: Tensor) -> Tensor | float:
        """A setting as a number, or as (R, 1, ...) numbers of the runs that broadcast against a parameter."""
        if name in self.varying:
            return self.varying[name].view(-1, *[1] * (like.ndim - 1))
        return float(getattr(self.method, name))

    def _clipped(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        """The gradients, scaled down where the norm of a run's gradient exceeds its limit."""
        if self.method.clip == 0 and "clip" not in self.varying:
            return grads
        norm = torch.stack([g.reshape(len(g), -1).square().sum(1) for g in grads]).sum(0).sqrt()
        limit = self.varying.get("clip", torch.full_like(norm, self.method.clip))
        shrink = torch.where(limit > 0, limit / (norm + 1e-6), torch.ones_like(norm)).clamp(max=1.0)
        return [g * shrink.view(-1, *[1] * (g.ndim - 1)) for g in grads]

    def _broadcast_update(self, p: Tensor, g: Tensor, moment: tuple[Tensor, Tensor], factor: float) -> None:
        """The same update as the fused kernel, written with per-run settings."""
        lr, decay = self._value("lr", p), self._value("weight_decay", p)
        first, second = moment
        if self.method.optimiser == "adamw":
            p.mul_(1 - factor * lr * decay)
        else:
            g = g + decay * p
        if self.method.optimiser == "sgd":
            # torch's SGD starts its momentum buffer at the first gradient, which a buffer of zeros reproduces.
            first.mul_(self._value("momentum", p)).add_(g)
            p.sub_(factor * lr * first)
            return
        first.lerp_(g, 0.1)
        second.mul_(BETA_2).addcmul_(g, g, value=1 - BETA_2)
        mean = first / (1 - 0.9**self.steps)
        root = (second / (1 - BETA_2**self.steps)).sqrt_().add_(self.eps)
        p.sub_(factor * lr * mean / root)
