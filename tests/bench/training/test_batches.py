"""What methods with memory, tables, dice, views and a second pass get and leave behind, in a real training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import (
    Batch,
    Gradient,
    MethodInfo,
    Net,
    Output,
    State,
    Study,
    Update,
    Viewed,
    soft_cross_entropy,
)
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies, toy_tags
from pzsl_bench.training.fit import batch_sizes, fit, initialise
from pzsl_bench.training.memory import replica_bytes

PROBLEM = toy_problem()
INFO = MethodInfo("diary", "Diary", "pll", 1, None, (), False)


@pytest.fixture
def studies() -> Studies:
    return toy_studies(PROBLEM, [("flip", 0.3, seed) for seed in range(3)])


@dataclass(frozen=True)
class Diary(Gradient):
    """Records everything that it gets, in its tables and memory."""

    info: ClassVar[MethodInfo] = INFO
    reads: ClassVar[tuple[str, ...]] = ("weights", "candidates")
    epochs: int = 2
    batch: int = 50
    batches: int = 1

    def loss(self, output: Output, batch: Batch) -> Tensor:
        return soft_cross_entropy(output, batch.weights)

    def tables(self, study: Study) -> State:
        return {"visits": study.features.new_zeros(len(study.features)), "last": study.features.new_zeros(160, 16)}

    def memory(self, study: Study, params: State) -> State:
        return {"steps": torch.zeros(()), "luck": torch.rand(2), "sum": torch.zeros(()), "ends": torch.zeros(())}

    def dice(self, images: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        return {"one": (images,)}

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        output = Output(net(batch.features))
        memory = {"steps": batch.memory["steps"] + 1, "sum": batch.memory["sum"] + batch.dice["one"].sum()}
        rows = {"visits": batch.rows["visits"] + 1, "last": batch.features}
        notes = {"epoch": batch.epoch.float(), "share": batch.progress}
        return self.loss(output, batch), Update(batch.candidates.float(), memory, rows, notes)

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        return Update(weights * (epoch + 1), {"ends": memory["ends"] + memory["steps"]})


@dataclass(frozen=True)
class Auditor(Diary):
    """Reads and writes whole tables at the end of an epoch."""

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        visits = tables["visits"]
        return Update(memory={"ends": memory["ends"] + visits.sum()}, rows={"visits": 10 * visits})


@dataclass(frozen=True)
class Tagger(Diary):
    """Records the marks of every image."""

    reads: ClassVar[tuple[str, ...]] = ("marks",)

    def tables(self, study: Study) -> State:
        assert study.marks is not None
        return {"marks": torch.zeros(study.marks.shape), "first": study.marks.float()}

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        assert batch.marks.is_floating_point()
        same = (batch.marks == batch.rows["first"]).float().mean()
        loss = (Output(net(batch.features)).log_probs * batch.marks).mean()
        return loss, Update(memory={"sum": batch.memory["sum"] + same}, rows={"marks": batch.marks})

    def after_epoch(self, epoch: int, weights: Tensor, candidates: Tensor, memory: State, tables: State) -> Update:
        return Update(memory={"ends": memory["sum"]})


def test_every_run_is_fed_its_own_marks() -> None:
    studies = toy_studies(toy_tags(), [("rps", 0.5, seed) for seed in range(3)])
    fitted = fit([Tagger()] * 3, studies)
    # Four batches in each of two epochs, all of whose marks were those of the study.
    assert fitted.memory["ends"].tolist() == [8, 8, 8]
    assert fitted.alive.all()


def test_marks_are_empty_where_an_image_is_of_one_class_or_nobody_reads_them(studies: Studies) -> None:
    seen: list[int] = []

    @dataclass(frozen=True)
    class Peeking(Diary):
        def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
            seen.append(batch.marks.numel())
            return super().step(net, batch)

    @dataclass(frozen=True)
    class Reading(Peeking):
        reads: ClassVar[tuple[str, ...]] = ("weights", "candidates", "marks")

    fit([Peeking()], toy_studies(toy_tags(), [("rps", 0.5, 0)]))
    fit([Reading()] * 3, studies)
    assert set(seen) == {0}


def test_marks_cost_a_byte_each() -> None:
    studies = toy_studies(toy_tags(), [("rps", 0.5, 0)])
    plain = replace(studies, marks=None)
    assert replica_bytes(Later(batch=50), studies) - replica_bytes(Later(batch=50), plain) == studies.candidates.numel()


def test_memory_is_carried_from_step_to_step_and_over_epochs(studies: Studies) -> None:
    memory = fit([Diary()] * 3, studies).memory
    assert memory["steps"].tolist() == [8, 8, 8]
    assert memory["ends"].tolist() == [4 + 8] * 3


def test_random_memory_is_drawn_by_the_run_and_not_by_the_stack(studies: Studies) -> None:
    _, _, memory = initialise(Diary(), studies, studies.uniform)
    last = replace(studies, candidates=studies.candidates[2:], keys=studies.keys[2:], draws=studies.draws[2:])
    _, _, alone = initialise(Diary(), last, last.uniform)
    assert torch.equal(memory["luck"][2], alone["luck"][0])
    assert not torch.equal(memory["luck"][0], memory["luck"][1])


def test_dice_are_thrown_for_every_image_of_every_step(studies: Studies) -> None:
    memory = fit([Diary()] * 3, studies).memory
    assert (memory["sum"] - 2 * 160 / 2).abs().max() < 60
    assert len(set(memory["sum"].tolist())) == 3


def test_new_weights_reach_their_own_images_and_epoch_ends_see_whole_tables(studies: Studies) -> None:
    fitted = fit([Diary()] * 3, studies)
    assert fitted.weights is not None
    # Every epoch writes the candidates anew, and its end multiplies by the number of the epoch.
    torch.testing.assert_close(fitted.weights, 2 * studies.candidates.float())


def test_epoch_ends_see_and_write_the_rows_of_tables(studies: Studies) -> None:
    # One visit of each of 160 images, which the first epoch's end turns into ten, and one more.
    assert fit([Auditor()] * 3, studies).memory["ends"].tolist() == [160 + 160 * 11] * 3


def test_notes_become_curves_of_epoch_means(studies: Studies) -> None:
    curves = fit([Diary()] * 3, studies).curves
    assert curves["epoch"].tolist() == [[0, 1]] * 3
    # Four batches of 50, 50, 50 and 10 images at shares 0, 1/8, 2/8, 3/8 of the training.
    torch.testing.assert_close(curves["share"][0, 0], torch.tensor((50 * 3 / 8 + 10 * 3 / 8) / 160))


def test_tables_are_written_at_the_rows_of_the_batch(studies: Studies) -> None:
    from pzsl_bench.training.batches import Batches

    batches = Batches(Diary(), {}, studies, studies.uniform)
    batches.select_images(torch.tensor([[3, 1], [0, 159], [7, 7]]))
    batch = batches.batch(0, 0, {}, torch.zeros(2))
    batches.write_back(Update(rows={"visits": batch.rows["visits"] + torch.tensor([[1.0], [2.0], [3.0]])}), {})
    visits = batches._tables["visits"].view(3, 160)
    assert visits.nonzero().tolist() == [[0, 1], [0, 3], [1, 0], [1, 159], [2, 7]]
    assert visits.sum() == 1 + 1 + 2 + 2 + 3
    assert torch.equal(batch.features[1, 1], studies.features[159])
    assert torch.equal(batch.candidates[2, 0], studies.candidates[2, 7])


@dataclass(frozen=True)
class Later(Gradient):
    """Refines from the second pass."""

    info: ClassVar[MethodInfo] = INFO
    epochs: int = 1
    batch: int = 160
    lr: float = 0.05

    @property
    def second_pass(self) -> bool:
        return True

    def loss(self, output: Output, batch: Batch) -> Tensor:
        return soft_cross_entropy(output, batch.weights)

    def refine(self, output: Output, batch: Batch) -> Tensor:
        return output.log_probs.exp()


def test_the_second_pass_sees_the_parameters_after_the_step(studies: Studies) -> None:
    fitted = fit([Later(encoder_counts=0, batches=1)] * 3, studies)
    assert fitted.weights is not None
    torch.testing.assert_close(fitted.weights, fitted.score(studies.features, studies.texts).softmax(-1))


@dataclass(frozen=True)
class Looker(Viewed):
    """Keeps the views it sees in its tables."""

    info: ClassVar[MethodInfo] = INFO
    looks: ClassVar[int] = 2
    epochs: int = 2
    batch: int = 64

    def loss(self, output: Output, batch: Batch) -> Tensor:
        return soft_cross_entropy(output, batch.weights)

    def step(self, net: Net, batch: Batch) -> tuple[Tensor, Update]:
        loss = self.loss(Output(net(batch.features)), batch)
        # As weights, because a fitted stack hands those out.
        return loss, Update(torch.einsum("vbd,bd->bv", batch.views, batch.features).repeat(1, 4))


def test_views_belong_to_the_images_of_the_batch(studies: Studies) -> None:
    assert studies.views is not None
    weights = fit([Looker()] * 3, studies).weights
    assert weights is not None
    # Two of three views in turn: the second epoch shows views 2 and 0.
    for column, view in ((0, 2), (1, 0)):
        close = (studies.views[view] * studies.features).sum(-1)
        torch.testing.assert_close(weights[:, :, column], close.expand(3, -1))


def test_noise_views_are_near_their_image_and_new_in_every_run(studies: Studies) -> None:
    weights = fit([Looker(views="noise", view_noise=0.5)] * 3, studies).weights
    assert weights is not None
    close = weights[..., :2]
    assert 0.8 < close.mean() < 0.999
    assert not torch.equal(close[0], close[1])
    assert not torch.equal(close[..., 0], close[..., 1])
    nearer = fit([Looker(views="noise", view_noise=0.1)] * 3, studies).weights
    assert nearer is not None
    assert nearer[..., :2].mean() > close.mean()


def test_crops_that_do_not_exist_are_an_error_in_words(studies: Studies) -> None:
    with pytest.raises(UserError, match="views: noise"):
        fit([Looker()] * 3, replace(studies, views=None))


def test_runs_with_images_of_their_own_train_as_they_would_alone(studies: Studies) -> None:
    moved = torch.stack([studies.features, studies.features.flip(0), studies.features.roll(5, 0)])
    per_run = replace(studies, features=moved, candidates=studies.candidates, views=None)
    for name in ("proden", "eszsl"):
        from pzsl_bench.contract import configure

        method = configure(name, {"epochs": 2} if name == "proden" else {})
        together = fit([method] * 3, per_run).score(per_run.features[:, :20], per_run.texts)
        for run in range(3):
            single = replace(
                studies,
                features=moved[run],
                candidates=studies.candidates[run : run + 1],
                keys=studies.keys[run : run + 1],
                draws=studies.draws[run : run + 1],
            )
            alone = fit([method], single).score(moved[run, :20], per_run.texts)
            torch.testing.assert_close(together[run], alone[0], atol=1e-3, rtol=1e-3)


def test_a_dropped_rest_is_not_trained_and_small_problems_keep_theirs() -> None:
    assert batch_sizes(Diary(batch=50, batches=1), 160) == [50, 50, 50, 10]
    assert batch_sizes(Diary(batch=50, batches=1, rest="drop"), 160) == [50, 50, 50]
    assert batch_sizes(Diary(batch=200, batches=1, rest="drop"), 160) == [160]
    assert batch_sizes(Diary(batch=80, batches=1), 160) == [80, 80]


def test_a_watcher_sees_every_epoch_as_it_was(studies: Studies) -> None:
    from pzsl_bench.contract import configure

    method = configure("proden", {"epochs": 3})
    seen: dict[int, Tensor] = {}
    fitted = fit(
        [method] * 3, studies, watch=lambda done, now: seen.update({done: now.state["adapter.up.weight"].clone()})
    )
    assert list(seen) == [1, 2, 3]
    assert torch.equal(seen[3], fitted.state["adapter.up.weight"])
    assert not torch.equal(seen[1], seen[2])


def test_memory_and_tables_count_in_the_predicted_bytes(studies: Studies) -> None:
    plain = replica_bytes(Later(batch=50), studies)
    assert replica_bytes(Diary(), studies) >= plain + 2 * 4 * 160 * 17
