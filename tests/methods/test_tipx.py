"""TIP-X agrees with its release, through the functions that the harness calls."""

from __future__ import annotations

import pytest
import torch
from replay import agree, double, fixture
from retrain import study_of
from torch import Tensor
from torch.nn.functional import one_hot

from pzsl_bench.blocks import image_cache
from pzsl_bench.contract import ClosedForm, State, configure
from pzsl_bench.methods import tipx

FIXTURE = fixture("tipx")
GIVEN, EXPECTED = FIXTURE["inputs"], FIXTURE["expected"]
TOLERANCE = {"atol": FIXTURE["tolerance"], "rtol": 0.0}
QUERIES, SUPPORT, TEXTS = double(GIVEN["X_query"]), double(GIVEN["X_support"]), double(GIVEN["W_text"]).T
RECORDED = {
    "alpha": GIVEN["alpha"],
    "beta": GIVEN["beta"],
    "gamma": GIVEN["gamma"],
    "sharpness": GIVEN["temperature"],
    "shots": 0,
    "counted": "negated",
}


@pytest.fixture(autouse=True)
def rows_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded rows are to be used as given, though rounding moved their lengths."""
    for module in (image_cache, tipx):
        monkeypatch.setattr(module, "normalise", lambda rows: rows)


def solved(**settings: object) -> tuple[ClosedForm, State]:
    method = configure("tipx", {**RECORDED, **settings})
    assert isinstance(method, ClosedForm)
    return method, method.solve(study_of(SUPPORT, TEXTS, one_hot(torch.tensor(GIVEN["y_support"])).double()))


def recorded_ranges(state: State) -> tuple[Tensor, Tensor]:
    """The release takes the ranges from the images that are classified."""
    logs = tipx.signatures(QUERIES, TEXTS, GIVEN["temperature"])
    divergence = tipx.divergences(logs, state["signatures"])
    return divergence, tipx.ranges(QUERIES @ SUPPORT.T, divergence)


def test_divergences_logits_and_answers_equal_the_release() -> None:
    method, state = solved()
    divergence, span = recorded_ranges(state)
    agree(divergence[:12], EXPECTED["kl_first12"], TOLERANCE)
    agree(span[2:], [EXPECTED["kl_min"], EXPECTED["kl_max"]], TOLERANCE)
    agree(tipx.stretched(divergence, span)[:12], EXPECTED["scaled_first12"], TOLERANCE)
    scores = method.score({**state, "span": span}, QUERIES, TEXTS)
    agree(scores[:12], EXPECTED["logits_first12"], TOLERANCE)
    assert scores.argmax(1).tolist() == EXPECTED["argmax_all"]


def test_an_answer_does_not_depend_on_the_other_images() -> None:
    method, state = solved()
    together = method.score(state, QUERIES, TEXTS)
    torch.testing.assert_close(method.score(state, QUERIES[5:6], TEXTS), together[5:6])


def test_counting_from_the_farthest_changes_no_answer_among_classes_of_one_size() -> None:
    (method, state), (negated, _) = solved(counted="from_farthest"), solved()
    difference = method.score(state, QUERIES, TEXTS) - negated.score(state, QUERIES, TEXTS)
    torch.testing.assert_close(difference, difference[0, 0].expand_as(difference))


def test_votes_do_not_depend_on_how_many_meet_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    method, state = solved()
    whole = method.score(state, QUERIES, TEXTS)
    monkeypatch.setattr(tipx, "IMAGES_AT_ONCE", 4)
    torch.testing.assert_close(method.score(state, QUERIES, TEXTS), whole)
