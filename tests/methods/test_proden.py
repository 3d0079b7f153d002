"""PRODEN agrees with its authors' release, through the step that the trainer calls."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from pzsl_bench.contract import Gradient, configure
from pzsl_bench.problem import Studies
from pzsl_bench.stack import lifted

FIXTURE = json.loads((Path(__file__).parents[1] / "parity" / "proden_original.json").read_text())


class Given(nn.Module):
    """Logits that are the parameters themselves."""

    def forward(self, features: Tensor, texts: Tensor) -> Tensor:
        return self.logits

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)


def test_loss_gradient_and_confidences_equal_the_original_release() -> None:
    given, atol = FIXTURE["inputs"], FIXTURE["tolerance"]["atol"]
    candidates = torch.tensor(given["candidates"], dtype=torch.float64)
    confidence = candidates / candidates.sum(1, keepdim=True)
    torch.testing.assert_close(confidence, torch.tensor(given["initial_confidence"], dtype=torch.float64))
    features = torch.zeros(given["N"], 2, dtype=torch.float64)
    texts = torch.zeros(given["K"], 2, dtype=torch.float64)
    studies = Studies(features, texts, ("",) * 5, 1.0, candidates.bool()[None], ("k",), ("d",))
    method = configure("proden", {})
    assert isinstance(method, Gradient)
    for step, expected in enumerate(FIXTURE["expected"]):
        rows = torch.tensor(given["batches"][step])
        module = Given(torch.tensor(given["logits"][step], dtype=torch.float64))
        state = {"logits": module.logits.detach()[None].requires_grad_()}
        run = lifted(method, {}, module, studies)
        loss, new = run(state, features[rows][None], confidence[rows][None], torch.empty(0), torch.zeros(()))
        (gradient,) = torch.autograd.grad(loss.sum(), [state["logits"]])
        confidence[rows] = new[0]
        for got, want in (
            (loss[0], expected["loss"]),
            (gradient[0], expected["grad_logits"]),
            (confidence, expected["confidence"]),
        ):
            torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), atol=atol, rtol=1e-8)
