"""CR-DPLL agrees with its authors' release, and its variant with PLENCH, through the calls of the trainer."""

from __future__ import annotations

import torch
from replay import Replay, agree, double, fixture

from pzsl_bench.blocks.consistency import divergences


def test_three_views_equal_the_authors_release() -> None:
    numbers = fixture("crdpll_three_views")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    # The release reaches the full consistency after 100 epochs.
    run = Replay("crdpll", inputs["candidates"], {"epochs": 200, "ramp": 0.5, "consistency": inputs["lam"]})
    agree(run.weights, inputs["initial_confidence"], tolerance)
    for step, expected in enumerate(numbers["expected"]):
        rows, (plain, *views) = inputs["batches"][step], inputs["logits_per_view"][step]
        before = run.weights[rows].clone()
        loss, gradient = run.step(rows, plain, views, epoch=inputs["epochs"][step])
        log_probs = double([plain, *views]).log_softmax(-1)
        agree(divergences(before, log_probs), expected["consistency_losses"], tolerance)
        agree(run.notes["consistency"], sum(expected["consistency_losses"]), tolerance)
        agree(run.notes["non-candidates"], expected["supervised_loss"], tolerance)
        agree(loss, expected["loss"], tolerance)
        agree((loss - run.notes["non-candidates"]) / run.notes["consistency"], expected["lambda_"], tolerance)
        agree(gradient.view(3, len(rows), -1), expected["grad_logits_per_view"], tolerance)
        agree(run.weights, expected["confidence"], tolerance)


def test_two_views_and_a_second_pass_equal_plench() -> None:
    numbers = fixture("crdpll_two_views_plench")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    run = Replay("crdpll", inputs["candidates"], {"variant": "plench"})
    agree(run.weights, inputs["initial_confidence"], tolerance)
    for step, expected in enumerate(numbers["expected"]):
        rows, progress = inputs["batches"][step], inputs["curr_iter"][step] / inputs["max_steps"]
        loss, gradient = run.step(rows, inputs["logits_weak"][step], [inputs["logits_strong"][step]], progress=progress)
        run.revise(rows, inputs["logits_post_weak"][step], [inputs["logits_post_strong"][step]], progress=progress)
        weak, strong = gradient.view(2, len(rows), -1)
        agree(loss, expected["loss"], tolerance)
        agree((loss - run.notes["non-candidates"]) / run.notes["consistency"], expected["lambda_"], tolerance)
        agree(weak, expected["grad_logits_weak"], tolerance)
        agree(strong, expected["grad_logits_strong"], tolerance)
        agree(run.weights, expected["confidence"], tolerance)


def test_certain_predictions_on_non_candidates_cost_a_finite_loss() -> None:
    run = Replay("crdpll", [[1, 0, 0]])
    loss, gradient = run.step([0], [[-300.0, 300.0, 0.0]], [[[0.0, 300.0, 0.0]], [[300.0, 0.0, 0.0]]], epoch=20)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    torch.testing.assert_close(run.weights, double([[1.0, 0.0, 0.0]]))
