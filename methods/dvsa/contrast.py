"""Contrast between what images show of attributes and what their classes have of them: lower bounds of information.

Attribute scores of images, (B, a), meet the attributes of their classes as the label weights see them, (B, a). Pairs
u, v are columns of the two (one attribute over the images of a batch) or rows (one image over the attributes):

    infonce: minus the log of the softmax of t cos(u, v) at the pair, the mean over both directions
    jsd:     softplus(-t cos(u, v)) at pairs plus softplus(t cos(u, v)) at others, each in the mean

A pair need not be one alone: columns of attributes that always go together, or images of one class, share the target.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

CONTRASTS = ("attributes", "images", "none")
BOUNDS = ("infonce", "jsd")
MIN_SPREAD = 1e-3
"""A column shorter than this after its mean is subtracted, such as an attribute that all classes have, counts less."""


def contrast(kind: str, bound: str, shown: Tensor, expected: Tensor, weights: Tensor, scale: Tensor | float) -> Tensor:
    """Scalar loss from (B, a) attribute scores, (B, a) attributes of the classes and the (B, K) label weights."""
    if kind == "attributes":
        # Over the images of a batch, an attribute's own mean says nothing about which images have it.
        one, other = ((part - part.mean(0)).T for part in (shown, expected))
        columns = F.normalize(other, dim=-1, eps=MIN_SPREAD)
        pairs = (scale * columns @ columns.T).softmax(-1)
    else:
        one, other = shown, expected
        # Images of one class are pairs of each other, as far as their label weights agree.
        pairs = weights @ weights.T
        pairs = pairs / pairs.sum(-1, keepdim=True).clamp(min=MIN_SPREAD)
    logits = scale * F.normalize(one, dim=-1, eps=MIN_SPREAD) @ F.normalize(other, dim=-1, eps=MIN_SPREAD).T
    if bound == "infonce":
        forth, back = pairs * F.log_softmax(logits, -1), pairs.T * F.log_softmax(logits, -2)
        return -(forth + back).sum() / (2 * len(logits))
    same = pairs / pairs.sum()
    others = (1 - pairs).clamp(min=0)
    return (same * F.softplus(-logits)).sum() + (others * F.softplus(logits)).sum() / others.sum().clamp(min=1)
