"""Sinkhorn's scaling of a table to given row and column sums, safe at any gap between its entries."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_ENTRY = 1e-20
"""The smallest allowed entry, as a share of the largest of its row."""
MAX_FACTOR = 1e15
"""Column factors stay within 1 / MAX_FACTOR and MAX_FACTOR. They reach these where no table has the given sums."""


def scaled(logs: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """(M, K) exp(logs) on the allowed entries, divided by the largest entry of each row; (M,) those largest entries."""
    logs = torch.where(allowed, logs, torch.finfo(logs.dtype).min)
    largest = logs.amax(-1)
    table = (logs - largest.unsqueeze(-1)).exp().clamp(min=MIN_ENTRY) * allowed
    return table, largest.exp().clamp(MIN_ENTRY**0.5, MIN_ENTRY**-0.5)


def sinkhorn(table: Tensor, first: Tensor, rows: Tensor, columns: Tensor, rounds: int) -> Tensor:
    """(M, K) the scaled table, rescaled for each row to sum to one: row sums are `rows`, column sums near `columns`.

    `first` (M,) are the row factors before the first round. A row whose `first` and `rows` are both 0 takes no part,
    and its result means nothing. Column sums of classes that are in no row are shared out among the other classes.
    """
    mass = first @ table
    absent = (mass <= 0).to(table.dtype)
    column_sums = columns.clamp(min=MIN_ENTRY) * (1 - absent)
    column_sums = column_sums / column_sums.sum()
    for _ in range(rounds):
        column = (column_sums / (mass + absent)).clamp(1 / MAX_FACTOR, MAX_FACTOR)
        mass = (rows / (table @ column)) @ table
    return table * column / (table @ column).unsqueeze(-1)
