"""The nearest point of a convex hull: a small quadratic programme on the simplex, solved for many at once.

The squared distance of x from sum_i w_i t_i, w >= 0 and sum w = 1, is w' Q w with Q_ij = (t_i - x) . (t_j - x). Its
minimum is that of the non-negative least-squares problem min |[T - x; 1] u - [0; 1]|^2 up to the sum of u, which the
active set method of Lawson and Hanson solves exactly: names are taken in one at a time, and let go again when their
weight would be negative. All problems take a step together; those that are done leave.
"""

from __future__ import annotations

import torch
from torch import Tensor

SLACK = 1e-10
"""A slope below this is none: the solution then is exact to about its root."""
RIDGE = 1e-13
"""Added to the diagonal, so that names that say the same can be solved for."""


def nearest_squares(gram: Tensor, dots: Tensor, there: Tensor, squares: Tensor) -> Tensor:
    """(B, C) squared distances from the hulls; see `nearest_weights`."""
    weights = nearest_weights(gram, dots, there, squares)
    wide, cosines = gram.double(), dots.double()
    lengths = (torch.einsum("bci,cij->bcj", weights, wide) * weights).sum(-1)
    return (lengths - 2 * (cosines * weights).sum(-1) + squares.double()).clamp(min=0).to(dots)


def nearest_weights(gram: Tensor, dots: Tensor, there: Tensor, squares: Tensor) -> Tensor:
    """(B, C, m) doubles: the weights of the nearest point.

    From (C, m, m) inner products of the names, (B, C, m) those with the images, (B, C, m) which names there are (one
    at least), and (B, C) squared lengths of the images.
    """
    shape, names = dots.shape, dots.shape[-1]
    cosines = dots.double()
    shifted = gram.double() - cosines[..., :, None] - cosines[..., None, :] + squares.double()[..., None, None] + 1
    problem = shifted.flatten(0, 1)
    problem = problem + RIDGE * torch.eye(names, dtype=problem.dtype, device=problem.device)
    allowed = there.reshape(-1, names)
    answers = torch.zeros(len(problem), names, dtype=problem.dtype, device=problem.device)
    active = torch.zeros_like(allowed)
    todo = torch.arange(len(problem), device=problem.device)
    # Far more steps than any problem of this kind takes; rounding could otherwise let two names change places for ever.
    for _ in range(10 * names + 10):
        q, own, current, may = problem[todo], active[todo], answers[todo], allowed[todo]
        slope = (1 - (q @ current[..., None]).squeeze(-1)).masked_fill(own | ~may, float("-inf"))
        settled = _settled(q, own, current)
        gain, name = slope.max(-1)
        done = settled & (gain <= SLACK)
        grown = own.scatter(-1, name[:, None], True)
        own = torch.where((settled & ~done)[:, None], grown, own)
        wanted = _solved(q, own)
        step = torch.where(own & (wanted <= 0), current / (current - wanted).clamp(min=1e-300), 1.0).amin(-1)
        moved = current + step.clamp(0, 1)[:, None] * (wanted - current)
        own &= ~((moved <= 1e-14) & (wanted <= 0))
        moved = torch.where(own, moved, 0.0)
        answers[todo] = torch.where(done[:, None], current, moved)
        active[todo] = torch.where(done[:, None], active[todo], own)
        todo = todo[~done]
        if not len(todo):
            break
    return (answers / answers.sum(-1, keepdim=True)).view(shape)


def _settled(q: Tensor, own: Tensor, current: Tensor) -> Tensor:
    """(P,) whether the weights solve the problem on their own names, so that another name may come in."""
    rest = ((q @ current[..., None]).squeeze(-1) - 1).masked_fill(~own, 0.0)
    return rest.abs().amax(-1) <= SLACK


def _solved(q: Tensor, own: Tensor) -> Tensor:
    """(P, m) the unconstrained solution on some of the names, zero elsewhere."""
    both = own[:, :, None] & own[:, None, :]
    eye = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    found, _ = torch.linalg.solve_ex(torch.where(both, q, eye), own.to(q))
    return torch.where(own, found, 0.0)
