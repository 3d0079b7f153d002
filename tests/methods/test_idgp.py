"""IDGP agrees with its authors' release, through the step that the trainer calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from replay import Replay, agree, double, fixture
from torch import Tensor, nn

from pzsl_bench.contract import configure
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import initialise

NUMBERS = fixture("idgp_terms")
GIVEN, EXPECTED, TOLERANCE = NUMBERS["inputs"], NUMBERS["expected"], NUMBERS["tolerance"]
CLASSES = GIVEN["K"]
WEIGHTS = ("alpha", "beta", "theta", "gamma", "delta", "eta")
RELEASE = {"t1": GIVEN["T1"], "t2": GIVEN["T2"], "warm_up": 0, "epochs": 500, "ramp": 0.2}
EPOCHS = [round(100 * ramp) for ramp in GIVEN["lambda_per_step"]]


class TwoTables(nn.Module):
    """Logits of f in the first columns of the table, of g in the others."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, features: Tensor, texts: Tensor, both: bool = False) -> Any:
        f, g = (features @ self.table).chunk(2, dim=-1)
        return (f, g) if both else f


def release(**settings: float) -> Replay:
    return Replay("idgp", GIVEN["candidates"], {**RELEASE, **settings}, look_up=TwoTables)


def logits(step: int) -> list[list[float]]:
    return [f + g for f, g in zip(GIVEN["f_logits"][step], GIVEN["g_logits"][step], strict=True)]


def test_loss_gradients_and_both_targets_equal_the_release() -> None:
    run = release(**{name: GIVEN[name] for name in WEIGHTS})
    torch.testing.assert_close(run.weights, double(GIVEN["initial_d"]))
    torch.testing.assert_close(run.tables["entries"], double(GIVEN["initial_b"]))
    for step, expected in enumerate(EXPECTED):
        assert EPOCHS[step] / 100 == expected["lambda_"]
        loss, gradient = run.step(GIVEN["batches"][step], logits(step), epoch=EPOCHS[step])
        agree(loss, expected["L_F"] + expected["L_G"], TOLERANCE)
        agree(run.notes["truth"], expected["L_F"], TOLERANCE)
        agree(run.notes["entries"], expected["L_G"], TOLERANCE)
        agree(gradient[:, :CLASSES], expected["grad_f_logits"], TOLERANCE)
        agree(gradient[:, CLASSES:], expected["grad_g_logits"], TOLERANCE)
        agree(run.weights, expected["d"], TOLERANCE)
        agree(run.tables["entries"], expected["b"], TOLERANCE)


@pytest.mark.parametrize(
    ("weight", "term"),
    zip(WEIGHTS, ("L_f", "L_f_given_g", "L_g", "L_g_given_f", "consistency_f", "consistency_g"), strict=True),
)
def test_every_term_alone_equals_the_release(weight: str, term: str) -> None:
    run = release(**{name: float(name == weight) for name in WEIGHTS})
    for step, expected in enumerate(EXPECTED):
        loss, _ = run.step(GIVEN["batches"][step], logits(step), epoch=100)
        agree(loss, expected[term], TOLERANCE)


def test_the_warm_up_learns_from_the_own_targets_alone() -> None:
    run = release(warm_up=3, alpha=7.0, beta=7.0, gamma=7.0)
    loss, _ = run.step(GIVEN["batches"][0], logits(0), epoch=2)
    agree(loss, EXPECTED[0]["L_f"] + EXPECTED[0]["L_g"], TOLERANCE)


@pytest.mark.parametrize("epoch", [0, 9, 99])
def test_a_step_is_finite_with_logits_three_hundred_apart(epoch: int) -> None:
    """One candidate, all, and an absent class, in float32."""
    candidates = [[1, 0, 0], [1, 1, 1], [1, 1, 0]]
    for f, g in ((-150.0, 150.0), (150.0, -150.0)):
        run = Replay("idgp", candidates, look_up=TwoTables, dtype=torch.float32)
        table = [[f, 0.0, g, g, 0.0, f], [0.0, f, g, f, f, g], [g, f, 0.0, 0.0, g, g]]
        for rows in ([0, 1, 2], [2], [1]):
            loss, gradient = run.step(rows, [table[i] for i in rows], epoch=epoch)
            assert loss.isfinite()
            assert gradient.isfinite().all()
            assert run.weights.isfinite().all()
            assert run.tables["entries"].isfinite().all()


def test_g_starts_at_the_share_of_candidates() -> None:
    studies = toy_studies(toy_problem(), [("flip", 0.2, 0)])
    method = configure("idgp", {})
    module, params, _ = initialise(method, studies, studies.uniform)
    state = {name: value[0] for name, value in params.items()}
    _, entering = torch.func.functional_call(module, state, (studies.features, studies.texts), {"both": True})
    share = studies.candidates.float().mean().item()
    assert entering.mean().sigmoid().item() == pytest.approx(share, abs=0.02)
