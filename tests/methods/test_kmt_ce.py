"""The corrected cross entropy of KMT-PLL agrees with the release, through the step that the trainer calls."""

from __future__ import annotations

import pytest
import torch
from replay import Replay, agree, double, fixture

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import Batch, Output
from pzsl_bench.methods.kmt_ce import class_means, relevance


def test_relevance_loss_gradients_and_weights_equal_the_release() -> None:
    numbers = fixture("kmtpll_corrected_ce")
    inputs, tolerance = numbers["inputs"], numbers["tolerance"]
    features = double(inputs["features"])
    for step, expected in enumerate(numbers["expected"]):
        rows, centres = inputs["batches"][step], double(inputs["centers"][step])
        run = Replay(
            "kmt_ce", inputs["candidates"], {"start": "ones", "centres": "texts"}, texts=centres, features=features
        )
        agree(run.tables["relevance"][rows], expected["relevance"], tolerance)
        run.weights = double(inputs["initial_targets"] if step == 0 else numbers["expected"][step - 1]["targets"])
        before = run.weights[rows].clone()
        loss, gradient = run.step(rows, inputs["logits"][step])
        agree(loss, expected["loss"], tolerance)
        agree(gradient, expected["grad_logits"], tolerance)
        agree(run.weights, expected["targets"], tolerance)

        # Relevance is computed once here; the loss has the release's gradient for whoever lets the centres move.
        moving = centres.requires_grad_()
        batch = Batch(weights=before, rows={"relevance": relevance(features[rows], moving)})
        agree_loss = run.method.loss(Output(double(inputs["logits"][step])), batch)
        agree(torch.autograd.grad(agree_loss, [moving])[0], expected["grad_centers"], tolerance)


def test_weights_start_as_the_release_has_them_or_uniform() -> None:
    inputs = fixture("kmtpll_corrected_ce")["inputs"]
    ones = Replay("kmt_ce", inputs["candidates"], {"start": "ones"}).weights
    assert ones.tolist() == inputs["initial_targets"]
    assert Replay("kmt_ce", inputs["candidates"]).weights.sum(1).tolist() == pytest.approx([1] * len(ones))


def test_a_class_is_the_mean_of_its_sure_images_or_else_of_all_that_may_show_it() -> None:
    features = double([[1, 0], [3, 0], [0, 5], [0, 7]])
    candidates = torch.tensor([[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0]]).bool()
    assert class_means(features, candidates).tolist() == [[2, 0], [0, 6], [0, 7], [0, 0]]


def test_texts_of_another_width_are_refused() -> None:
    with pytest.raises(UserError, match="images and class texts of one width"):
        Replay("kmt_ce", [[1, 1]], {"centres": "texts"}, texts=double([[1, 0, 0], [0, 1, 0]]))
