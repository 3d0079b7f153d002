"""Rows that learnt nothing are named at the end of a run."""

from __future__ import annotations

from typing import Any

from made_record import made_record

from pzsl_bench.planning.plan import Classes
from pzsl_bench.records.record import Record, Status
from pzsl_bench.reports.weak_rows import weak_rows

CLASSES = {"shapes": Classes(40, 20), "small": Classes(4, 3)}


def record(row: str, T1: float | None, seen_acc: float | None = 0.8, **changes: Any) -> Record:
    facts: dict[str, Any] = {
        "rate": 0.1,
        "method": row,
        "row": row,
        "title": row,
        "family": "pll",
        "settings": {},
        "seed": 0,
        "metrics": {"T1": T1, "seen_acc": seen_acc},
        "curves": {},
        "candidates_hash": "c",
        "mean_candidates": 1.0,
        "seconds": 1.0,
        "peak_mb": 1.0,
    } | changes
    return made_record({"row": row, **{k: str(v) for k, v in changes.items()}}, **facts)


def test_a_run_at_chance_is_named_however_good_the_other_seeds_are() -> None:
    runs = [record("lineage", 0.05, seed=0), record("lineage", 0.65, seed=1), record("proden", 0.7)]
    expected = "lineage is at chance in 1 of 2 runs, as in shapes/flip-0.1/seed 0: T1 5.0 %, chance 5.0 %"
    assert weak_rows(runs, CLASSES) == [expected]
    assert weak_rows([record("a", None, 0.03)], CLASSES)[0].endswith("seen_acc 3.0 %, chance 2.5 %")


def test_among_few_classes_a_little_more_than_chance_is_more_than_chance() -> None:
    assert weak_rows([record("a", 0.40, dataset="small")], CLASSES) == []
    assert weak_rows([record("a", 0.35, dataset="small")], CLASSES) != []


def test_a_row_far_below_zero_shot_clip_is_named_where_that_is_in_the_grid() -> None:
    runs = [record("a", 0.3), record("a", 0.31, rate=0.5), record("b", 0.5)]
    assert weak_rows(runs, CLASSES) == []
    clip = [record("clip_zero_shot", 0.71), record("clip_zero_shot", 0.71, rate=0.5)]
    (sentence,) = weak_rows([*runs, *clip], CLASSES)
    assert sentence == "a is far below zero-shot CLIP in 2 columns, most on shapes/flip-0.1: T1 30.0 %, CLIP 71.0 %"


def test_bounds_failures_and_other_tasks_are_not_named() -> None:
    quiet = [
        record("naive", 0.05, family="bound"),
        record("broken", 0.05, status=Status.DIVERGED),
        record("elsewhere", 0.01, dataset="of tags"),
        record("without", None, None),
    ]
    assert weak_rows(quiet, CLASSES) == []


def test_a_column_with_noise_is_named_with_it_and_measured_by_its_own_clip() -> None:
    noisy = {"ambiguity": "flip_noisy", "noise": 0.3}
    runs = [record("clip_zero_shot", 0.2), record("clip_zero_shot", 0.8, **noisy), record("a", 0.35, **noisy)]
    (remark,) = weak_rows(runs, CLASSES)
    assert "on shapes/flip_noisy-0.1-noise0.3" in remark
