"""TIP-X: Tip-Adapter that also counts votes of images with a similar signature among the seen classes.

Family: clip (CLIP's own classifier, adapted).

p(x) = softmax_c(x . t_c / temperature)                        an image's signature among the seen classes
d_ij = KL(p(x_i) | p(x_j)),  stretched to the range of cosines  how unlike two signatures are
score(x, c) = scale x . t_c + sum_j (alpha exp(-beta (1 - x . x_j)) + gamma s_j) q_jc

s_j = highest cosine - d_j ("from_farthest"), or -d_j as released ("negated"). Where all classes have as many images
the two differ by a constant over the seen classes; negative votes would put every unseen class, which has none, ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pzsl_bench.blocks.clip_space import check_space
from pzsl_bench.blocks.image_cache import IMAGES_AT_ONCE, Cached, affinity, beside_texts
from pzsl_bench.contract import Citation, ClosedForm, State, Study, hyper, method, normalise

RANGE_IMAGES = 2**11
"""Largest number of training images, evenly chosen, whose pairs give the ranges of cosines and divergences."""


def signatures(images: Tensor, texts: Tensor, temperature: float | Tensor) -> Tensor:
    """(M, d), (K, d) -> (M, K) logarithms of the class probabilities."""
    return F.log_softmax(images @ texts.T / temperature, dim=-1)


def divergences(queries: Tensor, support: Tensor) -> Tensor:
    """(M, K), (N, K) log probabilities -> (M, N) KL of each query from each support."""
    p = queries.exp()
    return ((p * queries).sum(-1, keepdim=True) - p @ support.T).clamp(min=0)


def ranges(cosines: Tensor, divergence: Tensor) -> Tensor:
    """(M, N) each -> (4,) the least and largest of both."""
    return torch.stack([cosines.min(), cosines.max(), divergence.min(), divergence.max()])


def stretched(divergence: Tensor, span: Tensor) -> Tensor:
    """Divergences of any shape, mapped linearly from their range (`span`) to that of the cosines."""
    lowest_cosine, highest_cosine, smallest, largest = span.unbind()
    width = largest - smallest
    # Where all signatures are alike, as with a single class, all count as nearest.
    share = torch.where(width > 0, (divergence - smallest) / torch.where(width > 0, width, 1), 0)
    return share * (highest_cosine - lowest_cosine) + lowest_cosine


@method(
    "tipx",
    title="TIP-X",
    family="clip",
    citation=Citation(
        "Udandarao, Gupta and Albanie",
        "SuS-X: Training-Free Name-Only Transfer of Vision-Language Models",
        "ICCV",
        2023,
        "https://arxiv.org/abs/2211.16198",
    ),
    deviations=(
        "The support set is the training images with their soft labels; the paper generates or retrieves one from the"
        " class names.",
        "Divergences are stretched by ranges of the training images among themselves; the release takes them from all"
        " images that are classified, so that an answer depends on the other images of the test.",
        "The release leaves the last block of less than 100 images without divergences and stretches those of the test"
        " to the range of the validation cosines: two mistakes that are not repeated.",
        "Similarity is counted from the farthest pair (counted), so that votes are never negative.",
        "Signatures are over the seen classes. Unseen classes are scored by their texts alone.",
        "Votes are scaled as if a class had 16 images (shots).",
    ),
)
@dataclass(frozen=True)
class TipX(Cached, ClosedForm):
    """A cache with two kinds of likeness."""

    gamma: float = hyper(0.03, "weight of the signatures", search=(1e-3, 1.0))
    sharpness: float = hyper(0.5, "temperature of the signatures", above=0)
    counted: str = hyper("from_farthest", "what likeness is counted from", choices=("from_farthest", "negated"))

    def solve(self, study: Study) -> State:
        """Keys (N, d) and signatures (N, K), which runs share, values (N, K), ranges (4,) and the encoder's scale."""
        check_space(self.info.name, study)
        keys = self.cached_keys(study)
        logs = signatures(keys, study.texts, self.sharpness)
        sample = slice(None, None, -(-len(keys) // RANGE_IMAGES))
        span = ranges(keys[sample] @ keys[sample].T, divergences(logs[sample], logs[sample]))
        cache = {"keys": keys, "signatures": logs, "values": self.labels(study)}
        return {**cache, "span": span, "scale": keys.new_tensor(study.scale)}

    def score(self, state: State, features: Tensor, texts: Tensor) -> Tensor:
        """(M, d), (C, d) -> (M, C) logits."""
        images = normalise(features)
        logs = signatures(images, texts[: state["values"].shape[-1]], self.sharpness)
        pairs = zip(torch.split(images, IMAGES_AT_ONCE), torch.split(logs, IMAGES_AT_ONCE), strict=True)
        seen_votes = torch.cat([self.votes(chunk, chunk_logs, state) for chunk, chunk_logs in pairs])
        return state["scale"] * images @ texts.T + beside_texts(seen_votes, texts)

    def votes(self, images: Tensor, logs: Tensor, state: State) -> Tensor:
        """(M, d) images, (M, K) signatures -> (M, K) votes of both kinds."""
        total = torch.zeros_like(logs)
        support = (torch.split(state[name], IMAGES_AT_ONCE) for name in ("keys", "signatures", "values"))
        for keys, others, values in zip(*support, strict=True):
            alike = -stretched(divergences(logs, others), state["span"])
            if self.counted == "from_farthest":
                alike = alike + state["span"][1]
            total = total + (self.alpha * affinity(images @ keys.T, self.beta) + self.gamma * alike) @ values
        return total
