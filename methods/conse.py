"""ConSE: an image becomes a mix of the semantics of seen classes, weighted by a classifier of seen classes.

Family: zsl (zero-shot learning from true labels).

p = softmax(x W + b),   z = sum_{c in top T} p_c s_c / sum_{c in top T} p_c,   score(x, c) = cos(z, s_c)

The classifier is softmax regression on the soft labels (see `pzsl_bench.blocks.softmax_regression`). It learns from
nothing, and all that z can be lies between texts of seen classes. On real CLIP features of Caltech-101 that leaves a T1
of 25 to 30 where zero-shot CLIP has 97, whatever the penalty: it is the method, not its settings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.semantics import Centred
from pzsl_bench.blocks.softmax_regression import softmax_regression
from pzsl_bench.contract import Citation, ClosedForm, Fed, State, Study, hyper, method, normalise


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
        classifier = softmax_regression(study.features, study.targets, self.reg, self.steps)
        return {**classifier, "text_mean": self.text_mean(study.texts)}

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) cosines."""
        semantics = self.semantics(texts, state["text_mean"])
        seen = state["weight"].shape[-1]
        probabilities = (features @ state["weight"] + state["bias"]).softmax(-1)
        return normalise(mixed(probabilities, semantics[:seen], self.top)) @ normalise(semantics).T


def mixed(probabilities: Tensor, semantics: Tensor, top: int) -> Tensor:
    """(M, K), (K, a) -> (M, a) the mean of the likeliest classes' semantics, weighted by their probabilities.

    A class without semantics (a row of zeros) keeps its place among the likeliest classes but is not mixed.
    """
    likeliest = probabilities.topk(min(top, probabilities.shape[-1]), dim=-1)
    top_probabilities = torch.zeros_like(probabilities).scatter(-1, likeliest.indices, likeliest.values)
    mass = (top_probabilities * semantics.any(-1)).sum(-1, keepdim=True)
    return (top_probabilities @ semantics) / torch.where(mass > 0, mass, torch.ones_like(mass))
