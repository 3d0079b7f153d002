"""SynC: classifiers of unseen classes, synthesised from those of the seen ones.

Family: zsl (zero-shot learning from true labels).

OVO     min_W 1/(N K) sum_ic [q_ic h(x_i w_c)^2 + n_ic h(-x_i w_c)^2] + lam/2 |W|^2,   h(z) = max(0, 1 - z)
kernel  k(a, b) = exp(-scale |a - b|^2), rows scaled to sum to one
bases   V = pinv(k(seen, seen)) W,   w_u = k(u, seen) V,   score(x, u) = x w_u

The phantom classes between which classifiers are interpolated are the seen classes themselves, the authors' fast
version. One-versus-other classifiers see soft labels q as positives and n = 1 - q as negatives. Both curvatures
together never exceed 2 X^T X / (N K) + lam, so a fixed number of accelerated steps with that one matrix solves them.

Where images and texts are from one encoder (prior: identity), a classifier is a t_c + w_c with w_c as above: the losses
see a x t_c + b + x w_c, with the line a, b that fits the labels 1 and -1 best, and only w_c is shrunk and interpolated.
At w = 0 the ranking is that of zero-shot CLIP. `lam` is then that many times larger, see `CAUTION`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl_bench.blocks.least_squares import Spectrum, minimise
from pzsl_bench.blocks.prior import Prior, least_squares_strength
from pzsl_bench.contract import Citation, ClosedForm, Fed, State, Study, hyper, method, normalise

PSEUDOINVERSE_CUTOFF = 1e-8
"""Singular values of the kernel below this share of the largest one are left out of its inverse."""
CAUTION = 2.0**10
"""Factor of the ridge where classifiers shrink to the encoder's texts; chosen on rehearsals."""
MIN_DISTANCE = 1e-6
"""Signatures at a smaller distance count as the same."""


@method(
    "sync",
    title="SynC",
    family="zsl",
    version=2,
    citation=Citation(
        "Changpinyo, Chao, Gong and Sha",
        "Synthesized Classifiers for Zero-Shot Learning",
        "CVPR",
        2016,
        "https://arxiv.org/abs/1603.00550",
    ),
    deviations=(
        "Only the one-versus-other loss: the Crammer-Singer and the structured loss are not smooth, which the solver"
        " needs. A fixed number of accelerated steps replaces L-BFGS.",
        "Phantom classes are the seen ones and are not learnt, as in the authors' fast release.",
        "Distances between class texts are measured in the median distance of the seen classes; the release takes the"
        " median of all, unseen ones included, which is the same as another scale.",
        "The paper shrinks classifiers to zero (prior: none); where images and texts are from one encoder, they shrink"
        " to the texts.",
        "Scale and ridge are settings; the paper chooses them by cross-validation over classes.",
    ),
)
@dataclass(frozen=True)
class SynC(Prior, Fed, ClosedForm):
    """One-versus-other classifiers, then a kernel interpolation."""

    scale: float = hyper(0.25, "sharpness of the kernel", search=(2**-5, 2**5), above=0)
    lam: float = hyper(2**-16, "ridge of the classifiers", search=(2**-30, 2**-8), above=0)
    negatives: str = hyper(
        "expected",
        "weight of a label as a negative: one less its soft label, or none for candidates",
        choices=("expected", "outside"),
    )
    strength: float = hyper(3.0, "weight of the encoder's scores, in units of the least-squares one", above=0)
    unit_images: bool = hyper(True, "scale images to unit length")
    steps: int = hyper(20, "steps of the classifiers' solver", above=0)

    def solve(self, study: Study) -> State:
        """Bases (K, d), for the kernel the signatures of the seen classes (K, a) and the unit of distance; a."""
        images, soft = self.scaled(study.features), study.targets
        negatives = 1 - soft if self.negatives == "expected" else (~study.candidates).to(soft.dtype)
        signatures = unit_rows(study.texts)
        unit = median_distance(signatures)
        state = {"signatures": signatures, "unit": unit}
        spectrum = Spectrum.of(images, cutoff=10 * torch.finfo(images.dtype).eps).to(images.dtype)
        half = soft.numel() / 2
        own, lam = torch.zeros_like(soft), self.lam
        if self.from_encoder(study):
            own, state["strength"] = self.encoder_scores(images @ study.texts.T, soft)
            lam = lam * CAUTION

        def slope(weight: Tensor) -> Tensor:
            return images.T @ hinge_slope(own + images @ weight, soft, negatives) / half + lam * weight

        start = images.new_zeros(images.shape[-1], soft.shape[-1])
        weight = minimise(slope, lambda uphill: half * spectrum.solve(uphill, half * lam), start, self.steps)
        bases = phantom_classifiers(self.similarity(signatures, signatures, unit), weight.T)
        return {"bases": bases.to(images.dtype), **state}

    def encoder_scores(self, cosines: Tensor, soft: Tensor) -> tuple[Tensor, Tensor]:
        """(N, K) a cosine + b, the line of the least squared distance to labels 1 and -1, and a."""
        centre, labels = cosines.mean(), 2 * soft - 1
        spread = cosines - centre
        slope = self.strength * least_squares_strength((spread * labels).sum(), spread.square().sum())
        return slope * spread + labels.mean(), slope

    def scaled(self, features: Tensor) -> Tensor:
        """(M, d) images, scaled to unit length if `unit_images`."""
        return normalise(features) if self.unit_images else features

    def similarity(self, rows: Tensor, others: Tensor, unit: Tensor) -> Tensor:
        """(C, a), (K, a) -> (C, K) the kernel, rows scaled to sum to one."""
        return (-self.scale * squared_distances(rows, others) / unit**2).softmax(-1)

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, a) -> (M, C) scores of the synthesised classifiers."""
        kernel = self.similarity(unit_rows(texts), state["signatures"], state["unit"])
        images = self.scaled(features)
        learnt = images @ (kernel.to(features.dtype) @ state["bases"]).T
        return learnt + state["strength"] * (images @ texts.T) if "strength" in state else learnt


def unit_rows(texts: Tensor) -> Tensor:
    """(C, a) class signatures of unit length, in double precision; a single column keeps its lengths."""
    return normalise(texts.double()) if texts.shape[-1] > 1 else texts.double()


def hinge_slope(scores: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """(N, K) half the derivative of the squared hinges, each score counted as a positive and as a negative."""
    return negatives * (1 + scores).relu() - positives * (1 - scores).relu()


def phantom_classifiers(similarity: Tensor, classifiers: Tensor) -> Tensor:
    """(K, K), (K, d) -> (K, d) the bases that the kernel turns back into the classifiers."""
    inverse: Tensor = torch.linalg.pinv(similarity, rtol=PSEUDOINVERSE_CUTOFF)
    return inverse @ classifiers.double()


def squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    """(C, a), (K, a) -> (C, K) squared Euclidean distances."""
    lengths = rows.square().sum(-1, keepdim=True) + others.square().sum(-1)
    return (lengths - 2 * rows @ others.T).clamp(min=0)


def median_distance(rows: Tensor) -> Tensor:
    """(K, a) -> the median of the distances above zero between rows; 1 where there are none."""
    if len(rows) == 1:
        return rows.new_ones(())
    first, second = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    distances = squared_distances(rows, rows)[first, second].sqrt()
    median = torch.where(distances > MIN_DISTANCE, distances, torch.nan).nanquantile(0.5)
    return torch.where(median.isnan(), 1.0, median)
