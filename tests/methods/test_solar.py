"""SoLar agrees with its authors' release, through the step that the trainer calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from replay import DOUBLE, Replay, agree, double, fixture
from torch import Tensor

from pzsl_bench.methods.solar import smallest_of_each_class

NUMBERS = fixture("solar_sinkhorn")
ROWS = list(range(NUMBERS["inputs"]["N"]))
LATE = 20
"""An epoch after the warm-up."""


def logits_of(masses: Tensor, candidates: Tensor) -> Tensor:
    """Logits whose softmax has these masses on the candidates, and the rest in equal parts elsewhere."""
    rest = (1 - masses.sum(1, keepdim=True)) / (~candidates).sum(1, keepdim=True)
    return torch.where(candidates, masses, rest).log()


def pseudo_labels(run: Replay, rows: Sequence[int], logits: Tensor) -> Tensor:
    """What the step trained on, read off the gradient of the other look: eta and tau make all images count."""
    other = torch.zeros_like(logits)
    dice = {"mixing": torch.full((7,), 0.5, dtype=DOUBLE), "partner": torch.zeros(len(rows), dtype=DOUBLE)}
    _, gradient = run.step(rows, logits.tolist(), [other.tolist()], dice, epoch=LATE)
    return other.softmax(-1) - len(rows) * gradient[len(rows) :]


def release(candidates: Any, frequencies: Any, queue: int = 9, **settings: float) -> Replay:
    run = Replay("solar", candidates, {"eta": 1.0, "tau": 0.0, "queue": queue, **settings})
    run.memory["frequencies"] = double(frequencies)
    return run


@pytest.mark.parametrize("case", range(len(NUMBERS["expected"])))
def test_pseudo_labels_equal_the_release(case: int) -> None:
    inputs, expected = NUMBERS["inputs"], NUMBERS["expected"][case]
    run = release(inputs["candidates"], inputs["class_prior"], power=inputs["power"])
    labels = pseudo_labels(run, ROWS, logits_of(double(expected["predictions"]), run.candidates))
    agree(labels, expected["pseudo_labels"], NUMBERS["tolerance"])


def sinkhorn_written_out(masses: Tensor, frequencies: Tensor) -> Tensor:
    powers, row = masses**3, torch.full((len(masses),), 1 / len(masses), dtype=DOUBLE)
    for _ in range(50):
        column = frequencies / (powers.T @ row)
        row = 1 / len(masses) / (powers @ column)
    return len(masses) * powers * column * row.unsqueeze(1)


class Drawn:
    """Two batches of a drawn problem."""

    def __init__(self, images: int = 12, classes: int = 5, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.candidates = torch.rand(2 * images, classes, generator=generator) < 0.4
        self.candidates[:, 0] |= ~self.candidates.any(1)
        self.logits = 2 * torch.randn(2, 2 * images, classes, generator=generator, dtype=DOUBLE)
        self.frequencies = torch.rand(classes, generator=generator, dtype=DOUBLE) + 0.2
        self.frequencies /= self.frequencies.sum()
        self.dice = {
            "mixing": torch.rand(7, generator=generator, dtype=DOUBLE),
            "partner": torch.rand(images, generator=generator, dtype=DOUBLE),
        }
        self.first, self.second = range(images), range(images, 2 * images)
        self.masses = self.logits[0].softmax(-1) * self.candidates


def test_the_queue_takes_part_once_it_is_full() -> None:
    drawn = Drawn()
    for queue, full in ((12, True), (13, False)):
        run = release(drawn.candidates.tolist(), drawn.frequencies.tolist(), queue)
        pseudo_labels(run, drawn.first, drawn.logits[0][:12])
        labels = pseudo_labels(run, drawn.second, drawn.logits[0][12:])
        seen = torch.cat([drawn.masses[12:], drawn.masses[:12]]) if full else drawn.masses[12:]
        torch.testing.assert_close(labels, sinkhorn_written_out(seen, drawn.frequencies)[:12])


def test_images_of_the_smallest_loss_are_chosen_class_by_class() -> None:
    values, classes = torch.tensor([3.0, 1.0, 2.0, 0.5, 0.1, 9.0]), torch.tensor([0, 0, 0, 2, 2, 1])
    chosen = smallest_of_each_class(values, classes, torch.tensor([1.2, 0.0, 1.0]))
    assert chosen.tolist() == [False, True, True, False, True, True]


def step_written_out(drawn: Drawn, plain: Tensor, other: Tensor, weights: Tensor, rho: float, eta: float) -> float:
    """The release's loss of the first batch after the warm-up, with loops over classes and images."""
    images = len(drawn.first)
    labels = sinkhorn_written_out(drawn.masses[:images], drawn.frequencies)
    log_probs = plain.log_softmax(-1)
    losses = -(labels * log_probs).sum(-1)
    chosen = set()
    for k in range(labels.shape[1]):
        mine = sorted((i for i in range(images) if labels[i].argmax() == k), key=lambda i: float(losses[i]))
        chosen |= set(mine[: max(1, math.ceil(images * float(drawn.frequencies[k]) * rho))])
    chosen |= {i for i in range(images) if float(labels[i] @ log_probs[i].exp()) > 0.9}
    left = [i for i in range(images) if i not in chosen]
    assert left
    inside = sorted(chosen)
    partners = sorted(inside, key=lambda i: float(drawn.dice["partner"][i]))
    share = float(drawn.dice["mixing"].median())
    share = max(share, 1 - share)
    total = 0.0
    for i, j in zip(inside, partners, strict=True):
        # The look-up module is linear, so a mixed image has mixed logits.
        mixed = (share * plain[i] + (1 - share) * plain[j]).log_softmax(-1)
        total += float(losses[i] - labels[i] @ other[i].log_softmax(-1))
        total -= float((share * labels[i] + (1 - share) * labels[j]) @ mixed)
    doubtful = -sum(float(weights[i] @ log_probs[i]) for i in left) / len(left)
    return eta * total / len(inside) + (1 - eta) * doubtful


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("epoch", [3, LATE])
def test_the_loss_equals_the_release_written_out(seed: int, epoch: int) -> None:
    drawn = Drawn(seed=seed)
    settings = {"eta": 0.9, "tau": 0.9, "rho_start": 0.2, "rho": 0.5, "warm_up": 0.2, "epochs": 30}
    run = release(drawn.candidates.tolist(), drawn.frequencies.tolist(), **settings)
    plain, other = drawn.logits[:, :12]
    ramp = min(epoch / 6, 1)
    expected = step_written_out(drawn, plain, other, run.weights[:12], 0.2 + 0.3 * ramp, 0.9 * ramp)
    loss, _ = run.step(drawn.first, plain.tolist(), [other.tolist()], drawn.dice, epoch)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    masses = drawn.masses[:12]
    torch.testing.assert_close(run.weights[:12], masses / masses.sum(1, keepdim=True))


def test_the_first_epoch_learns_from_the_label_weights_alone() -> None:
    drawn = Drawn()
    run = release(drawn.candidates.tolist(), drawn.frequencies.tolist())
    plain, other = drawn.logits[:, :12]
    expected = -(run.weights[:12] * plain.log_softmax(-1)).sum(-1).mean()
    loss, gradient = run.step(drawn.first, plain.tolist(), [other.tolist()], drawn.dice, epoch=0)
    torch.testing.assert_close(loss, expected)
    assert not gradient[12:].any()


def test_class_frequencies_follow_the_predictions_fast_then_slowly() -> None:
    run = Replay("solar", [[1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 1, 0]], {"estimation": 0.5, "epochs": 10})
    run.weights = double([[0.3, 0.7, 0], [0, 0.1, 0.9], [0.2, 0.5, 0.3], [0, 1, 0]])
    counted, before = double([0, 0.75, 0.25]), torch.full((3,), 1 / 3, dtype=DOUBLE)
    for epoch, speed in ((4, 0.1), (5, 0.01)):
        run.memory["frequencies"] = before
        run.end_epoch(epoch)
        torch.testing.assert_close(run.memory["frequencies"], (1 - speed) * before + speed * counted)


@pytest.mark.parametrize("epoch", [0, 3, LATE])
def test_steps_are_finite_with_logits_three_hundred_apart(epoch: int) -> None:
    """One candidate, all, an absent class, a batch of one and a queue that fills, in float32."""
    run = Replay("solar", [[1, 0, 0], [1, 1, 1], [1, 1, 0]], {"queue": 3}, dtype=torch.float32)
    table = [[-150.0, 0.0, 150.0], [150.0, -150.0, -150.0], [-150.0, 150.0, 0.0]]
    for rows in ([0, 1, 2], [2], [1], [2, 0]):
        dice = {"mixing": torch.full((7,), 0.25), "partner": torch.linspace(0.1, 0.9, len(rows))}
        logits = [table[i] for i in rows]
        loss, gradient = run.step(rows, logits, [logits[::-1]], dice, epoch)
        run.end_epoch(epoch)
        assert loss.isfinite()
        assert gradient.isfinite().all()
        assert run.weights.isfinite().all()
        assert all(value.isfinite().all() for value in run.memory.values())


def test_the_first_epoch_learns_from_the_plain_images_and_their_label_weights() -> None:
    drawn = Drawn()
    run = release(drawn.candidates.tolist(), drawn.frequencies.tolist())
    weights, other = run.weights[drawn.first], torch.zeros(12, 5, dtype=DOUBLE)
    dice = {name: value[:12] for name, value in drawn.dice.items()}
    _, gradient = run.step(drawn.first, drawn.logits[0][:12].tolist(), [other.tolist()], dice)
    expected = (drawn.logits[0][:12].softmax(-1) - weights) / 12
    agree(gradient[:12], expected.tolist(), {"atol": 1e-12, "rtol": 0})
