"""ConSE: an image is the mix of seen class semantics that a classifier of seen classes makes of it.

p = softmax(x W + b),   z = sum_{c in top T} p_c s_c / sum_{c in top T} p_c,   score(x, c) = cos(z, s_c)

The classifier is softmax regression on the soft labels, min_W -sum_ic q_ic log p_ic + reg/2 |W|^2. Its curvature
never exceeds X^T X / 2 + reg (Boehning, 1992), so a fixed number of accelerated steps with that one matrix solves it
for a whole stack.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.contract import Citation, ClosedForm, Fed, State, Study, hyper, method, normalise
from pzsl_bench.least_squares import Spectrum, minimise
from pzsl_bench.semantics import Centred


@method(
    "conse",
    title="ConSE",
    family="zsl",
    citation=Citation(
        "Norouzi, Mikolov, Bengio, Singer, Shlens, Frome, Corrado and Dean",
        "Zero-Shot Learning by Convex Combination of Semantic Embeddings",
        "ICLR",
        2014,
        "https://arxiv.org/abs/1312.5650",
    ),
    deviations=(
        "The seen-class probabilities come from softmax regression on the frozen features; the paper has a trained"
        " convolutional network.",
        "Class texts are centred on the mean of the seen texts and scaled to unit length (center_texts): in a narrow"
        " cone every mix is close to every class.",
        "Seen classes are scored by the same cosine as unseen ones, so that both lie on one scale.",
    ),
)
@dataclass(frozen=True)
class ConSE(Centred, Fed, ClosedForm):
    """Softmax regression, then a mix of semantics."""

    top: int = hyper(10, "how many of the likeliest seen classes are mixed (T)", above=0)
    reg: float = hyper(1.0, "ridge of the classifier", search=(1e-4, 1e2), above=0)
    steps: int = hyper(50, "steps of the classifier's solver", above=0)

    def solve(self, study: Study) -> State:
        """W: (d, K) and b: (K,)."""
        images = with_constant(study.features)
        spectrum = Spectrum.of(images, least=10 * torch.finfo(images.dtype).eps).to(images.dtype)

        def slope(weight: Tensor) -> Tensor:
            return images.T @ ((images @ weight).softmax(-1) - study.targets) + self.reg * weight

        start = images.new_zeros(images.shape[-1], study.targets.shape[-1])
        weight = minimise(slope, lambda uphill: 2 * spectrum.solve(uphill, 2 * self.reg), start, self.steps)
        return {"weight": weight[:-1], "bias": weight[-1], "text_mean": self.text_mean(study.texts)}

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) cosines."""
        semantics = self.semantics(texts, state["text_mean"])
        known = state["weight"].shape[-1]
        probabilities = (features @ state["weight"] + state["bias"]).softmax(-1)
        return normalise(mixed(probabilities, semantics[:known], self.top)) @ normalise(semantics).T


def with_constant(features: Tensor) -> Tensor:
    """(N, d) -> (N, d + 1): a column of ones, whose weights are the bias."""
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=-1)


def mixed(probabilities: Tensor, semantics: Tensor, top: int) -> Tensor:
    """(M, K), (K, a) -> (M, a) the mean of the likeliest classes' semantics, weighted by their probabilities.

    A class without semantics, a row of zeros, keeps its place among the likeliest but is not mixed.
    """
    likeliest = probabilities.topk(min(top, probabilities.shape[-1]), dim=-1)
    kept = torch.zeros_like(probabilities).scatter(-1, likeliest.indices, likeliest.values)
    mass = (kept * semantics.any(-1)).sum(-1, keepdim=True)
    return (kept @ semantics) / torch.where(mass > 0, mass, torch.ones_like(mass))
