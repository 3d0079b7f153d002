"""What every trained compatibility must bear and leave alone, and how images and classes meet."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.blocks.compatibility import STARTS, Bilinear
from pzsl_bench.contract import FEEDS, Batch, Gradient, Output, Study, configure
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.training.fit import fit, initialise

RANKED: list[tuple[str, dict[str, object]]] = [
    ("ale", {}),
    ("devise", {}),
    ("devise", {"scan": "first"}),
    ("devise", {"scan": "all"}),
    ("sje", {}),
    ("sje", {"violation": "standardised"}),
    ("latem", {}),
]
FORMS = [*RANKED, ("ale", {"positive": "best"}), ("ale", {"images": "standardised", "evaluate": "cosine"}), ("dem", {})]
EVERY = pytest.mark.parametrize(("name", "settings"), FORMS)
EVERY_RANKED = pytest.mark.parametrize(("name", "settings"), RANKED)
PROBLEM = toy_problem(noise=1.0)
STUDIES = toy_studies(PROBLEM, [("flip", 0.3, 0), ("flip", 0.6, 1)])
RANDOM = torch.Generator().manual_seed(0)


def finite(name: str, settings: dict[str, object], studies: Studies, texts: Tensor) -> Tensor:
    """Scores of the test images, which must be numbers."""
    fitted = fit([configure(name, {"epochs": 4, "batch": 64, **settings})] * len(studies), studies)
    scores = fitted.score(PROBLEM.test, texts)
    assert fitted.alive.all()
    assert scores.isfinite().all()
    assert scores.shape == (len(studies), len(PROBLEM.test), len(texts))
    return scores


@EVERY
def test_semantics_of_another_width_on_a_line_or_all_the_same(name: str, settings: dict[str, object]) -> None:
    line = torch.outer(torch.arange(1.0, 13.0), torch.randn(16, generator=RANDOM))
    odd = [torch.randn(12, width, generator=RANDOM) for width in (1, 5, 40)]
    for texts in (*odd, line, torch.ones(12, 16), torch.zeros(12, 16)):
        finite(name, settings, replace(STUDIES, texts=texts[:8]), texts)


@EVERY
def test_a_single_seen_class_and_a_single_image(name: str, settings: dict[str, object]) -> None:
    alone = replace(STUDIES, texts=STUDIES.texts[:1], candidates=torch.ones_like(STUDIES.candidates[:, :, :1]))
    finite(name, settings, alone, PROBLEM.texts)
    one = replace(STUDIES, features=STUDIES.features[:1], candidates=STUDIES.candidates[:, :1])
    finite(name, settings, one, PROBLEM.texts)
    finite(name, settings, replace(STUDIES, features=torch.zeros_like(STUDIES.features)), PROBLEM.texts)


@pytest.mark.parametrize("name", ["ale", "devise", "sje", "latem", "dem"])
@pytest.mark.parametrize("kind", FEEDS)
def test_every_feed_is_taken(name: str, kind: str) -> None:
    finite(name, {"candidates_as": kind}, STUDIES, PROBLEM.texts)


@EVERY
def test_a_run_does_not_depend_on_its_stack(name: str, settings: dict[str, object]) -> None:
    own_images = replace(STUDIES, features=torch.stack([STUDIES.features, STUDIES.features.flip(0)]))
    together = finite(name, settings, own_images, PROBLEM.texts)
    alone = replace(
        STUDIES,
        features=own_images.features[1],
        candidates=STUDIES.candidates[1:],
        keys=STUDIES.keys[1:],
        draws=STUDIES.draws[1:],
    )
    torch.testing.assert_close(finite(name, settings, alone, PROBLEM.texts)[0], together[1], atol=1e-4, rtol=1e-3)


def test_runs_may_differ_in_their_margin() -> None:
    low, high = (configure("ale", {"margin": margin, "epochs": 4}) for margin in (0.1, 3.0))
    same = replace(STUDIES, candidates=STUDIES.candidates[:1].expand(2, -1, -1), keys=("a", "a"))
    one, other = fit([low, high], same).score(PROBLEM.test, PROBLEM.texts)
    assert not torch.allclose(one, other)


@EVERY_RANKED
def test_no_candidate_is_ever_pushed_down(name: str, settings: dict[str, object]) -> None:
    """However well a candidate scores that is not the positive, nothing pulls at it; others that score so are."""
    method = configure(name, settings)
    assert isinstance(method, Gradient)
    logits = torch.tensor([[0.0, 9.0, 5.0, -9.0]], requires_grad=True)
    for dice in (0.0, 0.3, 0.7, 0.99):
        thrown = {key: torch.full(shape, dice) for key, shape in method.dice(1, 4).items()}
        weights, candidates = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[True, True, False, False]])
        loss = method.loss(Output(logits), Batch(weights=weights, candidates=candidates, dice=thrown))
        [[positive, candidate, close, far]] = torch.autograd.grad(loss, logits)[0].tolist()
        assert candidate == 0
        assert far == 0
        assert positive == -close <= 0


@EVERY_RANKED
def test_nothing_moves_when_all_classes_are_candidates(name: str, settings: dict[str, object]) -> None:
    everything = replace(STUDIES, candidates=torch.ones_like(STUDIES.candidates))
    method = configure(name, {**settings, "epochs": 2, "weight_decay": 0.0})
    assert isinstance(method, Gradient)
    _, start, _ = initialise(method, everything, everything.uniform)
    assert torch.equal(fit([method] * 2, everything).state["weight"], start["weight"].detach())


def test_a_positive_that_scores_best_is_one_that_the_soft_labels_allow() -> None:
    method = configure("ale", {"positive": "best"})
    batch = Batch(weights=torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]))
    assert method.positives(torch.tensor([[1.0, 5.0, 2.0], [7.0, 0.0, 8.0]]), batch).tolist() == [2, 1]  # type: ignore[attr-defined]


def test_without_training_and_centring_the_identity_is_the_encoder() -> None:
    plain = {"start": "identity", "center_texts": False, "center_images": False, "epochs": 1, "lr": 1e-30}
    plain["prior"] = "none"
    scores = fit([configure("ale", plain)] * 2, STUDIES).score(PROBLEM.test, PROBLEM.texts)
    torch.testing.assert_close(scores[0], PROBLEM.test @ PROBLEM.texts.T)


def test_an_identity_between_spaces_of_two_widths_is_refused() -> None:
    study = STUDIES.of(0)
    narrow = Study(study.features, study.candidates, study.targets, study.texts[:, :5], study.class_names, 1.0)
    assert "alignment" in configure("ale", {"start": "identity"}).needs
    with pytest.raises(UserError, match="not 5 and 16"):
        configure("ale", {"start": "identity"}).module(narrow)  # type: ignore[attr-defined]
    for start in set(STARTS) - {"identity"}:
        configure("ale", {"start": start}).module(narrow)  # type: ignore[attr-defined]


def test_images_and_classes_meet_by_the_largest_of_all_maps() -> None:
    maps = torch.randn(3, 4, 5, generator=RANDOM)
    images, semantics = torch.randn(2, 4, generator=RANDOM), torch.randn(6, 5, generator=RANDOM)
    module = Bilinear(maps)
    each = torch.stack([images @ one @ semantics.T for one in maps])
    torch.testing.assert_close(module(images, semantics), each.amax(0))
    length = torch.stack([(images @ one).norm(dim=-1) for one in maps])
    cosines = each / length.unsqueeze(-1) / semantics.norm(dim=-1)
    torch.testing.assert_close(module(images, semantics, measure="cosine"), cosines.amax(0))
