"""TS^3 (experimental): the spaces of S^3 follow the images of the exam, which come as a stream without labels.

Family: clip (CLIP's own classifier, adapted).

p(. | x) = softmax(scale s(x, .))               s is the score of S^3
m_c      = beta m_c + (1 - beta) x'             for images of best class c whose entropy is below `certain` log C
t_ci     = unit(t_ci + alpha (m_c - centre_c))  m_c starts at the centre of c's names

x' = x - (mean image so far) + (mean centre). Images and texts lie in two separate cones, and a class that moved from
the cone of texts to that of images would be nearest to every image (gap: kept leaves x as it is).

Instance-transductive: the scores of an image depend on the images before it in the exam, never on a label. Images come
in the order of the exam, or shuffled in a way that only their number decides: many exams list one class after the
other, which is no fair stream. Images are scored in small groups by the current spaces and then move the spaces, in
their order. alpha: 0 is S^3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.base import randomness
from pzsl_bench.contract import ClosedForm, State, hyper, method, normalise
from pzsl_bench.methods.s3 import CITATION, READING_DEVIATIONS, OfNames, spaces_in
from pzsl_bench.synonyms.scores import score_spaces
from pzsl_bench.synonyms.space import Spaces


@method(
    "ts3",
    title="TS^3 (experimental)",
    family="clip",
    citation=CITATION,
    transductive=True,
    deviations=(
        "All of it is our design: later summaries of the paper speak of spaces that are shifted during inference, and"
        " no more of it could be read.",
        *READING_DEVIATIONS,
    ),
)
@dataclass(frozen=True)
class TS3(OfNames, ClosedForm):
    """Spaces that move."""

    alpha: float = hyper(1.0, "how far the names follow; 0: not at all", fixed=True)
    beta: float = hyper(0.99, "how slowly a class's mean follows an image", fixed=True, below=1)
    certain: float = hyper(0.3, "largest entropy of an image that counts, as a share of log C", fixed=True)
    gap: str = hyper("removed", "the gap between images and texts, for the means", choices=("removed", "kept"))
    group: int = hyper(32, "images that are scored by the same spaces", above=0)
    order: str = hyper("shuffled", "how images come", choices=("shuffled", "exam"))

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d) -> (M, C) scores, each by the spaces before its group moved them."""
        spaces, scale = spaces_in(state), state["scale"]
        centres = normalise(spaces.points.sum(1))
        means, moved_spaces = centres, spaces
        count, total = 0, torch.zeros_like(centres[0])
        scores = features.new_empty(len(features), len(centres))
        for rows in torch.split(self._stream(len(features)).to(features.device), self.group):
            images = features[rows]
            scores[rows] = group_scores = score_spaces(images, moved_spaces, self.scoring)
            if self.alpha:
                count, total = count + len(images), total + images.sum(0)
                offset = total / count - centres.mean(0) if self.gap == "removed" else torch.zeros_like(total)
                means = self._followed(means, images - offset, (scale * group_scores).log_softmax(-1))
                moved_spaces = moved(spaces, self.alpha * (means - centres))
        return scores

    def _stream(self, images: int) -> Tensor:
        if self.order == "exam":
            return torch.arange(images)
        return torch.from_numpy(randomness.permutation(randomness.key("ts3", "stream", images), images))

    def _followed(self, means: Tensor, images: Tensor, log_probs: Tensor) -> Tensor:
        """(C, d) means after a group: each image in turn takes the share 1 - beta of its class's mean."""
        classes = log_probs.shape[-1]
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        certain_images = entropy <= self.certain * torch.tensor(classes).log().to(entropy)
        hits = F.one_hot(log_probs.argmax(-1), classes).to(images) * certain_images[:, None]
        later = hits.sum(0) - hits.cumsum(0)
        shares = hits * (1 - self.beta) * self.beta**later
        return self.beta ** hits.sum(0)[:, None] * means + shares.T @ images


def moved(spaces: Spaces, by: Tensor) -> Spaces:
    """The spaces with every name of class c moved by row c of (C, d), and back on the sphere."""
    points = normalise(spaces.points + by[:, None]) * spaces.there[..., None]
    return replace(spaces, points=points, canonical=normalise(spaces.canonical + by))
