"""The trainer: trains a whole stack of runs of one method at once.

Methods are written for one run. Here every parameter, optimiser state and label weight gets a leading run axis, and
`torch.func.vmap` applies the method to all runs. Runs do not interact, so the gradient of the summed losses is the
stack of their gradients. The backward pass is therefore ordinary autograd outside of vmap, on plain batched tensors,
which is markedly cheaper than differentiating inside of it.

Every random number of a run is a function of the run's name, so a run does not depend on its stack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap

from pzsl_bench.base import randomness
from pzsl_bench.contract import ClosedForm, Gradient, Method, State
from pzsl_bench.contract.bases import SMALLEST_BATCH
from pzsl_bench.contract.heads import FromZero
from pzsl_bench.contract.settings import may_vary
from pzsl_bench.problem.studies import Studies
from pzsl_bench.training.batches import Batches
from pzsl_bench.training.fitted import Fitted, Watch, finite
from pzsl_bench.training.optimiser import StackedOptimiser
from pzsl_bench.training.soft_labels import feed
from pzsl_bench.training.vmapped import Vmapped

Progress = Callable[[int, int], None]


def fit(
    methods: Sequence[Method], studies: Studies, progress: Progress | None = None, watch: Watch | None = None
) -> Fitted:
    """Train one method on a stack of studies; the methods may differ in float hyper-parameters only."""
    method, varying = merge(methods, studies.features.device)
    targets = feed(method.feed, studies, fit)
    if isinstance(method, ClosedForm):
        return _solve(method, varying, studies, targets)
    assert isinstance(method, Gradient)
    return _train(method, varying, studies, targets, progress, watch)


def merge(methods: Sequence[Method], device: torch.device) -> tuple[Method, dict[str, Tensor]]:
    """One method for the stack, and the float settings in which its runs differ, as (R,) tensors."""
    first = methods[0]
    varying: dict[str, Tensor] = {}
    for spec in fields(first):
        values = [getattr(m, spec.name) for m in methods]
        if any(v != values[0] for v in values):
            if not may_vary(spec, values[0]):
                raise ValueError(f"runs of one stack differ in {spec.name}, which they must share")
            varying[spec.name] = torch.tensor(values, dtype=torch.float32, device=device)
    if any(type(m) is not type(first) for m in methods):
        raise ValueError("runs of one stack belong to one method")
    return first, varying


def _solve(method: ClosedForm, varying: Mapping[str, Tensor], studies: Studies, targets: Tensor) -> Fitted:
    def solve_run(
        features: Tensor, candidates: Tensor, soft: Tensor, marks: Tensor | None, floats: Mapping[str, Tensor]
    ) -> State:
        return replace(method, **floats).solve(studies.single(candidates, soft, features, marks))

    with torch.no_grad():
        axes = (0 if studies.per_run_features else None, 0, 0, None if studies.marks is None else 0, 0)
        labels = (studies.candidates, targets, studies.marks)
        state: State = vmap(solve_run, in_dims=axes)(studies.features, *labels, dict(varying))
    alive = torch.ones(len(studies), dtype=torch.bool, device=studies.features.device)
    return Fitted(method, len(studies), state, varying, alive & finite(state))


def _train(
    method: Gradient,
    varying: Mapping[str, Tensor],
    studies: Studies,
    targets: Tensor,
    progress: Progress | None,
    watch: Watch | None,
) -> Fitted:
    runs, device = len(studies), studies.features.device
    module, params, memory = initialise(method, studies, targets)
    names, values = list(params), list(params.values())
    optimiser = StackedOptimiser(method, values, varying)
    vmapped = Vmapped(method, varying, module, studies.texts)
    batches = Batches(method, varying, studies, targets)
    sizes = batch_sizes(method, batches.images)
    steps = method.epochs * len(sizes)
    times = torch.arange(steps, device=device)
    clock = torch.stack([times / steps, times // len(sizes)], dim=1)
    history = {"loss": torch.empty(steps, runs, device=device)}

    def fitted_after(epochs_done: int) -> Fitted:
        past = {name: numbers[: epochs_done * len(sizes)] for name, numbers in history.items()}
        state = weighed(module, {name: p.detach() for name, p in zip(names, values, strict=True)})
        return Fitted(
            method,
            runs,
            state,
            varying,
            past["loss"].isfinite().all(0) & finite(state),
            module,
            batches.weights if batches.weights_updated else None,
            memory,
            {name: epoch_means(numbers, sizes) for name, numbers in past.items()},
        )

    for epoch in range(method.epochs):
        order = batch_orders(studies.keys, epoch, batches.images, device)
        start = 0
        for number, size in enumerate(sizes):
            step = epoch * len(sizes) + number
            batches.select_images(order[:, start : start + size])
            batch = batches.batch(step, epoch, memory, clock[step])
            start += size
            losses, update = vmapped.step(params, batch)
            grads = torch.autograd.grad(losses.sum(), values, allow_unused=True, materialize_grads=True)
            optimiser.step(grads, step / steps)
            for name, numbers in {"loss": losses, **update.notes}.items():
                history.setdefault(name, torch.zeros_like(history["loss"]))[step] = numbers.detach()
            memory = batches.write_back(update, memory)
            if method.second_pass:
                second = replace(batch, memory=memory) if update.memory else batch
                memory = batches.write_back(vmapped.revise(params, second), memory)
        if type(method).after_epoch is not Gradient.after_epoch:
            update = vmapped.after_epoch(epoch, batches.weights, studies.candidates, memory, batches.tables)
            memory = batches.write_all_back(update, memory)
        if progress is not None:
            progress(epoch + 1, method.epochs)
        if watch is not None:
            watch(epoch + 1, fitted_after(epoch + 1))
    return fitted_after(method.epochs)


def batch_sizes(method: Gradient, images: int) -> list[int]:
    """The number of images in each step of an epoch."""
    size = min(method.batch, max(SMALLEST_BATCH, images // max(1, method.batches)))
    whole, rest = divmod(images, size)
    if not whole:
        return [images]
    return [size] * whole + ([rest] if rest and method.rest == "keep" else [])


def weighed(module: nn.Module, state: State) -> State:
    """The trained parameters as they score: of those that started at zero, the share that is kept (see `FromZero`)."""
    shares = {
        f"{place}.{name}".lstrip("."): part.kept
        for place, part in module.named_modules()
        if isinstance(part, FromZero) and part.kept != 1
        for name in part.grown
    }
    return {name: values * shares[name] if name in shares else values for name, values in state.items()}


def epoch_means(history: Tensor, sizes: Sequence[int]) -> Tensor:
    """(steps, R) mean losses of mini-batches of these sizes -> (R, epochs) mean losses of images."""
    share = torch.tensor(sizes, dtype=history.dtype, device=history.device) / sum(sizes)
    return torch.einsum("ebr,b->re", history.view(-1, len(sizes), history.shape[1]), share)


def initialise(method: Gradient, studies: Studies, targets: Tensor) -> tuple[nn.Module, State, State]:
    """The module, and the parameters and memory of all runs, each (R, ...).

    The random numbers of a run are drawn from the run's name.
    """
    params: list[State] = []
    memories: list[State] = []
    module: nn.Module | None = None
    with torch.random.fork_rng(devices=[]):
        for run, key in enumerate(studies.keys):
            torch.manual_seed(randomness.key(key, "initialisation") >> 1)
            study = studies.of(run, targets[run])
            module = method.module(study)
            params.append({name: p.detach() for name, p in module.named_parameters()})
            memories.append(method.memory(study, params[-1]))
    assert module is not None
    device = studies.features.device

    def stacked(states: list[State]) -> State:
        return {name: torch.stack([state[name].to(device) for state in states]) for name in states[0]}

    return module.to(device), {k: p.requires_grad_() for k, p in stacked(params).items()}, stacked(memories)


def batch_orders(keys: Sequence[str], epoch: int, images: int, device: torch.device) -> Tensor:
    """(R, N) for every run, the order of the images in an epoch."""
    streams = np.array([randomness.key(key, "order", epoch) for key in keys], dtype=np.uint64)
    return torch.from_numpy(randomness.permutations(streams, images)).to(device)
