"""Sinkhorn's scaling of a table to given row and column sums, safe at any gap between its entries."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-20
"""Allowed entries are no smaller than this beside the largest of their row."""
LIMIT = 1e15
"""Column factors stay within 1 / LIMIT and LIMIT; they meet it where no table has the sums that were asked for."""


def scaled(logs: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """(M, K) exp(logs) on the allowed entries with a largest entry of one in every row; (M,) what that was before."""
    logs = torch.where(allowed, logs, torch.finfo(logs.dtype).min)
    largest = logs.amax(-1)
    table = (logs - largest.unsqueeze(-1)).exp().clamp(min=SMALLEST) * allowed
    return table, largest.exp().clamp(SMALLEST**0.5, SMALLEST**-0.5)


def sinkhorn(table: Tensor, first: Tensor, rows: Tensor, columns: Tensor, rounds: int) -> Tensor:
    """(M, K) the scaled table, rescaled for each row to sum to one: row sums are `rows`, column sums near `columns`.

    `first` (M,) are the row factors before the first round. A row of which both are 0 has no part in it, and what is
    returned for it means nothing. Column sums of classes that are in no row are shared out among the others.
    """
    mass = first @ table
    absent = (mass <= 0).to(table.dtype)
    wanted = columns.clamp(min=SMALLEST) * (1 - absent)
    wanted = wanted / wanted.sum()
    for _ in range(rounds):
        column = (wanted / (mass + absent)).clamp(1 / LIMIT, LIMIT)
        mass = (rows / (table @ column)) @ table
    return table * column / (table @ column).unsqueeze(-1)
