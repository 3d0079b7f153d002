"""A trained stack of runs, and how it scores images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from pzsl_bench.contract import ClosedForm, Gradient, Method, Net, State

PREPARED = 4
"""Runs that prepare for an exam at once: what they make on the way, such as examples of every class, is large."""


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
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    """What the runs carried, each (R, ...)."""
    curves: Mapping[str, Tensor] = field(default_factory=dict)
    """Each (R, epochs)."""
    _prepared: list[tuple[Tensor, State]] = field(default_factory=list, init=False, repr=False, compare=False)
    """What the method made of class texts that it was asked about, each with those texts."""

    def subset(self, runs: slice) -> Fitted:
        """Consecutive runs as a stack of their own."""

        def of(state: Mapping[str, Tensor]) -> State:
            return {name: values[runs] for name, values in state.items()}

        return replace(
            self,
            runs=len(self.alive[runs]),
            state=of(self.state),
            varying=of(self.varying),
            alive=self.alive[runs],
            weights=None if self.weights is None else self.weights[runs],
            memory=of(self.memory),
            curves=of(self.curves),
        )

    def score(self, features: Tensor, texts: Tensor) -> Tensor:
        """(R, M, C) scores of every run for (M, d) images, or for images of its own (R, M, d).

        (R, M, K) from heads that only know the seen classes.
        """
        method, module = self.method, self.module

        def one(state: State, memory: State, floats: Mapping[str, Any], images: Tensor) -> Tensor:
            own_method = replace(method, **floats)
            if isinstance(own_method, Gradient):
                assert module is not None
                return own_method.score(Net(module, state, texts), memory, images)
            assert isinstance(own_method, ClosedForm)
            return own_method.score(state, images, texts)

        own = features.ndim == 3
        with torch.no_grad():
            if self._all_alike:
                return self._by_texts(features, texts)
            if not self.state and not self.varying and not own:
                return one({}, {}, {}, features).expand(self.runs, -1, -1)
            # What solve() returned untouched by any run's data is the same for all runs: vmap only expanded it.
            axes = {name: None if _is_expanded(value) else 0 for name, value in self.state.items()}
            state = {name: value if axes[name] == 0 else value[0] for name, value in self.state.items()}
            floats = dict(self.varying)
            # Whoever scores a whole exam at once does so run by run, for the sake of memory.
            width = 1 if method.transductive else None
            scores: Tensor = vmap(one, in_dims=(axes, 0, 0, 0 if own else None), chunk_size=width)(
                state, {**self.memory, **self.prepared(texts)}, floats, features
            )
        return scores

    @property
    def _all_alike(self) -> bool:
        """Whether the method learns nothing of images, and scores by what it prepares of class texts."""
        return isinstance(self.method, ClosedForm) and type(self.method).prepare is not ClosedForm.prepare

    def _by_texts(self, features: Tensor, texts: Tensor) -> Tensor:
        """(R, M, C) scores of runs that are all alike but for the images they are asked about."""
        method = self.method
        assert isinstance(method, ClosedForm)
        learned = {name: values[0] for name, values in self.state.items()}
        made = self._once(texts, lambda: method.prepare(learned, texts))
        if features.ndim == 3:
            return torch.stack([method.score(made, images, texts) for images in features])
        return method.score(made, features, texts).expand(self.runs, -1, -1)

    def prepared(self, texts: Tensor) -> State:
        """What every run makes of these class texts before it scores images by them, each (R, ...); made once."""
        method, module = self.method, self.module
        if not isinstance(method, Gradient) or type(method).prepare is Gradient.prepare:
            return {}
        assert module is not None

        def one(state: State, memory: State, floats: Mapping[str, Any]) -> State:
            return replace(method, **floats).prepare(Net(module, state, texts), memory)

        def make() -> State:
            return vmap(one, chunk_size=PREPARED)(dict(self.state), dict(self.memory), dict(self.varying))

        return self._once(texts, make)

    def _once(self, texts: Tensor, make: Callable[[], State]) -> State:
        """What was made of these class texts, now or before."""
        for known, made in self._prepared:
            if torch.equal(known, texts):
                return made
        with torch.no_grad():
            made = make()
        self._prepared.append((texts, made))
        return made


def _is_expanded(value: Tensor) -> bool:
    return len(value) > 1 and value.stride(0) == 0


Watch = Callable[[int, Fitted], None]
"""Called with the number of epochs done and the stack as it is then; what it wants to keep it must copy."""


def finite(state: State) -> Tensor:
    """(R,) whether all learned numbers of a run are finite."""
    sound = [_finite_rows(values) for values in state.values()]
    return torch.stack(sound).all(0) if sound else torch.tensor(True)


def _finite_rows(values: Tensor) -> Tensor:
    # What all runs share, as a method that keeps the images does, is looked at once and not copied for each.
    once = values[:1] if _is_expanded(values) else values
    return once.reshape(len(once), -1).isfinite().all(1).expand(len(values))
