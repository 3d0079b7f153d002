"""The heart: a whole stack of runs of one method, trained at once.

Methods are written for one run. Here every parameter, optimiser state and label weight gets a leading replica axis,
and `torch.func.vmap` lifts the method over it. Because runs do not interact, the gradient of the summed losses is the
stack of their gradients; ordinary autograd outside of vmap therefore does the backward pass on plain batched
tensors, which is markedly cheaper than differentiating inside of it.

All that is random in a run is a function of the run's own name, so a run does not depend on its stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from pzsl_bench import chance
from pzsl_bench.contract import Batch, ClosedForm, Gradient, Method, Output, State
from pzsl_bench.feeds import feed
from pzsl_bench.optim import StackedOptimiser
from pzsl_bench.problem import Studies

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fitted:
    """A trained stack."""

    method: Method
    runs: int
    state: State
    """Learned tensors, each (R, ...); empty for a method that learns nothing."""
    varying: Mapping[str, Tensor]
    """Float hyper-parameters in which the runs differ, each (R,)."""
    alive: Tensor
    """(R,) False where a loss or a learned number is not finite."""
    module: nn.Module | None = None
    weights: Tensor | None = None
    """(R, N, K) final label weights of methods that refine them."""
    curves: Mapping[str, Tensor] = field(default_factory=dict)
    """Each (R, epochs)."""

    def score(self, features: Tensor, texts: Tensor) -> Tensor:
        """(R, M, C) scores of every run; (R, M, K) from heads that only know the seen classes."""
        method, module = self.method, self.module

        def one(state: State, floats: Mapping[str, Tensor]) -> Tensor:
            if module is not None:
                logits: Tensor = functional_call(module, state, (features, texts))
                return logits
            assert isinstance(method, ClosedForm)
            return replace(method, **floats).score(state, features, texts)

        with torch.no_grad():
            if not self.state and not self.varying:
                return one({}, {}).expand(self.runs, -1, -1)
            scores: Tensor = vmap(one)(self.state, dict(self.varying))
        return scores


def fit(methods: Sequence[Method], studies: Studies, progress: Progress | None = None) -> Fitted:
    """Train one method on a stack of studies; the methods may differ in float hyper-parameters only."""
    method, varying = merge(methods, studies.features.device)
    targets = feed(method.feed, studies, fit)
    if isinstance(method, ClosedForm):
        return _solve(method, varying, studies, targets)
    assert isinstance(method, Gradient)
    return _train(method, varying, studies, targets, progress)


def merge(methods: Sequence[Method], device: torch.device) -> tuple[Method, dict[str, Tensor]]:
    """One method for the stack, and the float settings in which its runs differ, as (R,) tensors."""
    first = methods[0]
    varying: dict[str, Tensor] = {}
    for spec in fields(first):
        values = [getattr(m, spec.name) for m in methods]
        if any(v != values[0] for v in values):
            if not isinstance(values[0], float):
                raise ValueError(f"runs of one stack differ in {spec.name}, which is not a float")
            varying[spec.name] = torch.tensor(values, dtype=torch.float32, device=device)
    if any(type(m) is not type(first) for m in methods):
        raise ValueError("runs of one stack belong to one method")
    return first, varying


def _solve(method: ClosedForm, varying: Mapping[str, Tensor], studies: Studies, targets: Tensor) -> Fitted:
    def one(candidates: Tensor, soft: Tensor, floats: Mapping[str, Tensor]) -> State:
        return replace(method, **floats).solve(studies.single(candidates, soft))

    with torch.no_grad():
        state: State = vmap(one)(studies.candidates, targets, dict(varying))
    alive = torch.ones(len(studies), dtype=torch.bool, device=studies.features.device)
    return Fitted(method, len(studies), state, varying, alive & finite(state))


def _train(
    method: Gradient,
    varying: Mapping[str, Tensor],
    studies: Studies,
    targets: Tensor,
    progress: Progress | None,
) -> Fitted:
    runs, images, classes = len(studies), len(studies.features), len(studies.texts)
    device = studies.features.device
    module, params = initial_parameters(method, studies)
    optimiser = StackedOptimiser(method, list(params.values()), varying)
    step = lifted(method, varying, module, studies)

    # Rows of all runs in one long table, so that gathering and writing back are single calls.
    weights = targets.reshape(runs * images, classes).clone()
    candidates = studies.candidates.reshape(runs * images, classes)
    nothing = torch.empty(0, device=device)
    offset = torch.arange(runs, device=device).unsqueeze(1) * images
    writes = type(method).refine is not Gradient.refine
    reads = type(method).reads
    batches = -(-images // method.batch)
    steps = method.epochs * batches
    clock = torch.arange(steps, device=device) / steps
    history = torch.empty(steps, runs, device=device)

    for epoch in range(method.epochs):
        order = batch_orders(studies.keys, epoch, images, device)
        for number in range(batches):
            picked = order[:, number * method.batch : (number + 1) * method.batch]
            rows = (picked + offset).reshape(-1)
            shape = (runs, picked.shape[1], -1)
            now = epoch * batches + number
            losses, new = step(
                params,
                studies.features.index_select(0, picked.reshape(-1)).view(shape),
                weights.index_select(0, rows).view(shape) if "weights" in reads else nothing,
                candidates.index_select(0, rows).view(shape) if "candidates" in reads else nothing,
                clock[now],
            )
            grads = torch.autograd.grad(losses.sum(), list(params.values()))
            optimiser.step(grads, now / steps)
            with torch.no_grad():
                if writes:
                    weights.index_copy_(0, rows, new.reshape(-1, classes))
                history[now] = losses
        if progress is not None:
            progress(epoch + 1, method.epochs)
    state = {name: p.detach() for name, p in params.items()}
    return Fitted(
        method,
        runs,
        state,
        varying,
        history.isfinite().all(0) & finite(state),
        module,
        weights.view(runs, images, classes) if writes else None,
        {"loss": epoch_means(history, method.epochs, method.batch, images)},
    )


def finite(state: State) -> Tensor:
    """(R,) whether all learned numbers of a run are finite."""
    sound = [values.flatten(1).isfinite().all(1) for values in state.values()]
    return torch.stack(sound).all(0) if sound else torch.tensor(True)


def epoch_means(history: Tensor, epochs: int, batch: int, images: int) -> Tensor:
    """(steps, R) mean losses of mini-batches -> (R, epochs) mean losses of images; the last batch may be smaller."""
    batches = len(history) // epochs
    share = torch.full((batches,), batch / images, device=history.device)
    share[-1] = 1 - (batches - 1) * batch / images
    return torch.einsum("ebr,b->re", history.view(epochs, batches, -1), share)


Step = Callable[[State, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def lifted(method: Gradient, varying: Mapping[str, Tensor], module: nn.Module, studies: Studies) -> Step:
    """Loss and refined weights of one mini-batch for all runs: (R,), (R, B, K)."""
    texts = studies.texts
    inner = {k: v for k, v in varying.items() if k not in ("lr", "weight_decay", "momentum", "clip")}

    def one(
        state: State,
        features: Tensor,
        weights: Tensor,
        candidates: Tensor,
        floats: Mapping[str, Any],
        progress: Tensor,
    ) -> tuple[Tensor, Tensor]:
        own = replace(method, **floats) if floats else method
        output = Output(functional_call(module, state, (features, texts)))
        batch = Batch(weights, candidates, progress)
        loss = own.loss(output, batch)
        with torch.no_grad():
            new = own.refine(output.detached(), batch)
        return loss, loss.new_zeros(0) if new is None else new

    def all_runs(
        state: State, features: Tensor, weights: Tensor, candidates: Tensor, progress: Tensor
    ) -> tuple[Tensor, Tensor]:
        axes = (0, 0, *(0 if rows.numel() else None for rows in (weights, candidates)), 0, None)
        out: tuple[Tensor, Tensor] = vmap(one, in_dims=axes)(state, features, weights, candidates, inner, progress)
        return out

    return all_runs


def initial_parameters(method: Gradient, studies: Studies) -> tuple[nn.Module, State]:
    """The module, and its parameters drawn for every run from that run's own name: each (R, ...)."""
    first = studies.first()
    drawn: list[State] = []
    module: nn.Module | None = None
    with torch.random.fork_rng(devices=[]):
        for key in studies.keys:
            torch.manual_seed(chance.key(key, "initialisation") >> 1)
            module = method.module(first)
            drawn.append({name: p.detach().cpu() for name, p in module.named_parameters()})
    assert module is not None
    device = studies.features.device
    stacked = {name: torch.stack([one[name] for one in drawn]).to(device).requires_grad_() for name in drawn[0]}
    return module.to(device), stacked


def batch_orders(keys: Sequence[str], epoch: int, images: int, device: torch.device) -> Tensor:
    """(R, N) the order in which every run visits the images in an epoch."""
    streams = np.array([chance.key(key, "order", epoch) for key in keys], dtype=np.uint64)
    return torch.from_numpy(chance.permutations(streams, images)).to(device)


def replica_bytes(method: Method, studies: Studies) -> int:
    """Predicted bytes that one more run adds to a stack."""
    images, classes = studies.candidates.shape[1:]
    table = images * classes
    if not isinstance(method, Gradient):
        # Targets, candidates and a few solver matrices of the feature width.
        return table * 9 + 12 * 4 * studies.features.shape[1] ** 2
    module = method.module(studies.first())
    parameters = sum(p.numel() for p in module.parameters())
    rows = min(method.batch, images)
    activations = rows * (8 * classes + 6 * studies.features.shape[1] + 4 * method.hidden)
    # Parameters, gradient and two moments; targets, working weights and candidates; the order of an epoch.
    return 16 * parameters + table * 9 + 4 * activations + 8 * images


def cut(items: Sequence[Any], width: int) -> Iterator[Sequence[Any]]:
    """Consecutive pieces of at most `width` items, as even as possible."""
    pieces = max(1, -(-len(items) // max(1, width)))
    size = -(-len(items) // pieces)
    for start in range(0, len(items), size):
        yield items[start : start + size]
