"""Criteria that compare models on held-out images, by their candidate sets or, for comparison, by their true labels.

With y the best-scored class of an image, S its candidates and p the softmax of the scores:
covering rate = share of images with y in S;
approximated accuracy = mean of [y in S] p_y / sum_{k in S} p_k;
oracle accuracy = share of images whose true label is y, which partial labels do not tell.

The approximated accuracy is at most the covering rate and comes near it as scores grow, so it compares states of one
method whose scores are logits. The covering rate depends on the best-scored class only. The functions return values of
single images; the criteria are their means. Where sets are noisy, the best possible covering rate is below 1, but the
sets are the same for all models that are compared.
"""

from __future__ import annotations

from torch import Tensor


def covering(scores: Tensor, candidates: Tensor) -> Tensor:
    """(R, M, K) scores and candidate sets -> (R, M) 1 where the best-scored class is a candidate, else 0."""
    return candidates.gather(-1, scores.argmax(-1, keepdim=True)).squeeze(-1).to(scores.dtype)


def approximated(scores: Tensor, candidates: Tensor) -> Tensor:
    """(R, M, K) scores and candidate sets -> (R, M) the best-scored class's share of the candidates' probability."""
    total = scores.masked_fill(~candidates, float("-inf")).logsumexp(-1)
    share = (scores.amax(-1) - total).exp()
    return share.where(covering(scores, candidates) > 0, 0.0)


def right(scores: Tensor, truth: Tensor) -> Tensor:
    """(R, M, K) scores and (M,) or (R, M) true classes -> (R, M) 1 where the best-scored class is the true one."""
    return (scores.argmax(-1) == truth).to(scores.dtype)
