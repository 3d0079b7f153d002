"""Selection: by candidate sets of held-out training images, without a look at truth or test, before the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listening import Listening

from pzsl_bench.base.errors import UserError
from pzsl_bench.cli.run_report import describe_plan
from pzsl_bench.contract import Method, configure
from pzsl_bench.judging.calibration import chosen_biases
from pzsl_bench.planning.draws import configurations
from pzsl_bench.planning.grid import load_grid
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.plan import State, make_plan
from pzsl_bench.problem.exam import Exam
from pzsl_bench.problem.folds import Problems
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.studies import Studies
from pzsl_bench.problem.toy import toy_problem, toy_studies
from pzsl_bench.records.cell import Cell
from pzsl_bench.records.record import Record, Status
from pzsl_bench.running import worker
from pzsl_bench.running.run import execute
from pzsl_bench.selecting import selection
from pzsl_bench.selecting.rules import find_rule
from pzsl_bench.selecting.selection import Rehearsal, Selection, Task, averaged, held_out, select
from pzsl_bench.training.fit import fit
from pzsl_bench.training.fitted import Fitted

POINTS = [("flip", 0.3, 0), ("flip", 0.5, 1)]
PROBLEM = toy_problem(noise=2.0, per_class=30)


def rehearsals(problem: Problem, studies: Studies, fold: int) -> list[Rehearsal]:
    planned, rule = configure("proden", {}), find_rule("last")
    return worker.rehearsals_of(planned, rule, Problems((problem,) * len(studies)), studies, fold)


def task_of(problem: Problem, truth: bool = False, points: Sequence[tuple[str, float, int]] = POINTS) -> Task:
    studies = toy_studies(problem, points)
    return Task(
        dataset="toy",
        studies=studies,
        candidates=studies.candidates,
        truth=torch.from_numpy(problem.train_truth) if truth else None,
        rehearsals=lambda fold: rehearsals(problem, studies, fold),
    )


def drawn(count: int = 3, cells: int = 2, **settings: Any) -> list[list[Method]]:
    method = configure("proden", {"epochs": 4, "batch": 32, **settings})
    cell = Cell("toy", "none", "flip", 0.3, "proden", (), 0, "covering", count)
    return [configurations(method, cell)] * cells


def choose(rule: str, methods: Sequence[Sequence[Method]], task: Task, **more: Any) -> Selection:
    return select(find_rule(rule), methods, task, **more)


def choices_of(selected: Selection) -> list[tuple]:
    return [(choice.draw, choice.epoch, choice.trials) for choice in selected.choices]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Studies]:
    """The studies of every training of a selection."""
    seen: list[Studies] = []

    def spy(methods: Sequence[Method], studies: Studies, *rest: Any, **more: Any) -> Any:
        seen.append(studies)
        return fit(methods, studies, *rest, **more)

    monkeypatch.setattr(selection, "fit", spy)
    return seen


def test_a_tenth_of_the_images_is_held_out_whatever_their_labels() -> None:
    rows, held = held_out(200, "toy")
    assert len(held) == 20
    assert sorted([*rows, *held]) == list(range(200))
    assert held_out(200, "toy")[1].tolist() == held.tolist() != held_out(200, "other")[1].tolist()
    assert len(held_out(2, "toy")[1]) == len(held_out(3, "toy")[1]) == 1
    with pytest.raises(UserError, match="held out"):
        held_out(1, "toy")


@pytest.mark.parametrize("rule", ["covering", "approximated", "oracle"])
def test_held_out_images_are_not_trained_on(fits: list[Studies], rule: str) -> None:
    choose(rule, drawn(), task_of(PROBLEM, truth=rule == "oracle"))
    held = PROBLEM.train[torch.from_numpy(held_out(len(PROBLEM.train), "toy")[1])]
    main = fits[0]
    assert len(main.features) == len(PROBLEM.train) - len(held)
    assert torch.cdist(main.features, held).min() > 0
    assert main.candidates.shape[:2] == (6, len(main.features))


def test_views_go_with_their_images_and_candidate_sets_with_their_runs() -> None:
    studies, rows = toy_studies(PROBLEM, POINTS), torch.tensor([3, 100, 7])
    few = studies.of_images(rows)
    assert studies.views is not None
    assert few.views is not None
    assert torch.equal(few.views[1, 2], studies.views[1, 7])
    assert torch.equal(few.candidates[1, 1], studies.candidates[1, 100])
    twice = few.of_runs(torch.tensor([1, 0, 1]))
    assert twice.draws == (few.draws[1], few.draws[0], few.draws[1])
    assert torch.equal(twice.candidates[2], few.candidates[1])
    noisy = [[configure("crdpll", {"epochs": 1})]] * 2
    assert choose("covering", noisy, task_of(PROBLEM)).states[0].alive.all()


@pytest.mark.parametrize("rule", ["last", "mean3", "rehearsal", "validation"])
def test_rules_that_compare_nothing_on_images_train_on_all_of_them(fits: list[Studies], rule: str) -> None:
    choose(rule, drawn(), task_of(PROBLEM))
    assert sum(len(studies.features) == len(PROBLEM.train) for studies in fits) == 1


@pytest.mark.parametrize("rule", ["covering", "approximated"])
def test_a_label_free_choice_never_sees_the_truth(rule: str) -> None:
    """Other labels behind the same candidate sets of the held-out images change no bit of it."""
    task, held = task_of(PROBLEM), held_out(len(PROBLEM.train), "toy")[1]
    shuffled = PROBLEM.train_truth.copy()
    shuffled[held] = np.roll(shuffled[held], 5)
    assert (shuffled != PROBLEM.train_truth).any()
    other = replace(PROBLEM, train_truth=shuffled)
    blind = replace(task, rehearsals=lambda fold: rehearsals(other, task.studies, fold))
    first, second = choose(rule, drawn(), task), choose(rule, drawn(), blind)
    assert choices_of(first) == choices_of(second)
    for name, value in first.states[0].state.items():
        assert torch.equal(value, second.states[0].state[name])


def test_the_oracle_does_see_it() -> None:
    task, held = task_of(PROBLEM, truth=True), torch.from_numpy(held_out(len(PROBLEM.train), "toy")[1])
    assert task.truth is not None
    wrong = task.truth.clone()
    wrong[held] = (wrong[held] + 1) % PROBLEM.seen
    first, second = choose("oracle", drawn(), task), choose("oracle", drawn(), replace(task, truth=wrong))
    assert choices_of(first) != choices_of(second)


@pytest.mark.parametrize("rule", ["last", "mean3", "covering", "approximated", "rehearsal", "validation"])
def test_no_other_rule_may_be_handed_the_truth(rule: str) -> None:
    with pytest.raises(ValueError, match="must not be given"):
        choose(rule, drawn(), task_of(PROBLEM, truth=True))


@pytest.mark.parametrize("rule", ["covering", "approximated"])
def test_the_chosen_draw_and_epoch_are_the_best_of_what_training_each_draw_alone_shows(rule: str) -> None:
    methods, task = drawn(4), task_of(PROBLEM)
    selected = choose(rule, methods, task)
    for cell, choice in enumerate(selected.choices):
        alone = replace(task, studies=task.studies.of_runs(torch.tensor([cell])), rehearsals=lambda _: [])
        alone = replace(alone, candidates=task.candidates[[cell]])
        trials = [choose(rule, [[method]], alone).choices[0].trials[0] for method in methods[cell]]
        values = [trial.value for trial in trials]
        assert [t.value for t in choice.trials] == pytest.approx(values, abs=1e-6)
        assert choice.draw == int(np.argmax(values))
        assert choice.epoch == trials[choice.draw].epoch
        assert choice.method == methods[cell][choice.draw]


def test_a_bound_is_compared_by_the_candidate_sets_that_the_images_came_with() -> None:
    task = task_of(PROBLEM)
    truth = torch.nn.functional.one_hot(torch.from_numpy(PROBLEM.train_truth)).bool()
    bound = replace(
        task,
        studies=replace(task.studies, candidates=truth.expand_as(task.candidates)),
        candidates=torch.ones_like(task.candidates),
    )
    for choice in choose("covering", drawn(), bound).choices:
        assert {trial.value for trial in choice.trials} == {1.0}
        assert (choice.draw, choice.epoch) == (0, 4), "of what is equally good, the grid's own settings and the end"


def test_a_cell_is_chosen_and_trained_the_same_whatever_its_stack_and_the_memory() -> None:
    task = task_of(PROBLEM)
    wide = choose("covering", drawn(), task)
    narrow = choose("covering", drawn(), task, width=2)
    assert choices_of(wide) == choices_of(narrow)
    for name, value in wide.states[0].state.items():
        torch.testing.assert_close(value, narrow.states[0].state[name], atol=1e-4, rtol=1e-4)
    assert wide.biases[0] == pytest.approx(narrow.biases[0])


def test_tuning_finds_a_better_learning_rate_than_a_bad_default() -> None:
    bad = drawn(8, head="linear", lr=1e-7, epochs=8)
    plain = choose("last", bad, task_of(PROBLEM)).states[0]
    tuned = choose("covering", bad, task_of(PROBLEM))
    known = torch.from_numpy(PROBLEM.test_truth < PROBLEM.seen)
    texts, truth = PROBLEM.texts[: PROBLEM.seen], torch.from_numpy(PROBLEM.test_truth)[known]

    def accuracy(fitted: Fitted) -> float:
        return float((fitted.score(PROBLEM.test[known], texts).argmax(-1) == truth).float().mean())

    assert all(choice.draw > 0 for choice in tuned.choices)
    assert accuracy(tuned.states[0]) > accuracy(plain) + 0.2


def test_the_rehearsal_is_read_at_the_chosen_epoch_with_the_chosen_settings() -> None:
    task = task_of(PROBLEM)
    selected = choose("covering", drawn(), task)
    for cell, choice in enumerate(selected.choices):
        (rehearsal,) = task.rehearsals(0)
        shorter = Stopped(choice.epoch or 0)
        fit([choice.method], rehearsal.studies.of_runs(torch.tensor([cell])), watch=shorter)
        (bias,) = chosen_biases([(shorter.state, rehearsal.exam)], rehearsal.ratio)
        assert selected.biases[0][cell] == pytest.approx(bias, abs=1e-4)


class Stopped:
    """The stack as it was after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, epoch: int, fitted: Fitted) -> None:
        if epoch == self.epoch:
            self.state = replace(fitted, state={name: value.clone() for name, value in fitted.state.items()})


def best_h(fitted: Fitted, exam: Exam) -> float:
    (curve,) = selection.curves(fitted, exam)
    assert curve is not None
    return float(curve.harmonics().max())


def t1(fitted: Fitted, exam: Exam) -> float:
    scores = fitted.score(exam.features, exam.texts)[0, :, exam.seen :]
    truth, right = torch.from_numpy(exam.truth), scores.argmax(-1) + exam.seen == torch.from_numpy(exam.truth)
    return float(torch.stack([right[truth == k].double().mean() for k in range(exam.seen, len(exam.texts))]).mean())


@pytest.mark.parametrize(("rule", "criterion"), [("rehearsal", best_h), ("validation", t1)])
def test_rehearsals_choose_the_draw_of_the_best_mean_over_the_folds(
    rule: str, criterion: Callable[[Fitted, Exam], float]
) -> None:
    task = task_of(PROBLEM)
    selected = choose(rule, drawn(5), task)
    folds = [rehearsal for fold in range(3) for rehearsal in task.rehearsals(fold)]
    for cell, choice in enumerate(selected.choices):
        assert choice.epoch is None
        runs = torch.tensor([cell])
        trained = [[fit([m], r.studies.of_runs(runs)) for r in folds] for m in drawn(5)[cell]]
        values = [np.mean([criterion(f, r.exam) for f, r in zip(fits, folds, strict=True)]) for fits in trained]
        assert choice.draw == int(np.argmax(values))
        assert [trial.value for trial in choice.trials] == pytest.approx(values, abs=1e-3)
        states = [(fitted, fold.exam) for fitted, fold in zip(trained[choice.draw], folds, strict=True)]
        (bias,) = chosen_biases(states, folds[0].ratio)
        assert selected.biases[0][cell] == pytest.approx(bias, abs=1e-3), "calibrated in all folds together"


@pytest.mark.parametrize("rule", ["rehearsal", "validation"])
def test_a_rule_that_rehearses_never_sees_unseen_classes_or_test_images(rule: str) -> None:
    other = replace(
        PROBLEM,
        test=PROBLEM.test.flip(0),
        texts=torch.cat([PROBLEM.texts[: PROBLEM.seen], -PROBLEM.texts[PROBLEM.seen :]]),
    )
    assert choices_of(choose(rule, drawn(), task_of(PROBLEM))) == choices_of(choose(rule, drawn(), task_of(other)))


@pytest.mark.parametrize("rule", ["rehearsal", "validation"])
def test_a_rule_that_rehearses_says_what_it_lacks(rule: str) -> None:
    with pytest.raises(UserError, match=f"select: {rule} compares .* and toy has none: no seen class is named to play"):
        choose(rule, drawn(), replace(task_of(PROBLEM), rehearsals=lambda _: []))
    with pytest.raises(UserError, match=f"select: {rule} needs scores of unseen classes"):
        choose(rule, drawn(head="linear"), task_of(PROBLEM))


def test_a_draw_that_diverges_in_one_fold_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(3))

    def values(fitted: Fitted, exam: Exam) -> list[float | None]:
        fold = next(calls)
        return [None if draw == 0 and fold == 2 else 1.0 - 0.1 * draw for _ in range(2) for draw in range(3)]

    monkeypatch.setitem(selection.REHEARSAL_CRITERIA, "validation", values)
    for choice in choose("validation", drawn(), task_of(PROBLEM)).choices:
        assert choice.draw == 1
        assert [trial.value for trial in choice.trials] == [None, pytest.approx(0.9), pytest.approx(0.8)]


def test_a_head_that_cannot_score_unseen_classes_is_chosen_without_a_rehearsal(fits: list[Studies]) -> None:
    selected = choose("covering", drawn(head="linear"), task_of(PROBLEM))
    assert len(fits) == 1
    assert selected.biases == [[None, None]]


def test_solved_methods_choose_among_draws() -> None:
    cell = Cell("toy", "none", "flip", 0.3, "eszsl", (), 0, "covering", 6)
    methods = [configurations(configure("eszsl", {"prior": "none"}), cell)] * 2
    selected = choose("covering", methods, task_of(PROBLEM))
    for choice in selected.choices:
        assert choice.epoch is None
        values = [trial.value for trial in choice.trials]
        assert len(set(values)) > 1
        assert choice.draw == int(np.argmax(values))


def test_runs_with_images_of_their_own_are_chosen_on_their_own_images() -> None:
    other = replace(PROBLEM, train=PROBLEM.train.flip(0), train_truth=PROBLEM.train_truth[::-1].copy())
    masks = [toy_studies(p, [point]).candidates[0] for p, point in zip((PROBLEM, other), POINTS, strict=True)]
    both = Problems((PROBLEM, other)).studies(torch.stack(masks), ["a", "b"], ["a", "b"])
    assert both.per_run_features
    task = Task("toy", both, both.candidates, None, lambda _: [])
    selected = choose("covering", drawn(), task)
    for cell, problem in enumerate((PROBLEM, other)):
        single = Problems((problem,)).studies(masks[cell][None], both.keys[cell], both.draws[cell])
        alone = choose("covering", drawn(cells=1), Task("toy", single, single.candidates, None, lambda _: []))
        assert choices_of(alone)[0] == choices_of(selected)[cell]


def test_the_mean_of_metrics_needs_them_all() -> None:
    first, second = {"H": 0.2, "gamma": None, "D": 0.5}, {"H": 0.4, "gamma": 1.0, "D": 0.5}
    assert averaged([[first], [second]]) == [{"H": pytest.approx(0.3), "gamma": None, "D": 0.5}]
    assert averaged([[first, second]]) == [first, second]


DATA = "synthetic:seen=8:unseen=4:dim=16:per_class=20:test=10"


def run(folder: Path, more: str, methods: str = "[{proden: {epochs: 4}}]", **options: Any) -> list[Record]:
    path = folder / "tiny.yaml"
    path.write_text(f"datasets: ['{DATA}']\nambiguities: [flip]\nrates: [0.3]\nseeds: 2\nmethods: {methods}\n{more}")
    listener = Listening()
    settings = Options(results=folder / "results", device="cpu", mlflow=False, **options)
    execute(make_plan(load_grid(str(path), []), settings), settings, listener)
    assert {record.status for record in listener.records} == {Status.DONE}, listener.records[0].error
    return listener.records


def test_a_record_holds_the_rule_the_choice_and_all_draws(tmp_path: Path) -> None:
    for record in run(tmp_path, "select: covering\ntune: 4\n"):
        assert record.row == "proden(epochs=4) [covering, 4 draws]"
        assert (record.select, record.tune) == ("covering", 4)
        assert len(record.trials) == 4
        assert record.trials[0].settings == {}
        assert all(set(trial.settings) == {"lr", "weight_decay"} for trial in record.trials[1:])
        chosen = record.trials[record.draw]
        assert record.epoch == chosen.epoch
        assert chosen.value == max(trial.value or 0.0 for trial in record.trials)
        assert {name: record.settings[name] for name in chosen.settings} == chosen.settings
        assert len(record.curves["covering"]) == len(record.curves["loss"]) == 4
        assert record.curves["covering"][record.epoch - 1] == pytest.approx(chosen.value)  # type: ignore[operator]
        assert record.identity["tune"]["draws"] == 4
        assert record.identity["tune"]["search"]["lr"]
        assert not record.reveals_truth


def test_only_the_oracle_is_marked_as_knowing_the_truth(tmp_path: Path) -> None:
    records = run(tmp_path, "select: [last, mean2, covering, approximated, oracle]\n")
    assert {record.select: record.reveals_truth for record in records} == {
        "last": False,
        "mean2": False,
        "covering": False,
        "approximated": False,
        "oracle": True,
    }


def test_rules_of_one_method_stand_beside_each_other_and_defaults_keep_their_identity(tmp_path: Path) -> None:
    before = run(tmp_path, "")
    after = run(tmp_path, "select: [last, covering]\n")
    assert {record.select for record in after} == {"covering"}, "the others were there already"
    assert not {"select", "tune"} & {key for record in before for key in record.identity}


def test_test_metrics_are_computed_once_and_after_the_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def spy(name: str) -> None:
        original = getattr(worker, name)

        def call(*words: Any, **more: Any) -> Any:
            result = original(*words, **more)
            calls.append(name)
            return result

        monkeypatch.setattr(worker, name, call)

    spy("select")
    spy("judge")
    run(tmp_path, "select: [covering]\ntune: 3\n")
    assert calls == ["select", "judge"]
    calls.clear()
    run(tmp_path, "select: [mean3]\n")
    assert calls == ["select", "judge", "judge", "judge"]


def test_the_mean_over_epochs_is_the_mean_of_shorter_constant_trainings(tmp_path: Path) -> None:
    # With a constant rate, epoch e of a long training is the end of one of e epochs.
    methods = "[{proden: {epochs: [2, 3, 4], schedule: constant}}]"
    ends = {(r.settings["epochs"], r.seed): r.metrics for r in run(tmp_path, "", methods)}
    for record in run(tmp_path, "select: mean3\n", "[{proden: {epochs: 4, schedule: constant}}]"):
        for name in ("T1", "H", "H_cal", "seen_acc", "D"):
            mean = np.mean([ends[epochs, record.seed][name] for epochs in (2, 3, 4)])
            assert record.metrics[name] == pytest.approx(mean, abs=1e-2)


def test_a_method_without_anything_to_choose_shares_its_plain_record(tmp_path: Path) -> None:
    run(tmp_path, "", "[clip_zero_shot]")
    assert [r.method for r in run(tmp_path, "select: covering\ntune: 3\n", "[clip_zero_shot, eszsl]")] == ["eszsl"] * 2


def test_a_small_memory_budget_changes_no_choice(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    more = "select: covering\ntune: 3\n"
    wide = {r.seed: r for r in run(tmp_path / "a", more)}
    for record in run(tmp_path / "b", more, memory="1KB"):
        assert record.stack == 1
        assert (record.draw, record.epoch) == (wide[record.seed].draw, wide[record.seed].epoch)
        assert record.metrics["seen_acc"] == pytest.approx(wide[record.seed].metrics["seen_acc"], abs=0.02)


def test_draws_count_in_the_estimate_of_a_plan(tmp_path: Path) -> None:
    run(tmp_path, "")
    grid = tmp_path / "tiny.yaml"
    options = Options(results=tmp_path / "results", device="cpu", mlflow=False)

    def estimate(more: list[str]) -> float:
        plan = make_plan(load_grid(str(grid), ["seeds=4", *more]), options)
        assert {p.state for p in plan.cells} <= {State.DONE, State.MISSING}
        seconds = plan.seconds
        assert seconds is not None
        return seconds

    point = "{{select: covering, tune: {}}}"
    plain = estimate([])
    tuned = make_plan(load_grid(str(grid), [f"include=[{point.format(9)}]"]), options)
    assert "18 trainings to choose from" in describe_plan(tuned)
    few, many = (estimate([f"include=[{point.format(draws)}]"]) - plain for draws in (9, 19))
    assert many == pytest.approx(2 * few)
    assert few == pytest.approx(10 * plain)
    folds = estimate(["include=[{select: validation, tune: 9}]"]) - plain
    assert folds == pytest.approx(28 * plain), "nine draws in three folds, and the chosen one"
