"""No gradient method makes a number that is not finite, whatever its logits and candidate sets are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import Replay
from tag_studies import Marked, images_of, tag_studies, tag_texts

from pzsl_bench.blocks.tag_heads import Tagger
from pzsl_bench.contract import METHODS, Gradient, State, configure
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit

GRADIENT = [n for n, cls in METHODS.all().items() if issubclass(cls, Gradient) and not cls.info.reveals_truth]
TRAINED = [n for n in GRADIENT if "classes" in METHODS.get(n).tasks]
TAGGING = [n for n in GRADIENT if "tags" in METHODS.get(n).tasks]
TAGGED_BY_LOGITS = [n for n in TAGGING if issubclass(METHODS.get(n), Tagger)]
BY_LOGITS = [n for n in TRAINED if (c := METHODS.get(n)).module is Gradient.module and c.step is Gradient.step]
"""Methods whose numbers follow from the shared head's logits alone."""
LOGITS = st.sampled_from([-150.0, -20.0, -1.0, 0.0, 0.5, 1.0, 20.0, 150.0])
EPOCHS = (0, 1, 10, 29)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[list[bool]], list[list[list[float]]]]:
    """Candidate sets of a few images, and their logits in a few epochs."""
    images, classes = draw(st.integers(1, 3)), draw(st.integers(2, 5))
    absent = draw(st.integers(0, classes - 1))
    row = st.one_of(
        st.just([True] * classes),
        st.integers(0, classes - 1).map(lambda one: [k == one for k in range(classes)]),
        st.lists(st.booleans(), min_size=classes, max_size=classes)
        .map(lambda row: [in_set and k != absent for k, in_set in enumerate(row)])
        .filter(any),
    )
    table = st.lists(st.lists(LOGITS, min_size=classes, max_size=classes), min_size=images, max_size=images)
    return draw(st.lists(row, min_size=images, max_size=images)), [draw(table) for _ in EPOCHS]


def all_finite(state: State) -> bool:
    return all(bool(value.isfinite().all()) for value in state.values())


@pytest.mark.parametrize("name", BY_LOGITS)
@settings(max_examples=25, deadline=None)
@given(drawn=runs())
def test_a_step_is_finite_at_any_logits(name: str, drawn: tuple[list[list[bool]], list[list[list[float]]]]) -> None:
    """In float32, with logits 300 apart."""
    candidates, logits = drawn
    run = Replay(name, candidates, dtype=torch.float32)
    rows = range(len(candidates))
    for number, table in zip(EPOCHS, logits, strict=True):
        loss, gradient = run.step(rows, table, epoch=number, progress=number / 30)
        assert loss.dtype == run.weights.dtype == torch.float32
        if run.method.second_pass:
            run.revise(rows, table, epoch=number, progress=number / 30)
        run.end_epoch(number)
        everything = {"loss": loss, "gradient": gradient, "weights": run.weights, **run.tables, **run.memory}
        assert all_finite(everything)
        assert (run.weights >= 0).all()


@pytest.mark.parametrize("name", TRAINED)
def test_training_stays_finite_with_sharp_logits_and_one_image_at_a_time(name: str) -> None:
    """One candidate, all candidates, and a class that no image has; the scale makes logits up to 600 apart."""
    problem = toy_problem(seen=3, unseen=2, width=4, per_class=3)
    few = torch.tensor([0, 1, 3, 4, 5])
    candidates = torch.tensor([[1, 0, 0], [1, 1, 1], [0, 1, 0], [1, 1, 0], [1, 1, 0]]).bool()
    studies = replace(
        toy_studies(problem, [("flip", 0.5, 0)]),
        features=problem.train[few],
        views=None if problem.views is None else problem.views[:, few],
        candidates=candidates[None],
        scale=300.0,
    )
    fitted = fit([configure(name, {"batch": 1, "epochs": 12})], studies)
    assert fitted.alive.all()
    assert all_finite(fitted.state)
    assert fitted.weights is None or fitted.weights.isfinite().all()
    assert fitted.score(problem.test, problem.class_texts).isfinite().all()


@st.composite
def marked(draw: st.DrawFn) -> tuple[list[list[int]], list[list[list[float]]]]:
    """Marks of a few images, and their logits in three steps."""
    images, tags = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    row = st.one_of(
        st.sampled_from([1, 0, -1]).map(lambda one: [one] * tags),
        st.lists(st.sampled_from([1, 0, -1]), min_size=tags, max_size=tags),
    )
    table = st.lists(st.lists(LOGITS, min_size=tags, max_size=tags), min_size=images, max_size=images)
    return draw(st.lists(row, min_size=images, max_size=images)), [draw(table) for _ in range(3)]


@pytest.mark.parametrize("name", TAGGED_BY_LOGITS)
@settings(max_examples=25, deadline=None)
@given(drawn=marked())
def test_a_step_on_marks_is_finite_at_any_logits(
    name: str, drawn: tuple[list[list[int]], list[list[list[float]]]]
) -> None:
    """Also where nothing is said of an image, where it has every tag or none, and where there is but one tag."""
    marks, logits = drawn
    run = Marked(name, marks, dtype=torch.float32)
    for progress, table in zip((0.0, 0.5, 0.9), logits, strict=True):
        loss, gradient = run.step(table, progress=progress)
        assert loss.dtype == torch.float32
        assert all_finite({"loss": loss, "gradient": gradient, "weights": run.weights, **run.tables, **run.memory})


@pytest.mark.parametrize("name", TAGGING)
def test_training_on_marks_stays_finite_with_sharp_logits_and_one_image_at_a_time(name: str) -> None:
    marks = torch.tensor([[1, 0, -1], [1, 1, 1], [0, 0, 0], [-1, -1, -1], [0, 1, 0]])
    texts = tag_texts(4, 4)
    images = images_of(marks > 0, texts[:3])
    fitted = fit([configure(name, {"batch": 1, "epochs": 12})], tag_studies(marks, images, texts[:3], scale=300.0))
    assert fitted.alive.all()
    assert all_finite(fitted.state)
    assert fitted.score(images, texts).isfinite().all()
