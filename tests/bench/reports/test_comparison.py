from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_record import made_record

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import configure
from pzsl_bench.planning.plan import Plan, Planned, State
from pzsl_bench.reports.comparison import Comparison, Spread, compare, spread, verdict
from pzsl_bench.reports.comparison_formats import FORMATS, render
from pzsl_bench.reports.landmark import Landmark, load_landmark

SHEET = """
title: A small table
origin: recalled
source: the tests
metric: seen_acc
grid:
  datasets: ["synthetic:seen=8:unseen=3:dim=16"]
  ambiguities: [flip]
  rates: [0.3]
  methods: [naive, proden, oracle]
rows:
  naive: {mean: 30, std: 3, n: 9}
  proden: {mean: 50, std: 3, n: 9, note: "another\\n  seed"}
  oracle: {mean: 70, n: 1}
"""
numbers = st.floats(-1e3, 1e3, allow_nan=False)
spreads = st.builds(Spread, numbers, st.none() | st.floats(0, 1e3), st.integers(1, 100))


@pytest.fixture
def landmark(tmp_path: Path) -> Landmark:
    file = tmp_path / "small.yaml"
    file.write_text(SHEET, encoding="utf-8")
    return load_landmark(str(file))


def rows() -> list[Comparison]:
    """One that agrees, one that is explained, one without a result."""
    return [
        Comparison("naive", Spread(30, 3, 9), Spread(31, 4, 16)),
        Comparison("proden", Spread(50, 3, 9), Spread(56, 4, 16), "another\n  seed"),
        Comparison("oracle", Spread(70, None, 1), None),
    ]


def test_the_difference_is_measured_in_the_standard_error_of_both_means() -> None:
    row = Comparison("a", theirs=Spread(50.0, 3.0, 9), ours=Spread(52.5, 8.0, 16))
    assert row.difference == 2.5
    assert row.error == pytest.approx(math.sqrt(1.0**2 + 2.0**2))
    assert row.errors == pytest.approx(2.5 / math.sqrt(5))
    assert row.agrees is True
    assert row.within_theirs is False, "2.5 is more than twice 3 / sqrt(9)"


def test_a_difference_beyond_two_errors_needs_a_note() -> None:
    theirs, ours = Spread(50.0, 3.0, 9), Spread(44.0, 8.0, 16)
    alone, noted = Comparison("a", theirs, ours), Comparison("a", theirs, ours, "their labels were cleaned")
    assert alone.errors == pytest.approx(-6 / math.sqrt(5))
    assert (alone.agrees, alone.sound) == (False, False)
    assert (noted.agrees, noted.sound) == (False, True)


def test_without_any_spread_only_the_same_printed_number_agrees() -> None:
    assert Comparison("a", Spread(59.4, None, 1), Spread(59.402, None, 1)).agrees is True
    assert Comparison("a", Spread(59.4, 0.0, 3), Spread(59.42, 0.0, 3)).agrees is False
    assert Comparison("a", Spread(59.4, 0.0, 3), Spread(59.42, 0.0, 3)).errors is None


def test_a_row_without_a_result_is_never_sound() -> None:
    row = Comparison("a", Spread(50.0, 3.0, 9), None, "never mind")
    assert row.difference is row.errors is row.agrees is row.within_theirs is None
    assert not row.sound


def test_runs_that_all_diverged_take_a_note() -> None:
    alone = Comparison("a", Spread(10.0, 2.7, 10), None, diverged=10)
    noted = Comparison("a", Spread(10.0, 2.7, 10), None, "so do theirs", diverged=10)
    assert (alone.sound, noted.sound) == (False, True)
    assert "without a result: a" in verdict([alone])
    assert "explained by a note: a" in verdict([noted])


@given(theirs=spreads, ours=spreads)
def test_who_is_called_theirs_changes_only_the_sign(theirs: Spread, ours: Spread) -> None:
    row, back = Comparison("a", theirs, ours), Comparison("a", ours, theirs)
    assert row.agrees == back.agrees
    assert row.error == back.error
    assert row.errors == (None if back.errors is None else -back.errors)


@given(theirs=spreads, ours=spreads)
def test_what_lies_within_two_errors_of_theirs_agrees(theirs: Spread, ours: Spread) -> None:
    row = Comparison("a", theirs, ours)
    assert row.agrees or not row.within_theirs


@given(st.lists(numbers, max_size=20))
def test_a_spread_is_numpys_mean_and_sample_deviation(values: list[float]) -> None:
    found = spread(values)
    if not values:
        assert found is None
        return
    assert found is not None
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if len(values) == 1:
        assert found.std is None
    else:
        assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-9)


def test_the_verdict_names_every_row_that_needs_a_look() -> None:
    apart = Comparison("mae", Spread(30, 1, 9), Spread(40, 1, 9))
    assert verdict([*rows(), apart]) == (
        "1 of 4 rows agree within 2 standard errors of the difference; explained by a note: proden; "
        "apart without a reason: mae; without a result: oracle."
    )


def test_text_shows_both_sides_and_the_notes(landmark: Landmark) -> None:
    text = render(landmark, rows())
    assert "A small table: class-averaged accuracy on seen classes" in text
    assert "recalled: from memory" in text
    lines = {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}
    assert lines["naive"] == ["30.00±3.00", "(9)", "31.00±4.00", "(16)", "+1.00", "+0.7", "yes"]
    assert lines["proden"][-5:] == ["+6.00", "+4.2", "no,", "see", "note"]
    assert lines["proden:"] == ["another", "seed"]
    assert lines["oracle"] == ["70.00", "(1)", "–", "–", "–", "–"]
    assert text.endswith("without a result: oracle.\n")


def test_markdown_is_a_table_with_its_notes_as_a_list(landmark: Landmark) -> None:
    row = Comparison("oracle", Spread(70, None, 1), Spread(71, 1, 2), diverged=1)
    assert "| 71.00±1.00 (2), 1 diverged |" in " ".join(render(landmark, [row], "markdown").split())
    text = render(landmark, rows(), "markdown")
    assert "| proden | 50.00±3.00 (9) | 56.00±4.00 (16) |" in " ".join(text.split())
    assert "\n- proden: another seed\n" in text


def test_csv_and_json_hold_the_unrounded_numbers(landmark: Landmark) -> None:
    facts = json.loads(render(landmark, rows(), "json"))
    assert facts["landmark"] == "small"
    assert facts["origin"] == "recalled"
    first = facts["rows"][0]
    assert first["difference_in_errors"] == pytest.approx(1 / math.sqrt(2))
    assert (first["agrees"], first["within_two_errors_of_theirs"]) == (True, True)
    assert facts["rows"][2]["ours_mean"] is None
    table = list(csv.DictReader(io.StringIO(render(landmark, rows(), "csv"))))
    assert [row["row"] for row in table] == ["naive", "proden", "oracle"]
    assert float(table[0]["difference_in_errors"]) == first["difference_in_errors"]
    assert table[1]["note"] == "another seed"


TAGS = """
title: Tags
origin: secondary
source: the tests
remark: "Frozen here,\\n  trained there."
metric: mAP_zsl_sdl
grid:
  datasets: ["synthetic:tags"]
  ambiguities: [rps]
  rates: [0]
  methods: [clip_zero_shot, sdl]
rows:
  clip_zero_shot: null
  sdl: {mean: 26, n: 1, note: another network}
also:
  F1_at_3_gzsl_sdl: {sdl: {mean: 18.5, n: 1, note: another network}}
others:
  CONSE: {network: VGG, source: a table, values: {mAP_zsl: 9.4, F1_at_3_zsl: 21.6}}
  Fast0Tag: {network: VGG, source: a table, values: {mAP_zsl: 15}}
  DualCoOp: {network: CLIP, source: a leaderboard that does not say which}
"""


@pytest.fixture
def tags(tmp_path: Path) -> Landmark:
    file = tmp_path / "tags.yaml"
    file.write_text(TAGS, encoding="utf-8")
    return load_landmark(str(file))


def tag_rows() -> list[Comparison]:
    """Two metrics of a row that nothing is known of and of one that is apart."""
    return [
        Comparison("clip_zero_shot", None, Spread(40, 0, 3), metric="mAP_zsl_sdl"),
        Comparison("sdl", Spread(26, None, 1), Spread(45, 1, 3), "another network", metric="mAP_zsl_sdl"),
        Comparison("clip_zero_shot", None, Spread(20, 0, 3), metric="F1_at_3_gzsl_sdl"),
        Comparison("sdl", Spread(18.5, None, 1), Spread(30, 1, 3), "another network", metric="F1_at_3_gzsl_sdl"),
    ]


def test_a_row_of_which_nothing_is_known_needs_a_result_and_nothing_else() -> None:
    shown, missing = Comparison("a", None, Spread(40, 1, 3)), Comparison("a", None, None)
    assert shown.difference is shown.errors is shown.agrees is shown.within_theirs is None
    assert (shown.sound, missing.sound) == (True, False)
    assert verdict([shown]) == "for orientation only: a."
    assert verdict([missing]) == "without a result: a."


def test_the_remark_stands_above_the_numbers_and_the_methods_not_run_below(tags: Landmark) -> None:
    text = render(tags, tag_rows())
    order = [
        "Theirs secondary: read in a leaderboard",
        "Frozen here, trained there.",
        "26.00 (1)",
        "sdl (mAP_zsl_sdl), sdl (F1_at_3_gzsl_sdl): another network",
        "0 of 2 rows agree",
        "Published for methods that are not run here, %:",
        "CONSE  ",
        "CONSE, Fast0Tag: a table",
        "DualCoOp: a leaderboard that does not say which",
    ]
    assert [text.count(piece) for piece in order] == [1] * len(order)
    assert sorted(order, key=text.index) == order
    assert "F1_at_3_gzsl_sdl: F1 of the 3 best among seen and unseen tags (F1@3, GZSL, preset sdl)." in text


def test_a_real_encoder_is_named_beside_ours(tags: Landmark) -> None:
    named = load_landmark("coco-48-17", "ViT-B-32:laion2b_s34b_b79k")
    assert "Ours with encoder ViT-B-32:laion2b_s34b_b79k." in render(named, tag_rows())
    assert "Ours with encoder" not in render(tags, tag_rows())


def test_rows_of_several_metrics_name_theirs(tags: Landmark) -> None:
    words = [line.split() for line in render(tags, tag_rows()).splitlines()]
    assert ["clip_zero_shot", "mAP_zsl_sdl", "–", "40.00±0.00", "(3)", "–", "–", "–"] in words
    assert ["Fast0Tag", "VGG", "15.0", "–"] in words
    facts = json.loads(render(tags, tag_rows(), "json"))
    assert [row["metric"] for row in facts["rows"]] == ["mAP_zsl_sdl"] * 2 + ["F1_at_3_gzsl_sdl"] * 2
    assert facts["rows"][0]["theirs_mean"] is None
    assert facts["others"]["CONSE"]["values"] == {"mAP_zsl": 9.4, "F1_at_3_zsl": 21.6}
    assert facts["remark"].startswith("Frozen here")
    markdown = render(tags, tag_rows(), "markdown")
    assert "\n\nFrozen here, trained there.\n\n|" in markdown
    assert "\n- CONSE, Fast0Tag: a table\n" in markdown


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_of_tags_ends_with_one_line_end(tags: Landmark, fmt: str) -> None:
    text = FORMATS[fmt](tags, tag_rows())  # type: ignore[index]
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_ends_with_one_line_end(landmark: Landmark, fmt: str) -> None:
    text = FORMATS[fmt](landmark, rows())  # type: ignore[index]
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_a_metric_that_could_not_be_had_is_refused_with_its_reason(landmark: Landmark) -> None:
    cells = landmark.cells()["naive"]
    facts: dict[str, Any] = {
        "rate": 0.3,
        "method": "naive",
        "row": "naive",
        "title": "Naive",
        "family": "bound",
        "settings": {},
        "seed": 0,
        "curves": {},
        "candidates_hash": "c",
        "mean_candidates": 1.0,
        "seconds": 1.0,
        "peak_mb": 1.0,
    }
    why = "no test image is of a seen class"
    record = made_record({}, metrics={"seen_acc": None, "T1": 0.5}, absent={"seen_acc": why}, **facts)
    planned = Planned(cells[0], configure("naive", {}), {}, "", State.DONE, record)
    with pytest.raises(UserError, match=f"naive has no seen_acc on shapes: {why}"):
        compare(landmark.only(["naive"]), Plan("small", [planned], [], 0.0))
