"""A trained stack of runs, and how it scores images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from pzsl_bench.contract import ClassTexts, ClosedForm, Gradient, Method, Net, State

RUNS_AT_ONCE = 4
"""Runs that `Gradient.prepare` is computed for at once: its intermediate tensors can be large, for example samples
of every class."""


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
    """The memory of the runs (`Gradient.memory`), each (R, ...)."""
    curves: Mapping[str, Tensor] = field(default_factory=dict)
    """Numbers of every epoch, such as the loss, each (R, epochs)."""
    _prepared: list[tuple[ClassTexts, State]] = field(default_factory=list, init=False, repr=False, compare=False)
    """Results of the method's `prepare`, each with the class texts that it was computed from."""

    def subset(self, runs: slice) -> Fitted:
        """Some consecutive runs as a stack."""

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

    def score(self, features: Tensor, texts: Tensor | ClassTexts) -> Tensor:
        """(R, M, C) scores of every run for (M, d) images, or for (R, M, d) images that differ between runs.

        The scores are (R, M, K) if the head only knows the seen classes. Texts may be vectors (C, a) alone.
        """
        method, module, classes = self.method, self.module, ClassTexts.of(texts)

        def score_run(state: State, memory: State, floats: Mapping[str, Any], images: Tensor) -> Tensor:
            method_of_run = replace(method, **floats)
            if isinstance(method_of_run, Gradient):
                assert module is not None
                return method_of_run.score(Net(module, state, classes.vectors, classes.tokens), memory, images)
            assert isinstance(method_of_run, ClosedForm)
            return method_of_run.score(state, images, classes.vectors)

        per_run_images = features.ndim == 3
        with torch.no_grad():
            if self._scores_by_texts:
                return self._shared_scores(features, classes)
            if not self.state and not self.varying and not per_run_images:
                return score_run({}, {}, {}, features).expand(self.runs, -1, -1)
            # A tensor that solve() made without the data of a run is the same for all runs: vmap only expanded it.
            axes = {name: None if _is_expanded(value) else 0 for name, value in self.state.items()}
            state = {name: value if axes[name] == 0 else value[0] for name, value in self.state.items()}
            floats = dict(self.varying)
            # A transductive method scores the whole exam at once, so its runs are scored one by one to save memory.
            width = 1 if method.transductive else None
            scores: Tensor = vmap(score_run, in_dims=(axes, 0, 0, 0 if per_run_images else None), chunk_size=width)(
                state, {**self.memory, **self.prepared(classes)}, floats, features
            )
        return scores

    @property
    def _scores_by_texts(self) -> bool:
        """Whether the method learns nothing from images: all runs score by the same tensors made from class texts."""
        return isinstance(self.method, ClosedForm) and type(self.method).prepare is not ClosedForm.prepare

    def _shared_scores(self, features: Tensor, texts: ClassTexts) -> Tensor:
        """(R, M, C) scores of runs that differ in nothing but the images to score."""
        method = self.method
        assert isinstance(method, ClosedForm)
        learned = {name: values[0] for name, values in self.state.items()}
        prepared = self._cached(texts, lambda: method.prepare(learned, texts))
        if features.ndim == 3:
            return torch.stack([method.score(prepared, images, texts.vectors) for images in features])
        return method.score(prepared, features, texts.vectors).expand(self.runs, -1, -1)

    def prepared(self, texts: ClassTexts) -> State:
        """Tensors that every run computes from the class texts before scoring (`Gradient.prepare`), each (R, ...).

        They are cached for each set of texts.
        """
        method, module = self.method, self.module
        if not isinstance(method, Gradient) or type(method).prepare is Gradient.prepare:
            return {}
        assert module is not None

        def prepare_run(state: State, memory: State, floats: Mapping[str, Any]) -> State:
            return replace(method, **floats).prepare(Net(module, state, texts.vectors, texts.tokens), memory)

        def prepare_all() -> State:
            return vmap(prepare_run, chunk_size=RUNS_AT_ONCE)(dict(self.state), dict(self.memory), dict(self.varying))

        return self._cached(texts, prepare_all)

    def _cached(self, texts: ClassTexts, prepare: Callable[[], State]) -> State:
        """The tensors prepared from these class texts, computed if they are not in the cache."""
        for cached_texts, prepared in self._prepared:
            if cached_texts.same_as(texts):
                return prepared
        with torch.no_grad():
            prepared = prepare()
        self._prepared.append((texts, prepared))
        return prepared


def _is_expanded(value: Tensor) -> bool:
    """Whether all runs share one tensor, which `vmap` has expanded."""
    return len(value) > 1 and value.stride(0) == 0


Watch = Callable[[int, Fitted], None]
"""Called after every epoch with the number of epochs done and the stack; tensors that it keeps must be copied."""


def finite(state: State) -> Tensor:
    """(R,) whether all learned numbers of a run are finite."""
    sound = [_finite_rows(values) for values in state.values()]
    return torch.stack(sound).all(0) if sound else torch.tensor(True)


def _finite_rows(values: Tensor) -> Tensor:
    # A tensor that all runs share, such as the images that a method keeps, is checked once and not copied for each run.
    distinct = values[:1] if _is_expanded(values) else values
    return distinct.reshape(len(distinct), -1).isfinite().all(1).expand(len(values))
