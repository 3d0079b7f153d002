"""What a cosine head learnt is weighed against the encoder's own classifier, by the images of a class."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pzsl_bench.contract import Study, configure
from pzsl_bench.contract.heads import kept_share
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import batch_sizes, fit


def study_of(images_per_class: int) -> Study:
    return toy_studies(toy_problem(per_class=images_per_class), [("flip", 0.3, 0)]).of(0)


@given(st.integers(1, 40), st.floats(0, 1e3))
def test_the_share_that_is_kept_grows_with_the_images_of_a_class(images: int, counts: float) -> None:
    few, many = (study_of(number) for number in (images, 2 * images))
    assert 0 < kept_share(few, counts) <= 1
    assert kept_share(few, 0) == 1
    assert kept_share(many, counts) >= kept_share(few, counts)
    assert kept_share(few, images) == pytest.approx(0.5)


def test_a_head_that_counts_for_nothing_scores_as_the_encoder() -> None:
    problem = toy_problem()
    studies = toy_studies(problem, [("flip", 0.3, 0)])
    fitted = fit([configure("proden", {"encoder_counts": 1e9, "temperature": "fixed"})], studies)
    scores = fitted.score(problem.test, problem.texts)[0]
    torch.testing.assert_close(scores, problem.scale * problem.test @ problem.texts.T, atol=1e-3, rtol=1e-3)


def test_what_is_kept_is_a_share_of_what_was_learnt() -> None:
    studies = toy_studies(toy_problem(per_class=20), [("flip", 0.3, 0)])
    whole = fit([configure("proden", {"encoder_counts": 0})], studies)
    weighed = fit([configure("proden", {"encoder_counts": 20})], studies)
    for name in ("adapter.up.weight", "residual.rows"):
        torch.testing.assert_close(weighed.state[name], 0.5 * whole.state[name])
    torch.testing.assert_close(weighed.state["adapter.down.weight"], whole.state["adapter.down.weight"])


@pytest.mark.parametrize(
    ("moves", "parts"), [("images", {"adapter"}), ("classes", {"residual"}), ("both", {"adapter", "residual"})]
)
def test_a_head_moves_what_it_is_told_to(moves: str, parts: set[str]) -> None:
    studies = toy_studies(toy_problem(), [("flip", 0.3, 0)])
    state = fit([configure("proden", {"moves": moves, "epochs": 1})], studies).state
    assert {name.split(".")[0] for name in state} - {"log_scale"} == parts


def test_unseen_classes_keep_their_texts() -> None:
    problem = toy_problem()
    studies = toy_studies(problem, [("flip", 0.3, 0)])
    fitted = fit([configure("proden", {"moves": "classes", "temperature": "fixed"})], studies)
    unseen = fitted.score(problem.test, problem.texts)[0, :, problem.seen :]
    torch.testing.assert_close(
        unseen, problem.scale * problem.test @ problem.texts[problem.seen :].T, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("images", "sizes"), [(20, [20]), (64, [32, 32]), (160, [32] * 5), (800, [100] * 8), (4096, [256] * 16)]
)
def test_small_sets_get_smaller_batches(images: int, sizes: list[int]) -> None:
    assert batch_sizes(configure("proden", {}), images) == sizes
