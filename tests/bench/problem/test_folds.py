"""Runs with splits of their own: trained together like any others, each judged on its own images."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pzsl_bench.cli.progress import PlainProgress
from pzsl_bench.contract import Batch, Output, Viewed, configure
from pzsl_bench.data.ambiguity import draw_candidates
from pzsl_bench.data.source import DATASETS, Dataset, Source, dataset
from pzsl_bench.judging.judge import judge
from pzsl_bench.planning.grid import load_grid
from pzsl_bench.planning.options import Options
from pzsl_bench.planning.plan import make_plan
from pzsl_bench.problem.build import build_problem, standardised
from pzsl_bench.problem.exam import Exam
from pzsl_bench.problem.folds import Problems
from pzsl_bench.problem.problem import Problem
from pzsl_bench.problem.studies import Studies
from pzsl_bench.records.record import Record
from pzsl_bench.running.opened import open_dataset
from pzsl_bench.running.run import execute
from pzsl_bench.training.fit import fit
from pzsl_bench.training.memory import replica_bytes
from pzsl_bench.training.views import view_maker

IMAGES, CLASSES = 60, 4


def split(seed: int) -> NDArray[np.bool_]:
    mask = np.zeros(IMAGES, dtype=bool)
    mask[(np.arange(10) * 6 + seed) % IMAGES] = True
    return mask


def folded(**more: object) -> Source:
    rng = np.random.default_rng(0)
    labels = np.arange(IMAGES) % (CLASSES - 1)
    features = rng.normal(size=(IMAGES, 5)) + 2 * np.eye(CLASSES, 5)[labels]
    features[:, 3] = 7
    features[:, 1] *= 1000
    facts: dict[str, object] = {
        "labels": labels,
        "is_test": split(0),
        "class_names": tuple(f"class {k}" for k in range(CLASSES)),
        "seen": tuple(range(CLASSES)),
        "unseen": (),
        "validation": (),
        "checksum": "folded",
        "features": features.astype(np.float32),
        "candidates": (rng.random((IMAGES, CLASSES)) < 0.4) | np.eye(CLASSES, dtype=bool)[labels],
        "split": split,
        "standardise": True,
    }
    return Source(**{**facts, **more})  # type: ignore[arg-type]


def problem_of(source: Source, seed: int) -> Problem:
    assert source.features is not None
    nothing = np.empty((CLASSES, 0), dtype=np.float32)
    return build_problem("folded", source, source.features, nothing, 1.0, seed=seed)


FOLDS = [problem_of(folded(), seed) for seed in range(4)]


def together(problems: list[Problem]) -> tuple[Studies, Exam]:
    stack = Problems(tuple(problems))
    masks = [draw_candidates("given", p.labelled, 0.0, "folded", 0) for p in problems]
    names = [next(str(seed) for seed, fold in enumerate(FOLDS) if fold is p) for p in problems]
    return stack.studies(torch.from_numpy(np.stack(masks)), names, names), stack.exam()


def test_every_seed_has_its_own_test_images_and_none_of_them_is_trained_on() -> None:
    source = folded(standardise=False)
    assert source.features is not None
    tests = []
    for seed in range(4):
        problem = problem_of(source, seed)
        train, test = ({row.tobytes() for row in part.numpy()} for part in (problem.train, problem.test))
        assert not train & test and len(train | test) == IMAGES
        assert test == {row.tobytes() for row in source.features[split(seed)]}
        tests.append(frozenset(test))
    assert len(set(tests)) == 4


def test_columns_are_standardised_by_the_training_images_alone() -> None:
    for seed, problem in enumerate(FOLDS):
        torch.testing.assert_close(problem.train.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(problem.train.std(0, correction=0), torch.tensor([1.0, 1, 1, 0, 1]))
        source = folded()
        assert source.features is not None
        moved = source.features.copy()
        moved[split(seed)] += 100
        other = problem_of(folded(features=moved), seed)
        torch.testing.assert_close(other.train, problem.train)
        assert not torch.allclose(other.test[:, 0], problem.test[:, 0])


def test_a_column_that_is_constant_in_training_becomes_zero_even_where_the_test_moves() -> None:
    features = np.array([[1e-7, 1.0], [1e-7, 2.0], [5.0, 3.0]], dtype=np.float32)
    scaled = standardised(features, np.array([0, 1]))
    np.testing.assert_allclose(scaled, [[0, -1], [0, 1], [0, 3]])


def test_given_candidates_are_those_of_the_training_images() -> None:
    source = folded()
    assert source.candidates is not None
    studies, _ = together(FOLDS)
    for seed in range(4):
        np.testing.assert_array_equal(studies.candidates[seed].numpy(), source.candidates[~split(seed)])


@pytest.mark.parametrize("name", ["proden", "naive"])
def test_a_fold_is_trained_and_judged_in_a_stack_as_alone(name: str) -> None:
    method = configure(name, {"epochs": 5, "batch": 16})

    def results(problems: list[Problem]) -> list[dict[str, float | None]]:
        studies, exam = together(problems)
        fitted = fit([method] * len(problems), studies)
        return judge(fitted, exam, studies.features, studies.candidates, [None] * len(problems))

    stacked = results(FOLDS)
    assert len({tuple(sorted(metrics.items())) for metrics in stacked}) > 1
    for fold, metrics in zip(FOLDS, stacked, strict=True):
        assert results([fold])[0] == pytest.approx(metrics, abs=1e-6)


def test_accuracy_is_a_share_of_images_and_seen_acc_a_mean_over_classes_that_occur() -> None:
    studies, exam = together(FOLDS[:2])
    fitted = fit([configure("proden", {"epochs": 3})] * 2, studies)
    judged = judge(fitted, exam, studies.features, studies.candidates, [None, None])
    answers = fitted.score(exam.features, exam.texts).argmax(-1).numpy()
    for run, metrics in enumerate(judged):
        truth = exam.of(run).truth
        right = answers[run] == truth
        assert metrics["accuracy"] == pytest.approx(right.mean())
        assert metrics["seen_acc"] == pytest.approx(np.mean([right[truth == k].mean() for k in np.unique(truth)]))
        assert set(metrics) == {"accuracy", "seen_acc", "D"}


def test_near_misses_count_where_classes_are_positions_on_a_scale() -> None:
    problems = [problem_of(folded(ordinal=True), seed) for seed in range(2)]
    stack = Problems(tuple(problems))
    masks = np.stack([p.labelled.truth_mask() for p in problems])
    studies = stack.studies(torch.from_numpy(masks), ["a", "b"], ["a", "b"])
    fitted = fit([configure("naive", {"epochs": 1})] * 2, studies)
    for metrics in judge(fitted, stack.exam(), studies.features, studies.candidates, [None, None]):
        # With four classes nobody is off by more than three.
        assert metrics["within_3"] == metrics["within_5"] == 1.0
        assert metrics["accuracy"] is not None and metrics["accuracy"] < 1


def test_runs_of_one_problem_share_its_tensors() -> None:
    studies, exam = together([FOLDS[0]] * 3)
    assert studies.features is FOLDS[0].train and exam.features is FOLDS[0].test
    assert not Problems((FOLDS[0],) * 3).images_differ


def test_runs_are_grouped_by_their_problem() -> None:
    a, b = FOLDS[:2]
    groups = Problems((a, b, a)).groups()
    assert [(problem is a, runs) for problem, runs in groups] == [(True, [0, 2]), (False, [1])]


class Folded(Dataset):
    """Folds of seen classes, with texts and with unseen classes that are in every test."""

    def open(self) -> Source:
        """Five seen classes, two of them validation classes, and two unseen ones."""
        rng = np.random.default_rng(3)
        texts = rng.normal(size=(7, 12)).astype(np.float32)
        labels = np.arange(7 * 20) % 7
        features = (texts[labels] + rng.normal(size=(len(labels), 12))).astype(np.float32)

        def split(seed: int) -> NDArray[np.bool_]:
            # An odd seed tests on more: such folds cannot be trained together with the others.
            return (labels >= 5) | ((np.arange(len(labels)) // 7 + seed) % 20 < 4 + seed % 2)

        return Source(
            labels=labels,
            is_test=split(0),
            class_names=tuple(f"class {k}" for k in range(7)),
            seen=(0, 1, 2, 3, 4),
            unseen=(5, 6),
            validation=(1, 3),
            checksum="folded",
            features=features,
            texts=texts,
            scale=20.0,
            split=split,
        )


@pytest.fixture
def registered() -> Iterator[None]:
    """The folded dataset, under the name `folded`."""
    dataset("folded", title="Folded")(Folded)
    yield
    DATASETS.found.pop("folded")
    open_dataset.cache_clear()


def test_folds_with_unseen_classes_are_calibrated_each_by_its_own_rehearsal(registered: None, tmp_path: Path) -> None:
    grid = tmp_path / "folded.yaml"
    grid.write_text(
        "datasets: [folded]\nambiguities: [semantic]\nrates: [0.3]\nseeds: 4\n"
        "methods: [eszsl, oracle: {epochs: 2}, naive: {epochs: 2, head: linear}]\n"
    )

    def results(name: str, memory: str | None) -> dict[tuple[str, int], Record]:
        options = Options(results=tmp_path / name, device="cpu", mlflow=False, memory=memory)
        listener = PlainProgress(io.StringIO())
        execute(make_plan(load_grid(str(grid)), options), options, listener)
        return {(r.method, r.seed): r for r in listener.records}

    together, alone = results("together", None), results("alone", "1KB")
    for (name, seed), record in together.items():
        assert record.status == "done", record.error
        assert record.stack == 2
        assert ("H_cal" in record.metrics) == ("H" in record.metrics) == (name != "naive")
        assert record.metrics == pytest.approx(alone[name, seed].metrics, abs=1e-5)
    assert len({together["eszsl", seed].metrics["gamma"] for seed in range(4)}) == 4


def test_problems_of_different_sizes_are_refused() -> None:
    small = build_problem(
        "folded",
        folded(),
        folded().features,
        np.empty((CLASSES, 0), dtype=np.float32),
        1.0,
        [1, 2],  # type: ignore[arg-type]
    )
    with pytest.raises(ValueError, match="of one size"):
        Problems((FOLDS[0], small))


def test_images_of_ones_own_count_in_the_memory_of_a_run() -> None:
    method = configure("proden", {})
    shared, separate = (together(problems)[0] for problems in ([FOLDS[0]] * 2, FOLDS[:2]))
    assert replica_bytes(method, separate) - replica_bytes(method, shared) == 4 * FOLDS[0].train.numel()


@dataclass(frozen=True)
class Looking(Viewed):
    """Asks for two other looks."""

    looks = 2

    def loss(self, output: Output, batch: Batch) -> torch.Tensor:
        """Not asked for here."""
        raise NotImplementedError


def test_the_noise_of_a_run_is_as_strong_in_a_stack_as_alone() -> None:
    crowd = replace(FOLDS[1], train=FOLDS[1].train / 10)
    images = torch.arange(8)

    def noise(problems: list[Problem], run: int) -> torch.Tensor:
        names = ["far" if p is FOLDS[0] else "near" for p in problems]
        masks = torch.ones(len(problems), len(crowd.train), CLASSES, dtype=torch.bool)
        studies = Problems(tuple(problems)).studies(masks, names, names)
        features = torch.stack([p.train[images] for p in problems])
        looks = view_maker(Looking(views="noise"), {}, studies)(0, 0, images.repeat(len(problems)), features)
        return looks[run] - features[run]

    torch.testing.assert_close(noise([FOLDS[0], crowd], 1), noise([crowd], 0))
    assert noise([FOLDS[0], crowd], 0).norm() > 5 * noise([crowd], 0).norm()


def test_truth_masks_are_each_runs_own() -> None:
    masks = Problems(tuple(FOLDS)).truths()
    for mask, fold in zip(masks, FOLDS, strict=True):
        np.testing.assert_array_equal(mask.argmax(1), fold.train_truth)
    assert len(Problems((FOLDS[0],) * 3).truths()) == 1


def test_without_unseen_or_validation_classes_there_is_nothing_to_rehearse() -> None:
    assert FOLDS[0].roles is None
    with pytest.raises(ValueError, match="not among the candidates"):
        folded(candidates=np.zeros((IMAGES, CLASSES), dtype=bool))
    with pytest.raises(ValueError, match="a row for each image"):
        folded(candidates=np.ones((CLASSES, IMAGES), dtype=bool))
