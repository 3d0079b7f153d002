"""The stacked trainer: runs do not depend on their stack, and a vmapped run equals a single run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from replay import Replay

from pzsl_bench.contract import configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import batch_orders, fit, initialise, merge

POINTS = [("flip", rate, seed) for rate in (0.1, 0.3, 0.5) for seed in range(8)] + [("semantic", 0.5, 0)]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def studies() -> Studies:
    return toy_studies(toy_problem(noise=2.0), POINTS)


def methods(name: str, count: int, **settings: object) -> list:
    return [configure(name, {"epochs": 3, "batch": 32, **settings})] * count


def test_a_run_starts_from_the_same_weights_and_batches_in_any_stack(studies: Studies) -> None:
    method = methods("proden", 1)[0]
    _, together, _ = initialise(method, studies, studies.uniform)
    order = batch_orders(studies.keys, 2, 160, CPU)
    for run in (0, 7, 24):
        one = studies.of_runs(torch.tensor([run]))
        _, alone, _ = initialise(method, one, one.uniform)
        for name, value in alone.items():
            assert torch.equal(value[0], together[name][run])
        assert torch.equal(batch_orders(studies.keys[run : run + 1], 2, 160, CPU)[0], order[run])


def test_initial_weights_and_orders_differ_between_runs_and_epochs(studies: Studies) -> None:
    _, params, _ = initialise(methods("proden", 1)[0], studies, studies.uniform)
    assert not torch.equal(params["adapter.down.weight"][0], params["adapter.down.weight"][1])
    orders = batch_orders(studies.keys[:1], 0, 50, CPU), batch_orders(studies.keys[:1], 1, 50, CPU)
    assert not torch.equal(*orders)
    assert sorted(orders[0][0].tolist()) == list(range(50))


@pytest.mark.parametrize("name", ["proden", "naive", "oracle"])
def test_a_cell_does_not_depend_on_its_stack(studies: Studies, name: str) -> None:
    together = fit(methods(name, len(studies)), studies).score(studies.features, studies.texts)
    for run in (0, 11, 24):
        alone = fit(methods(name, 1), studies.of_runs(torch.tensor([run]))).score(studies.features, studies.texts)
        torch.testing.assert_close(alone[0], together[run], atol=1e-4, rtol=1e-4)


def test_training_leaves_the_global_generator_alone(studies: Studies) -> None:
    before = torch.random.get_rng_state()
    fit(methods("proden", 1), studies.of_runs(torch.tensor([0])))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_stack_equals_an_ordinary_training_loop_written_out(studies: Studies) -> None:
    one = studies.of_runs(torch.tensor([5]))
    method = methods("proden", 1, clip=0.5, schedule="cosine", encoder_counts=0)[0]
    module, params, _ = initialise(method, one, one.uniform)
    module.load_state_dict({k: v[0].detach() for k, v in params.items()})
    optimiser = torch.optim.AdamW(module.parameters(), lr=method.lr, weight_decay=method.weight_decay)
    weights = one.uniform[0].clone()
    steps, n = -(-160 // 32), 0
    for epoch in range(3):
        order = batch_orders(one.keys, epoch, 160, CPU)[0]
        for start in range(0, 160, 32):
            rows = order[start : start + 32]
            log_p = module(one.features[rows], one.texts).log_softmax(-1)
            optimiser.zero_grad()
            (-(weights[rows] * log_p).sum(1).mean()).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            for group in optimiser.param_groups:
                group["lr"] = method.lr * 0.5 * (1 + np.cos(np.pi * n / (3 * steps)))
            optimiser.step()
            new = log_p.detach().exp() * (weights[rows] > 0)
            weights[rows] = new / new.sum(1, keepdim=True)
            n += 1
    fitted = fit([method], one)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(fitted.state[name][0], value, atol=1e-5, rtol=1e-4)
    assert fitted.weights is not None
    torch.testing.assert_close(fitted.weights[0], weights, atol=1e-4, rtol=1e-3)


def test_a_diverging_run_is_marked_and_harms_no_other(studies: Studies) -> None:
    two = Studies(
        studies.features, studies.texts, studies.class_names, studies.scale,
        studies.candidates[:2], studies.keys[:2], studies.draws[:2],
    )  # fmt: skip
    sane = {"optimiser": "sgd", "head": "linear", "epochs": 8, "momentum": 0.0}
    mixed = [configure("proden", {**sane, "lr": 1e-2}), configure("proden", {**sane, "lr": 1e38})]
    fitted = fit(mixed, two)
    assert fitted.alive.tolist() == [True, False]
    alone = fit(mixed[:1], studies.of_runs(torch.tensor([0])))
    torch.testing.assert_close(fitted.state["out.weight"][0], alone.state["out.weight"][0], atol=1e-5, rtol=1e-4)


def test_a_solution_that_is_not_finite_is_marked(studies: Studies) -> None:
    broken = replace(studies, candidates=studies.candidates[:2].clone(), keys=studies.keys[:2], draws=studies.draws[:2])
    # An image without any candidate has targets 0/0.
    broken.candidates[1, 0] = False
    assert fit([configure("eszsl", {})] * 2, broken).alive.tolist() == [True, False]


def test_runs_may_differ_in_floats_and_each_keeps_its_own(studies: Studies) -> None:
    rates = [1e-4, 1e-3, 1e-2]
    three = Studies(
        studies.features, studies.texts, studies.class_names, studies.scale,
        studies.candidates[:3], studies.keys[:3], studies.draws[:3],
    )  # fmt: skip
    together = fit([configure("proden", {"lr": lr, "epochs": 3}) for lr in rates], three)
    for run, lr in enumerate(rates):
        alone = fit([configure("proden", {"lr": lr, "epochs": 3})], studies.of_runs(torch.tensor([run])))
        torch.testing.assert_close(
            together.state["adapter.up.weight"][run], alone.state["adapter.up.weight"][0], atol=1e-5, rtol=1e-3
        )


def test_closed_forms_take_different_floats_too(studies: Studies) -> None:
    regs = [0.1, 10.0]
    two = Studies(
        studies.features, studies.texts, studies.class_names, studies.scale,
        studies.candidates[:2], studies.keys[:2], studies.draws[:2],
    )  # fmt: skip
    together = fit([configure("eszsl", {"reg_feature": r}) for r in regs], two)
    for run, reg in enumerate(regs):
        alone = fit([configure("eszsl", {"reg_feature": reg})], studies.of_runs(torch.tensor([run])))
        torch.testing.assert_close(together.state["weight"][run], alone.state["weight"][0], atol=1e-5, rtol=1e-4)


def test_runs_that_differ_in_more_than_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="epochs"):
        merge([configure("proden", {"epochs": 3}), configure("proden", {"epochs": 4})], CPU)


def test_a_last_batch_of_one_image_is_trained(studies: Studies) -> None:
    fitted = fit(methods("proden", 1, batch=159), studies.of_runs(torch.tensor([0])))
    assert torch.isfinite(fitted.curves["loss"]).all()


def test_logit_gaps_of_hundreds_give_no_nan() -> None:
    run = Replay("proden", [[0, 1, 1, 0]])
    loss, gradient = run.step([0], [[300.0, 0.0, -300.0, 5.0]])
    assert loss.isfinite()
    assert gradient.isfinite().all()
    torch.testing.assert_close(run.weights, torch.tensor([[0.0, 1.0, 0.0, 0.0]], dtype=torch.float64))
