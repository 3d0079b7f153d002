"""Candidate sets: they hold the truth unless labels are noisy, follow the published generators, never change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from replay import fixture

from pzsl_bench.base.errors import UserError
from pzsl_bench.data import ambiguity
from pzsl_bench.data.ambiguity import AMBIGUITIES, Labelled, draw_candidates, instance_probability, join, mask_hash
from pzsl_bench.data.source import find_dataset
from pzsl_bench.encoding.encoder import find_encoder
from pzsl_bench.encoding.prompts import class_texts
from pzsl_bench.problem.toy import toy_problem

FIXTURE = fixture("candidate_generation")
OF_CLASSES = [name for name in AMBIGUITIES.names() if AMBIGUITIES.get(name).task == "classes"]
NAMES = sorted(name for name in OF_CLASSES if AMBIGUITIES.get(name).rated)
"""The ambiguities that are drawn around the truth."""
NOISY = {name: rule.plain for name, rule in AMBIGUITIES.all().items() if rule.noisy}
"""Those with noise, and the rules without that they share their random numbers with."""
LABELLED = toy_problem().labelled


def given_labels() -> Labelled:
    logits = np.array(FIXTURE["inputs"]["classifier_logits"])
    return Labelled(np.array(FIXTURE["inputs"]["true_labels"]), 5, np.eye(5), lambda: logits)


def test_all_generators_are_there() -> None:
    assert NAMES == ["flip", "flip_forced", "flip_noisy", "instance", "pair", "semantic", "semantic_noisy"]
    assert set(OF_CLASSES) - set(NAMES) == {"given"}
    assert NOISY == {"flip_noisy": "flip", "semantic_noisy": "semantic"}


def test_given_hands_out_the_sets_of_the_data_whatever_the_seed() -> None:
    real = np.random.default_rng(0).random((len(LABELLED.truth), LABELLED.classes)) < 0.4
    came_with = replace(LABELLED, given=real | LABELLED.truth_mask())
    for seed in range(3):
        np.testing.assert_array_equal(draw_candidates("given", came_with, 0.0, "toy", seed), came_with.given)


def test_given_has_no_rate_and_says_what_to_write() -> None:
    with pytest.raises(UserError, match=r"'given' has no rate: write rates: \[0\]"):
        draw_candidates("given", LABELLED, 0.3, "toy", 0)


def test_flip_equals_the_published_generator_on_the_same_numbers() -> None:
    mask = join(given_labels(), np.array(FIXTURE["inputs"]["uniform"]), FIXTURE["inputs"]["q"])
    np.testing.assert_array_equal(mask, FIXTURE["expected"]["uniform_mask"])


def test_instance_equals_the_published_generator_on_the_same_numbers() -> None:
    labelled, expected = given_labels(), FIXTURE["expected"]
    rate = FIXTURE["inputs"]["rate"]
    probability = instance_probability(labelled.reference(), labelled.truth_mask(), rate)
    np.testing.assert_allclose(probability, expected["instance_dependent_probability"], atol=1e-10, rtol=1e-8)
    mask = join(labelled, np.array(FIXTURE["inputs"]["uniform"]), probability)
    np.testing.assert_array_equal(mask, expected["instance_dependent_mask"])


@given(st.sampled_from(NAMES), st.floats(0, 1), st.integers(0, 1000))
def test_without_noise_the_truth_is_always_a_candidate(name: str, rate: float, seed: int) -> None:
    mask = draw_candidates(name, LABELLED, rate, "toy", seed)
    assert mask[np.arange(len(LABELLED.truth)), LABELLED.truth].all()


@given(st.sampled_from(NAMES), st.integers(0, 1000))
def test_a_higher_rate_only_adds_labels(name: str, seed: int) -> None:
    low, high = (draw_candidates(name, LABELLED, rate, "toy", seed) for rate in (0.2, 0.6))
    if name == "flip_forced":
        alone = draw_candidates("flip", LABELLED, 0.2, "toy", seed).sum(1) == 1
        low, high = low[~alone], high[~alone]
    assert (high | ~low).all()


@pytest.mark.parametrize("name", ["flip", "pair", "semantic", "instance"])
def test_rate_zero_leaves_the_truth_alone(name: str) -> None:
    assert (draw_candidates(name, LABELLED, 0.0, "toy", 3).sum(1) == 1).all()


def test_flip_adds_labels_at_its_rate() -> None:
    many = Labelled(np.arange(20_000) % 11, 11, np.eye(11), lambda: np.zeros((0, 0)))
    assert draw_candidates("flip", many, 0.3, "many", 0).sum(1).mean() == pytest.approx(1 + 0.3 * 10, abs=0.05)


def test_flip_forced_leaves_no_singleton() -> None:
    for rate in (0.0, 0.1, 1.0):
        assert draw_candidates("flip_forced", LABELLED, rate, "toy", 0).sum(1).min() >= 2


def test_pair_only_ever_adds_the_next_class() -> None:
    mask = draw_candidates("pair", LABELLED, 0.5, "toy", 0)
    rows, columns = np.nonzero(mask & ~LABELLED.truth_mask())
    np.testing.assert_array_equal(columns, (LABELLED.truth[rows] + 1) % LABELLED.classes)


def test_semantic_prefers_similar_names() -> None:
    problem = toy_problem(seen=24, per_class=200)
    labelled = problem.labelled
    mask = draw_candidates("semantic", labelled, 0.5, "toy", 0)
    similarity = labelled.texts @ labelled.texts.T
    wrong = ~labelled.truth_mask()
    joined = similarity[labelled.truth][mask & wrong].mean()
    stayed = similarity[labelled.truth][~mask & wrong].mean()
    assert joined > stayed + 0.1
    nearest = np.where(np.eye(24, dtype=bool), -9, similarity).argmax(1)[labelled.truth]
    assert mask[np.arange(len(mask)), nearest].mean() == pytest.approx(0.5, abs=0.03)


def test_candidate_sets_never_change() -> None:
    """Frozen: a change here changes every published number, and needs a new version of the generator."""
    truth = Labelled(np.arange(100) % 7, 7, np.eye(7), lambda: np.zeros((0, 0)))
    got = {name: mask_hash(draw_candidates(name, truth, 0.4, "frozen", 1)) for name in FROZEN}
    assert got == FROZEN


FROZEN = {"flip": "a8c4851768166269", "flip_forced": "61a193b7ffd7587e", "pair": "1c7172e8ca9b3b0f"}


def test_noisy_candidate_sets_never_change() -> None:
    """Frozen, too. A new version of a rule takes one of the rule with noise that is made of it."""
    turned = np.linspace(0, 1.5, 7) ** 2
    truth = Labelled(np.arange(100) % 7, 7, np.c_[np.cos(turned), np.sin(turned)], lambda: np.zeros((0, 0)))
    got = {name: mask_hash(draw_candidates(name, truth, 0.4, "frozen", 1, 0.3)) for name in NOISY}
    assert got == {"flip_noisy": "291d1fea52a4b040", "semantic_noisy": "8a7f85f5ea56f138"}


def test_semantic_candidate_sets_of_the_embedded_benchmark_never_change() -> None:
    source = find_dataset("shapes").open()
    order = list(source.seen)
    texts = class_texts(find_encoder("embedded").load("cpu").encode_texts, source.class_names, source.templates)[order]
    rows = np.flatnonzero(~source.is_test & np.isin(source.labels, order))
    truth = np.array([order.index(k) for k in source.labels[rows]])
    labelled = Labelled(truth, len(order), texts.astype(float), lambda: np.zeros((0, 0)))
    assert mask_hash(draw_candidates("semantic", labelled, 0.5, "shapes", 0)) == "7a8e10c94fcf7540"


def test_a_rate_outside_zero_and_one_is_refused() -> None:
    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(UserError, match="between 0 and 1"):
            draw_candidates("flip", LABELLED, rate, "toy", 0)


def test_an_unknown_ambiguity_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'semantic'"):
        ambiguity.AMBIGUITIES.get("semantics")


def test_one_class_alone_stays_a_singleton() -> None:
    one = Labelled(np.zeros(4, dtype=np.int64), 1, np.ones((1, 2)), lambda: np.zeros((4, 1)))
    for name in NAMES:
        assert (draw_candidates(name, one, 0.5, "one", 0).sum(1) == 1).all()


def missing_truth(mask: NDArray[np.bool_], labelled: Labelled = LABELLED) -> NDArray[np.bool_]:
    """(N,) where the true label is not among the candidates."""
    return ~mask[np.arange(len(labelled.truth)), labelled.truth]


noisy_names, shares, seeds = st.sampled_from(sorted(NOISY)), st.floats(0, 1), st.integers(0, 1000)
noises = st.floats(0, 1, exclude_max=True)


@given(noisy_names, shares, noises, seeds)
def test_a_noisy_set_is_never_empty(name: str, rate: float, noise: float, seed: int) -> None:
    assert draw_candidates(name, LABELLED, rate, "toy", seed, noise).any(1).all()


@given(noisy_names, shares, seeds)
def test_at_noise_zero_a_noisy_rule_draws_the_sets_of_the_rule_without(name: str, rate: float, seed: int) -> None:
    noisy, plain = (draw_candidates(rule, LABELLED, rate, "toy", seed) for rule in (name, NOISY[name]))
    np.testing.assert_array_equal(noisy, plain)


@given(noisy_names, shares, noises, noises, seeds)
def test_a_higher_noise_only_takes_further_true_labels_away(
    name: str, rate: float, one: float, other: float, seed: int
) -> None:
    low, high = (draw_candidates(name, LABELLED, rate, "toy", seed, noise) for noise in sorted((one, other)))
    lost = missing_truth(high)
    assert (lost | ~missing_truth(low)).all()
    further = lost & ~missing_truth(low)
    np.testing.assert_array_equal(low[~further], high[~further])
    # What a set loses is its true label, and it gains another one only if nothing else was in it.
    wrong = ~LABELLED.truth_mask()
    alone = low.sum(1) == 1
    np.testing.assert_array_equal((low & wrong)[further & ~alone], high[further & ~alone])
    assert (high[further & alone].sum(1) == 1).all()


@given(noisy_names, shares, shares, noises, seeds)
def test_with_noise_too_a_higher_rate_only_adds_labels(
    name: str, one: float, other: float, noise: float, seed: int
) -> None:
    low, high = (draw_candidates(name, LABELLED, rate, "toy", seed, noise) for rate in sorted((one, other)))
    assert (high | ~low).all()
    np.testing.assert_array_equal(missing_truth(low), missing_truth(high))


@pytest.mark.parametrize("name", sorted(NOISY))
@pytest.mark.parametrize(("rate", "noise"), [(0.0, 0.2), (0.3, 0.1), (0.3, 0.4), (1.0, 0.7)])
def test_noise_is_the_share_of_true_labels_that_are_missing(name: str, rate: float, noise: float) -> None:
    many = Labelled(np.arange(20_000) % 11, 11, np.eye(11), lambda: np.zeros((0, 0)))
    mask = draw_candidates(name, many, rate, "many", 0, noise)
    assert missing_truth(mask, many).mean() == pytest.approx(noise, abs=0.01)


@given(shares, noises, seeds)
def test_both_noisy_rules_take_the_labels_of_the_same_images(rate: float, noise: float, seed: int) -> None:
    flipped, similar = (draw_candidates(name, LABELLED, rate, "toy", seed, noise) for name in sorted(NOISY))
    np.testing.assert_array_equal(missing_truth(flipped), missing_truth(similar))


def test_where_nothing_would_be_left_a_similar_name_stands_in_for_semantic_and_any_for_flip() -> None:
    labelled = toy_problem(seen=24, per_class=200).labelled
    similarity = labelled.texts @ labelled.texts.T
    np.fill_diagonal(similarity, np.inf)
    rank = np.argsort(np.argsort(-similarity, axis=1), axis=1)
    means = []
    for name in sorted(NOISY):
        mask = draw_candidates(name, labelled, 0.0, "toy", 0, 0.5)
        rows = np.flatnonzero(missing_truth(mask, labelled))
        assert (mask[rows].sum(1) == 1).all()
        means.append(rank[labelled.truth[rows], mask[rows].argmax(1)].mean())
    assert means[0] == pytest.approx(12, abs=0.5)
    assert means[1] < 6


@pytest.mark.parametrize("noise", [-0.1, 1.0, 1.5, float("nan")])
def test_a_noise_outside_zero_and_one_is_refused(noise: float) -> None:
    with pytest.raises(UserError, match="is not from 0 to below 1"):
        draw_candidates("flip_noisy", LABELLED, 0.3, "toy", 0, noise)


def test_noise_is_refused_by_a_rule_that_has_none() -> None:
    with pytest.raises(UserError, match="'flip' has no noise; ambiguities with noise: flip_noisy, semantic_noisy"):
        draw_candidates("flip", LABELLED, 0.3, "toy", 0, 0.1)


def test_with_one_class_alone_the_true_label_stays_whatever_the_noise() -> None:
    one = Labelled(np.zeros(40, dtype=np.int64), 1, np.ones((1, 2)), lambda: np.zeros((40, 1)))
    for name in NOISY:
        assert draw_candidates(name, one, 0.5, "one", 0, 0.9).all()
