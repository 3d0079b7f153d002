"""Predictions restricted to some labels stay predictions at any gap of the logits."""

from __future__ import annotations

import torch

from pzsl_bench.blocks.candidate_softmax import softmax_on


def test_allowed_labels_keep_their_proportions() -> None:
    made = softmax_on(torch.tensor([[1.0, 2.0, 3.0]]).log(), torch.tensor([[True, False, True]]))
    torch.testing.assert_close(made, torch.tensor([[0.25, 0.0, 0.75]]))


def test_a_row_whose_allowed_mass_underflows_still_sums_to_one() -> None:
    made = softmax_on(torch.tensor([[300.0, 0.0, 0.0, -300.0]]), torch.tensor([[False, True, True, True]]))
    torch.testing.assert_close(made, torch.tensor([[0.0, 0.5, 0.5, 0.0]]))


def test_a_row_that_allows_nothing_is_all_zeros() -> None:
    made = softmax_on(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([[False, False], [True, True]]))
    assert made.sum(-1).tolist() == [0.0, 1.0]
