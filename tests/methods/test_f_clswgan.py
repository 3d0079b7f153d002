"""f-CLSWGAN's losses and their gradients agree with public code; its networks are what they say."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from replay import agree, double, fixture
from retrain import Retrain, dice_of, study_of
from torch.autograd.functional import jacobian

from pzsl_bench.contract import Net, State, configure
from pzsl_bench.methods.f_clswgan import FCLSWGAN, TwoLayers
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

FILE = fixture("f_clswgan_step")
GIVEN, EXPECTED = FILE["inputs"], FILE["expected"]
BOUNDS = {"atol": FILE["tolerance"], "rtol": 0.0}
PLAYERS = {"G": "generator", "D": "critic"}
LAYERS = {"fc1": "inner", "fc2": "out"}
PUBLIC = {
    "images": "as_given",
    "center_images": False,
    "center_texts": False,
    "last": "relu",
    "leak": 0.01,
    "latent": 3,
    "hidden": 4,
}
PARTS = ([0, 1, 2, 3], [4])
"""The file's last two images of one class have two descriptions, so they are of two batches."""


def parameters() -> State:
    """The file's networks; its matrices are (out, in)."""
    parameters: State = {}
    for name, value in GIVEN["parameters"].items():
        player, *rest = name.split(".")
        if player in PLAYERS:
            layer, kind = rest
            parameters[f"{PLAYERS[player]}.{LAYERS[layer]}.{kind}"] = double(value).t()
    return parameters


def described(rows: list[int]) -> torch.Tensor:
    """(4, 3) the descriptions of the classes as these images have them."""
    texts = torch.zeros(4, 3, dtype=torch.float64)
    for row in rows:
        texts[GIVEN["y"][row]] = double(GIVEN["att"])[row]
    return texts


def run_of(rows: list[int]) -> Retrain:
    labels = torch.nn.functional.one_hot(torch.tensor(GIVEN["y"]), 4).double()
    settings = {**PUBLIC, "penalty": GIVEN["lambda_gp"], "aid": GIVEN["beta"]}
    run = Retrain("f_clswgan", study_of(double(GIVEN["feat"]), described(rows), labels), settings, parameters())
    run.memory["aid_weight"] = double(GIVEN["parameters"]["cls.weight"]).T[None]
    run.memory["aid_bias"] = double(GIVEN["parameters"]["cls.bias"])[None]
    return run


@cache
def played() -> tuple[State, State]:
    """Losses and gradients of all five images: the means over their batches."""
    notes: State = {}
    gradients: State = {}
    for rows in PARTS:
        run = run_of(rows)
        dice = {
            "label": torch.zeros(len(rows), dtype=torch.float64),
            "critic": dice_of(double(GIVEN["z_critic"])[rows]),
            "generator": dice_of(double(GIVEN["z_generator"])[rows]),
            "between": double(GIVEN["e"])[rows],
        }
        loss, grads = run.step(rows, dice=dice)
        for total, part in ((notes, {**run.notes, "loss": torch.tensor(loss)}), (gradients, grads)):
            for name, value in part.items():
                total[name] = total.get(name, 0.0) + value.double() * len(rows) / len(GIVEN["y"])
    return notes, gradients


@pytest.mark.parametrize(
    ("note", "expected"), [("critic", "loss_d"), ("generator", "loss_g"), ("penalty", "gradient_penalty")]
)
def test_losses_equal_public_code(note: str, expected: str) -> None:
    agree(played()[0][note], EXPECTED[expected], BOUNDS)


def test_the_loss_is_the_sum_of_both() -> None:
    assert played()[0]["loss"].item() == pytest.approx(EXPECTED["loss_d"] + EXPECTED["loss_g"], abs=1e-6)


@pytest.mark.parametrize(("player", "expected"), [("critic", "critic_grads"), ("generator", "generator_grads")])
def test_each_network_has_the_gradient_of_its_own_loss(player: str, expected: str) -> None:
    for name, value in EXPECTED[expected].items():
        layer, kind = name.split(".")
        agree(played()[1][f"{player}.{LAYERS[layer]}.{kind}"], double(value).t().tolist(), BOUNDS)


def test_made_images_equal_public_code() -> None:
    for rows in PARTS:
        run = run_of(rows)
        method, memory = run.method, {name: value[0] for name, value in run.memory.items()}
        assert isinstance(method, FCLSWGAN)
        net = Net(run.module, run.state, run.study.texts)
        fakes = method.generate(net, memory, double(GIVEN["z_critic"])[rows], double(GIVEN["att"])[rows])
        agree(fakes, [EXPECTED["fake_for_critic"][row] for row in rows], BOUNDS)


def test_slopes_are_the_derivatives_of_the_critic() -> None:
    layers, x = TwoLayers(5, 7, 1, 0.2).double(), torch.randn(3, 5, dtype=torch.float64)
    whole = jacobian(lambda rows: layers(rows).sum(), x)
    torch.testing.assert_close(layers.slopes(x), whole)


def test_made_images_lie_where_images_do() -> None:
    problem = toy_problem()
    fitted = fit([configure("f_clswgan", {"epochs": 2})], toy_studies(problem, [("flip", 0.0, 0)]))
    method, memory = fitted.method, {name: value[0] for name, value in fitted.memory.items()}
    assert isinstance(method, FCLSWGAN)
    assert fitted.module is not None
    net = Net(fitted.module, {name: value[0] for name, value in fitted.state.items()}, problem.texts)
    images = method.imagined_examples(net, memory, method.semantics(problem.texts, memory["text_mean"]))
    assert images.shape == (12, method.examples, 16)
    torch.testing.assert_close(method.unscaled(images, memory).norm(dim=-1), torch.ones(12, method.examples))
