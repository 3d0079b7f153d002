"""The nearest point of a convex hull: a small quadratic programme on the simplex, solved for many at once.

The squared distance of x from sum_i w_i t_i, w >= 0 and sum w = 1, is w' Q w with Q_ij = (t_i - x) . (t_j - x). Its
minimum is that of the non-negative least-squares problem min |[T - x; 1] u - [0; 1]|^2 up to the sum of u, which the
active set method of Lawson and Hanson solves exactly: names enter the active set one at a time, and leave it when their
weight would be negative. All problems take each step together; those that are solved drop out.
"""

from __future__ import annotations

import torch
from torch import Tensor

SLOPE_TOLERANCE = 1e-10
"""A slope below this counts as zero: the solution is then exact to about its square root."""
RIDGE = 1e-13
"""Added to the diagonal, so that the problem can be solved for names with the same vector, too."""


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
    # Far more steps than any problem of this kind takes; without a limit, rounding could let two names swap for ever.
    for _ in range(10 * names + 10):
        q, in_set, current, may_enter = problem[todo], active[todo], answers[todo], allowed[todo]
        slope = (1 - (q @ current[..., None]).squeeze(-1)).masked_fill(in_set | ~may_enter, float("-inf"))
        settled = _settled(q, in_set, current)
        gain, name = slope.max(-1)
        done = settled & (gain <= SLOPE_TOLERANCE)
        grown = in_set.scatter(-1, name[:, None], True)
        in_set = torch.where((settled & ~done)[:, None], grown, in_set)
        solution = _solved(q, in_set)
        step = torch.where(in_set & (solution <= 0), current / (current - solution).clamp(min=1e-300), 1.0).amin(-1)
        moved = current + step.clamp(0, 1)[:, None] * (solution - current)
        in_set &= ~((moved <= 1e-14) & (solution <= 0))
        moved = torch.where(in_set, moved, 0.0)
        answers[todo] = torch.where(done[:, None], current, moved)
        active[todo] = torch.where(done[:, None], active[todo], in_set)
        todo = todo[~done]
        if not len(todo):
            break
    return (answers / answers.sum(-1, keepdim=True)).view(shape)


def _settled(q: Tensor, in_set: Tensor, current: Tensor) -> Tensor:
    """(P,) whether the weights solve the problem on the names of the active set, so that another name may enter."""
    rest = ((q @ current[..., None]).squeeze(-1) - 1).masked_fill(~in_set, 0.0)
    return rest.abs().amax(-1) <= SLOPE_TOLERANCE


def _solved(q: Tensor, in_set: Tensor) -> Tensor:
    """(P, m) the unconstrained solution on the names of the active set, zero elsewhere."""
    both = in_set[:, :, None] & in_set[:, None, :]
    eye = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    solution, _ = torch.linalg.solve_ex(torch.where(both, q, eye), in_set.to(q))
    return torch.where(in_set, solution, 0.0)
