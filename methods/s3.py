"""S^3: a class is the space that its names span, and an image is compared with the part of it that lies nearest.

Family: clip (CLIP's own classifier, adapted).

K_c = largest connected component of the names of c at scale eps_c   (compact: names of another sense fall away)
score(x, c) = x . unit(sum of the k names in K_c that are nearest to x)   (point to local centre)

A space is made of the names' text vectors: names at most eps apart are joined, and names that are all joined to each
other span a simplex of the Vietoris-Rips complex. eps is chosen for each class without any label. Other ways to compare
a point with a space are settings, which `bench/synonyms/scores.py` explains.

With a single name for each class this is zero-shot CLIP. Names are knowledge that plain CLIP does not have. The scores
`center` and `max` on the same names show how much the geometry adds to the names themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.clip_space import InClipSpace, check_space
from pzsl_bench.contract import Citation, ClassTexts, ClosedForm, State, Study, hyper, method
from pzsl_bench.synonyms.scores import NEIGHBOURS, SCORES, Scoring, score_spaces
from pzsl_bench.synonyms.space import METRICS, RULES, Compactness, Spaces, build_spaces, pooled_scale

CITATION = Citation(
    "Yin, Wang, Cao and Hu",
    "S^3: Synonymous Semantic Space for Improving Zero-Shot Generalization of Vision-Language Models",
    "arXiv 2412.04925",
    2024,
    "https://arxiv.org/abs/2412.04925",
)
READING_DEVIATIONS = (
    "Our reading of the abstract, which names the Vietoris-Rips complex, its compact part and the point-to-local-center"
    " score but no formula: distance, scale, neighbourhood and all numbers are ours, and no number of the paper's is"
    " claimed.",
    "Names come from the lists that `pzsl-bench synonyms` shows, not from the paper's language models, and without its"
    " visual descriptors.",
)


@dataclass(frozen=True)
class OfNames(InClipSpace):
    """A method that compares images with all names of a class."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classes", "tags"})

    score_by: str = hyper("local_center", "how an image is compared with a space", choices=SCORES)
    neighbours: str = hyper("knn", "which names local_center takes as near", choices=NEIGHBOURS)
    k: int = hyper(0, "how many names knn takes; 0: half of the kept ones, rounded up")
    tau: float = hyper(0.1, "temperature of soft and lse", above=0, fixed=True)
    rank: int = hyper(2, "directions of subspace and affine; 0: all")
    eps_rule: str = hyper(
        "coverage",
        "scale of a class: coverage keeps the share rho of its names, gap stops before the widest gap, fixed is eps"
        " for all, quantile that of all classes' gaps",
        choices=RULES,
    )
    eps: float = hyper(0.5, "the scale of fixed, in the metric's own measure", fixed=True)
    rho: float = hyper(0.8, "share of the names that coverage keeps at least", fixed=True)
    quantile: float = hyper(0.5, "which quantile", fixed=True)
    metric: str = hyper("chord", "distance of two names; angle in radians", choices=METRICS)
    most: int = hyper(0, "names used besides a class's own, the first ones; 0: all")

    def __post_init__(self) -> None:
        for name in ("rho", "quantile"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise UserError(f"{name}: {share:g} is not a share, a number from 0 to 1")

    @property
    def needs(self) -> frozenset[str]:
        """All names of every class."""
        return super().needs | {"synonyms"}

    @property
    def compactness(self) -> Compactness:
        """Which names hang together."""
        return Compactness(self.eps_rule, self.eps, self.rho, self.quantile, self.metric)

    @property
    def scoring(self) -> Scoring:
        """How a point is compared with a space."""
        return Scoring(self.score_by, self.neighbours, self.k, self.tau, self.rank)

    def used_names(self, texts: ClassTexts) -> Tensor:
        """(C, m, d) the names that are used; a class of which no others are known has one."""
        names = texts.vectors[:, None] if texts.names is None else texts.names
        return names[:, : 1 + self.most] if self.most else names

    def solve(self, study: Study) -> State:
        """Only the scale that all classes share under `eps_rule: quantile`, computed from the seen classes."""
        check_space(self.info.name, study)
        pooled = pooled_scale(self.used_names(ClassTexts(study.texts, names=study.synonyms)), self.compactness)
        like = study.features
        # The scale equals the distance of some pair of names and is compared with it, so it must not lose digits.
        return {"pooled": like.new_tensor(pooled, dtype=torch.float64), "scale": like.new_tensor(study.scale)}

    def prepare(self, state: State, texts: ClassTexts) -> State:
        """The spaces of C classes; see `Spaces` for the shapes."""
        names, pooled = self.used_names(texts), float(state["pooled"])
        spaces = build_spaces(names, self.compactness, pooled, self.scoring.wants_facets)
        return {**vars(spaces), "scale": state["scale"]}


def spaces_in(state: State) -> Spaces:
    """The spaces that were prepared."""
    return Spaces(**{name: state[name] for name in Spaces.__dataclass_fields__})


@method("s3", title="S^3", family="clip", citation=CITATION, deviations=READING_DEVIATIONS)
@dataclass(frozen=True)
class S3(OfNames, ClosedForm):
    """Point to space."""

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d) -> (M, C) scores on the scale of cosines; a distance d is scored as -d^2 / 2."""
        return score_spaces(features, spaces_in(state), self.scoring)
