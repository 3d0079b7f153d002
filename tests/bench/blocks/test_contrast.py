"""What contrastive methods share does image by image what its closed forms say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pzsl_bench.blocks.contrast import (
    MIN_TEMPERATURE,
    Compared,
    average_from,
    averaged,
    eased,
    enqueue,
    follow,
    likeliest,
    move_prototypes,
    one_hot,
    queue_contrast,
)
from pzsl_bench.contract import configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

CLASSES, WIDTH = 4, 3


def sphere(generator: torch.Generator, rows: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64), dim=-1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.sampled_from([0.0, 0.5, 0.99, 1.0]))
def test_prototypes_move_as_if_images_came_one_by_one(seed: int, images: int, momentum: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    prototypes, features = sphere(generator, CLASSES), sphere(generator, images)
    prototypes[0] = 0
    labels = torch.randint(1, CLASSES, (images,), generator=generator)
    moved = prototypes.clone()
    for label, feature in zip(labels, features, strict=True):
        moved[label] = momentum * moved[label] + (1 - momentum) * feature
    got = move_prototypes(prototypes, features, one_hot(labels, prototypes.T), momentum)
    torch.testing.assert_close(got, F.normalize(moved, dim=-1))
    assert not got[0].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_the_contrast_is_its_definition_pair_by_pair(seed: int, images: int, queued: int, supervised: bool) -> None:
    generator, temperature = torch.Generator().manual_seed(seed), 0.1
    queries, keys, queue = (sphere(generator, n) for n in (images, images, queued))
    labels = torch.randint(CLASSES, (images,), generator=generator)
    # The last label is no class at all.
    queue_labels = torch.randint(CLASSES + 1, (queued,), generator=generator)
    everyone, classes = torch.cat([queries, keys, queue]), torch.cat([labels, labels, queue_labels])
    losses = []
    for i in range(images):
        if supervised:
            others = [a for a in range(len(everyone)) if a != i]
            positives = [a for a in others if classes[a] == labels[i]]
        else:
            others = [images + i, *range(2 * images, len(everyone))]
            positives = [images + i]
        scores = everyone @ queries[i] / temperature
        losses.append(scores[others].logsumexp(0) - scores[positives].mean())
    like = torch.zeros(1, CLASSES, dtype=torch.float64)
    got = queue_contrast(
        Compared(queries, one_hot(labels, like)),
        keys,
        Compared(queue, one_hot(queue_labels, like)),
        temperature,
        torch.tensor(supervised),
    )
    torch.testing.assert_close(got, torch.stack(losses).mean())


@pytest.mark.parametrize("supervised", [True, False])
def test_the_coldest_contrast_is_finite_for_the_nearest_and_the_farthest_vectors(supervised: bool) -> None:
    one, like = F.normalize(torch.ones(1, WIDTH), dim=-1), torch.zeros(1, CLASSES)
    for keys, queue in ((one, one), (-one, -one), (0 * one, 0 * one)):
        queries = one.clone().requires_grad_()
        labels = one_hot(torch.tensor([0]), like)
        loss = queue_contrast(
            Compared(queries, labels), keys, Compared(queue, 0 * labels), MIN_TEMPERATURE, torch.tensor(supervised)
        )
        assert loss.isfinite()
        assert torch.autograd.grad(loss, queries)[0].isfinite().all()


def test_a_queue_keeps_the_newest_rows_whatever_comes_in() -> None:
    queue = torch.arange(4)
    assert enqueue(queue, torch.tensor([7])).tolist() == [1, 2, 3, 7]
    assert enqueue(queue, torch.arange(10, 16)).tolist() == [12, 13, 14, 15]


def test_the_average_starts_at_the_parameters_and_follows_them() -> None:
    params = {"a": torch.tensor([1.0]), "b": torch.tensor([-2.0])}
    memory = average_from(params)
    after = averaged(follow(memory, {"a": torch.tensor([2.0]), "b": torch.tensor([-2.0])}, 0.9))
    assert after["a"].item() == pytest.approx(1.1)
    assert after["b"].item() == -2.0


def test_the_average_does_not_share_memory_with_the_parameters() -> None:
    params = {"a": torch.tensor([1.0])}
    memory = average_from(params)
    params["a"].zero_()
    assert averaged(memory)["a"].item() == 1.0


def test_the_likeliest_label_is_a_candidate_however_low_its_score() -> None:
    scores = torch.tensor([[5.0, -300.0, -400.0]])
    assert likeliest(scores, torch.tensor([[False, True, True]])).tolist() == [1]


def test_a_momentum_is_eased_from_the_second_epoch_on() -> None:
    got = [eased(torch.tensor(float(e)), 10, 0.9, 0.5).item() for e in (0, 1, 6)]
    assert got == pytest.approx([0.99, 0.9, 0.7])


@pytest.fixture(scope="module")
def studies() -> Studies:
    return toy_studies(toy_problem(noise=1.5), [("flip", 0.3, seed) for seed in range(3)])


def one_of(studies: Studies, run: int) -> Studies:
    part = slice(run, run + 1)
    return Studies(
        studies.features, studies.texts, studies.class_names, studies.scale,
        studies.candidates[part], studies.keys[part], studies.draws[part], views=studies.views,
    )  # fmt: skip


FLOATS = {
    "crdpll": {"consistency": [0.5, 1.0, 2.0], "ramp": [0.2, 0.5, 0.9]},
    "able": {"contrast": [0.0, 1.0, 2.0], "contrast_temperature": [0.05, 0.1, 0.2]},
    "papi": {"alignment": [0.0, 1.0, 2.0], "ramp": [1.0, 2.0, 3.0], "phi_end": [0.5, 0.8, 0.9]},
    "pico": {"contrast": [0.0, 0.5, 1.0], "key_momentum": [0.9, 0.99, 1.0], "phi_start": [0.5, 0.8, 0.95]},
}


@pytest.mark.parametrize("name", FLOATS)
def test_runs_of_a_stack_keep_their_own_settings_and_random_numbers(studies: Studies, name: str) -> None:
    columns = FLOATS[name]
    runs = [
        configure(name, {"epochs": 3, "batch": 48, **dict(zip(columns, row, strict=True))})
        for row in zip(*columns.values(), strict=True)
    ]
    together = fit(runs, studies)
    assert together.alive.all()
    for run, settings_of_one in enumerate(runs):
        alone = fit([settings_of_one], one_of(studies, run))
        scores = alone.score(studies.features, studies.texts)[0]
        torch.testing.assert_close(scores, together.score(studies.features, studies.texts)[run], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("queue", [1, 5, 1000])
def test_a_queue_may_be_smaller_or_larger_than_a_batch(studies: Studies, queue: int) -> None:
    fitted = fit([configure("pico", {"epochs": 3, "batch": 50, "queue": queue})] * 3, studies)
    assert fitted.alive.all()
