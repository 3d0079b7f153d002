import csv
import io
import shutil
import statistics
import subprocess
from dataclasses import replace
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_record import made_record

from pzsl_bench.base.errors import UserError
from pzsl_bench.contract import METHODS
from pzsl_bench.records.frame import gaps
from pzsl_bench.reports.table_formats import FORMATS, escape_latex
from pzsl_bench.reports.table_layout import arrange
from pzsl_bench.reports.tables import table

TITLES = {
    "clip_zero_shot": ("CLIP zero-shot", "clip"),
    "naive": ("Naive", "bound"),
    "oracle": ("Oracle", "bound"),
    "eszsl": ("ESZSL", "zsl"),
    "proden": ("PRODEN", "pll"),
}


def row(method: str, seed: int = 0, H: float | None = 0.5, **changes: Any) -> dict[str, Any]:
    name = method.partition("(")[0]
    title, family = TITLES.get(name, (name, "pll"))
    rate = changes.get("rate", 0.1)
    return {
        "dataset": "shapes",
        "encoder": "embedded",
        "ambiguity": "flip",
        "rate": rate,
        "method": method,
        "seed": seed,
        "status": "done",
        "H": H,
        "T1": 0.5,
        "seconds": 2.0,
        "candidates_hash": f"{changes.get('ambiguity', 'flip')}-{rate}-{seed}",
        "title": title,
        "family": family,
        "reveals_truth": name == "oracle",
        "transductive": False,
    } | changes


def frame(*rows: dict[str, Any]) -> pandas.DataFrame:
    return pandas.DataFrame(rows)


def seeds(method: str, *values: float, **changes: Any) -> list[dict[str, Any]]:
    return [row(method, seed, value, **changes) for seed, value in enumerate(values)]


FULL = frame(
    *(
        one
        for rate, drop in ((0.1, 0.0), (0.3, 0.1))
        for one in [
            *seeds("proden", 0.60 - drop, 0.62 - drop, 0.64 - drop, rate=rate),
            *seeds("eszsl", 0.50 - drop, 0.51 - drop, 0.52 - drop, rate=rate),
            *seeds("oracle", 0.90, 0.90, 0.90, rate=rate),
            *seeds("naive", 0.30, 0.30, 0.30, rate=rate),
            *seeds("clip_zero_shot", 0.40, 0.40, 0.40, rate=rate),
        ]
    )
)


def test_a_text_table_reads_like_a_paper():
    assert table(FULL, "H").splitlines() == [
        "Harmonic mean of seen and unseen accuracy (H), %; mean±standard deviation (n − 1) over n = 3 seeds; "
        "*best*, _second_.",
        "",
        "                    shapes      shapes",
        "                      flip        flip",
        "Method                 0.1         0.3",
        "--------------  ----------  ----------",
        "CLIP zero-shot    40.0±0.0    40.0±0.0",
        "Naive             30.0±0.0    30.0±0.0",
        "Oracle †          90.0±0.0    90.0±0.0",
        "--------------  ----------  ----------",
        "ESZSL           _51.0±1.0_  _41.0±1.0_",
        "--------------  ----------  ----------",
        "PRODEN          *62.0±2.0*  *52.0±2.0*",
        "",
        "† trained on true labels; not ranked.",
    ]
    assert "\n\n\n" not in table(FULL, "H")


def test_a_row_says_how_it_was_chosen_and_a_note_what_that_means():
    rows = [
        *seeds("proden", 0.6, 0.6),
        *seeds("proden [covering, 20 draws]", 0.7, 0.7),
        *seeds("proden(lr=0.1) [mean10]", 0.5, 0.5),
    ]
    out = table(frame(*(one | {"title": "PRODEN", "family": "pll"} for one in rows)), "H")
    assert "PRODEN [covering, 20 draws]" in out
    assert "PRODEN (lr=0.1) [mean10]" in out
    assert "[covering]: epoch and draw with the best covering rate" in out
    assert "[mean10]: mean over the last 10 epochs." in out
    assert "†" not in out


def test_a_row_chosen_by_true_labels_is_marked_and_not_ranked():
    oracle = [one | {"reveals_truth": True} for one in seeds("proden [oracle]", 0.9, 0.9)]
    chosen = [one | {"title": "PRODEN", "family": "pll"} for one in (*oracle, *seeds("proden", 0.6, 0.6))]
    out = table(frame(*chosen), "H")
    assert "PRODEN [oracle] †" in out
    assert "† chosen by true labels; not ranked." in out
    assert "*60.0±0.0*" in out
    assert "*90.0" not in out
    both = table(frame(*chosen, *seeds("oracle", 0.9, 0.9)), "H")
    assert "† trained on or chosen by true labels; not ranked." in both


def test_transductive_rows_have_a_block_of_their_own_and_are_not_ranked():
    together = [one | {"transductive": True} for one in seeds("proden(mode=together)", 0.9, 0.9)]
    both = frame(*together, *seeds("proden", 0.6, 0.6), *seeds("eszsl", 0.5, 0.5))
    layout = arrange(both, "H")
    assert [r.group for r in layout.rows] == ["zsl", "pll", "transductive"]
    out = table(both, "H")
    assert "PRODEN (mode=together) ‡" in out
    assert "‡ transductive: scored the unlabelled test images together; not ranked." in out
    assert "*60.0±0.0*" in out
    assert "*90.0" not in out
    assert r"\ddag{}" in table(both, "H", fmt="latex")
    assert "‡" not in table(frame(*seeds("proden", 0.6, 0.6)), "H")


def test_a_preset_names_its_row():
    rows = [*seeds("proden", 0.6, 0.6), *seeds("proden(lr=0.1,preset=no_mining)", 0.7, 0.7)]
    assert [r.label for r in arrange(frame(*rows), "H").rows] == ["PRODEN", "PRODEN (lr=0.1, no mining)"]


def test_the_bounds_stay_on_top_however_they_were_chosen():
    layout = arrange(frame(row("proden"), row("oracle [covering]", title="Oracle", reveals_truth=True)), "H")
    assert [r.group for r in layout.rows] == ["reference", "pll"]


def test_a_markdown_table_is_one():
    lines = table(FULL, "H", fmt="markdown").splitlines()
    assert "| Method         |  shapes flip 0.1 |  shapes flip 0.3 |".replace(" ", "") in [
        line.replace(" ", "") for line in lines
    ]
    assert any("**62.0±2.0**" in line and line.startswith("| PRODEN") for line in lines)
    assert any("<u>51.0±1.0</u>" in line for line in lines)
    assert lines[-1].startswith("†")


def test_a_latex_table_has_rules_spans_and_marks():
    both = frame(*FULL.to_dict("records"), *seeds("proden", 0.1, 0.2, 0.3, ambiguity="semantic"))
    lines = table(both, "H", fmt="latex").splitlines()
    assert lines[0] == r"% needs \usepackage{booktabs}"
    assert r" & \multicolumn{3}{c}{shapes} \\".strip() in lines
    assert r"\cmidrule(lr){2-4}" in lines
    assert r"& \multicolumn{2}{c}{flip} & \multicolumn{1}{c}{semantic} \\" in lines
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}" in lines
    assert r"Method & 0.1 & 0.3 & 0.1 \\" in lines
    spread = r"{\scriptsize$\pm$%s}"
    proden = [
        rf"\textbf{{{mean}}}" + spread % std for mean, std in (("62.0", "2.0"), ("52.0", "2.0"), ("20.0", "10.0"))
    ]
    assert " & ".join(["PRODEN", *proden]) + r" \\" in lines
    eszsl = [rf"\underline{{{mean}}}" + spread % "1.0" for mean in ("51.0", "41.0")]
    assert " & ".join(["ESZSL", *eszsl, "--"]) + r" \\" in lines
    assert r"Oracle \dag{} & 90.0{\scriptsize$\pm$0.0} & 90.0{\scriptsize$\pm$0.0} & -- \\" in lines
    caption = next(line for line in lines if line.startswith(r"\caption"))
    assert "n = 3 seeds" in caption
    assert r"\dag{} trained on true labels" in caption
    assert "harmonic mean" in caption.lower()


def test_csv_holds_the_numbers_unrounded():
    lines = list(csv.DictReader(io.StringIO(table(FULL, "H", fmt="csv"))))
    assert [line["method"] for line in lines] == ["clip_zero_shot", "naive", "oracle", "eszsl", "proden"]
    last = lines[-1]
    assert float(last["shapes/embedded/flip-0.3 mean"]) == pytest.approx(52)
    assert float(last["shapes/embedded/flip-0.3 std"]) == pytest.approx(2)
    assert last["shapes/embedded/flip-0.3 n"] == "3"


values = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@settings(deadline=None)
@given(values)
def test_a_cell_is_mean_and_sample_std_over_seeds(numbers):
    layout = arrange(frame(*seeds("proden", *numbers)), "H")
    entry = layout.entries[layout.rows[0], layout.columns[0]]
    assert entry.n == layout.seeds == len(numbers)
    assert entry.mean == pytest.approx(100 * statistics.fmean(numbers))
    if len(numbers) == 1:
        assert entry.std is None
    else:
        assert entry.std == pytest.approx(100 * statistics.stdev(numbers), abs=1e-9)


def marks(layout: Any) -> dict[str, str]:
    return {row.method: layout.entries[row, layout.columns[0]].mark for row in layout.rows}


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_best_and_second_are_the_two_highest_printed_values(tenths):
    methods = [row(f"m{n}", H=0.5 + value / 1000) for n, value in enumerate(tenths)]
    layout = arrange(frame(*methods, row("oracle", H=0.99)), "H")
    high = sorted(set(tenths), reverse=True)
    for n, value in enumerate(tenths):
        expected = "best" if value == high[0] else "second" if value in high[1:2] else ""
        assert marks(layout)[f"m{n}"] == expected
    assert marks(layout)["oracle"] == ""


def test_what_reads_the_same_is_marked_the_same():
    found = marks(arrange(frame(row("a", H=0.54321), row("b", H=0.54318), row("c", H=0.4)), "H"))
    assert found == {"a": "best", "b": "best", "c": "second"}


def test_bounds_come_first_and_families_follow():
    mixed = [row(m) for m in ("zzz", "proden", "oracle", "eszsl", "naive", "clip_zero_shot")]
    mixed.append(row("other", family="unheard of"))
    names = [r.method for r in arrange(frame(*mixed), "H").rows]
    assert names == ["clip_zero_shot", "naive", "oracle", "eszsl", "zzz", "proden", "other"]


def test_a_plug_in_may_stand_among_the_first_rows(monkeypatch):
    cls = METHODS.get("clip_zero_shot")
    facts = {"name": "ensemble", "title": "Ensemble"}
    monkeypatch.setitem(METHODS.found, "ensemble", type("Ensemble", (cls,), {"info": replace(cls.info, **facts)}))
    mixed = [row("proden"), row("ensemble", family="clip"), row("ceiling", family="bound", reveals_truth=True)]
    rows = arrange(frame(*mixed), "H").rows
    assert [r.method for r in rows] == ["ensemble", "ceiling", "proden"]
    assert [r.group for r in rows] == ["reference", "reference", "pll"]


def test_only_settings_that_distinguish_are_shown():
    rows = [
        row("eszsl(alpha=1,candidates_as=random)"),
        row("eszsl(alpha=1,candidates_as=uniform)"),
        row("proden(epochs=5)"),
    ]
    labels = [r.label for r in arrange(frame(*rows), "H").rows]
    assert labels == ["ESZSL (candidates_as=random)", "ESZSL (candidates_as=uniform)", "PRODEN"]


def test_two_methods_of_one_title_are_told_apart():
    labels = [r.label for r in arrange(frame(row("a", title="Same"), row("b", title="Same")), "H").rows]
    assert labels == ["Same [a]", "Same [b]"]


def test_one_seed_has_no_spread():
    out = table(frame(row("proden", H=0.5432)), "H")
    assert "54.3" in out
    assert "±" not in out
    assert "one seed (n = 1)" in out


def test_missing_cells_are_dashes_and_missing_seeds_are_counted():
    rows = [*seeds("proden", 0.5, 0.6, 0.7), *seeds("eszsl", 0.9, 0.9), row("naive", rate=0.3, H=0.2)]
    out = table(frame(*rows), "H")
    assert "90.0±0.0 (2/3)" in out
    assert "*60.0±10.0*" in out
    assert "*20.0* (1/3)" in out
    assert "–" in next(line for line in out.splitlines() if line.startswith("ESZSL"))
    assert "only k of 3 seeds" in out


def test_how_many_seeds_there_should_be_can_be_said():
    assert "(1/5)" in table(frame(row("proden")), "H", seeds=5)


def test_an_incomplete_grid_is_still_ranked_among_equals():
    assert "*60.0±0.0* (2/3)" in table(frame(*seeds("proden", 0.6, 0.6), *seeds("eszsl", 0.5, 0.5)), "H", seeds=3)


def test_failed_and_diverged_cells_are_counted_and_never_averaged():
    rows = [
        *seeds("proden", 0.5, 0.6),
        row("proden", 2, 0.99, status="diverged"),
        row("eszsl", 0, None, status="failed"),
        row("eszsl", 1, float("nan"), status="failed"),
    ]
    out = table(frame(*rows), "H")
    assert "55.0±7.1* (2/3)" in out
    assert "2 failed and 1 diverged cells are left out." in out
    assert "1 failed cell is left out." in table(frame(row("proden"), row("eszsl", 0, None, status="failed")), "H")


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_missing(nothing):
    out = table(frame(row("clip_zero_shot", H=nothing), row("proden", H=0.5)), "H")
    assert "–" in next(line for line in out.splitlines() if line.startswith("CLIP"))
    assert "nan" not in out
    assert "inf" not in out


def test_a_grid_in_which_everything_failed_still_has_a_table():
    out = table(frame(row("proden", H=None, status="failed")), "H")
    assert "–" in out
    assert "1 failed" in out


def test_encoders_are_shown_only_where_they_tell_columns_apart():
    assert "embedded" not in table(frame(row("proden")), "H")
    two = frame(row("proden"), row("proden", encoder="ViT-B-32", candidates_hash="other"))
    out = table(two, "H")
    assert "embedded" in out
    assert "ViT-B-32" in out


def test_columns_are_sorted_by_rate_inside_an_ambiguity():
    rows = [row("proden", rate=rate, ambiguity=ambiguity) for rate in (0.5, 0.1) for ambiguity in ("semantic", "flip")]
    columns = [(c.ambiguity, c.rate) for c in arrange(frame(*rows), "H").columns]
    assert columns == [("semantic", 0.1), ("semantic", 0.5), ("flip", 0.1), ("flip", 0.5)]


def noisy_rows(*noises: float, rate: float = 0.3) -> list[dict[str, Any]]:
    changes = {"ambiguity": "flip_noisy", "rate": rate}
    return [row("proden", noise=n, candidates_hash=f"{n}", H=0.6 - n, **changes) for n in noises]


def test_noise_stands_beside_the_rate_in_heads_of_ambiguities_that_have_some():
    out = table(frame(row("proden", noise=0.0), *noisy_rows(0.0, 0.1)), "H", fmt="markdown")
    assert "| Method | shapes flip 0.1 | shapes flip_noisy 0.3, noise 0 | shapes flip_noisy 0.3, noise 0.1 |" in (
        " ".join(line.split()) for line in out.splitlines()
    )
    text = table(frame(*noisy_rows(0.1)), "H")
    assert "0.3, noise 0.1" in text
    assert "noise" not in table(FULL, "H")
    assert "shapes/embedded/flip_noisy-0.3-noise0.1 mean" in table(frame(*noisy_rows(0.1)), "H", fmt="csv")


def test_columns_are_sorted_by_rate_and_then_by_noise():
    rows = [*noisy_rows(0.2, 0.0, rate=0.5), *noisy_rows(0.1, 0.2, 0.0, rate=0.1)]
    columns = [(c.rate, c.noise) for c in arrange(frame(*rows), "H").columns]
    assert columns == [(0.1, 0.0), (0.1, 0.1), (0.1, 0.2), (0.5, 0.0), (0.5, 0.2)]


def test_cells_of_different_noise_are_never_one_entry():
    layout = arrange(frame(*noisy_rows(0.0, 0.1)), "H")
    assert sorted(entry.mean for entry in layout.entries.values()) == pytest.approx([50.0, 60.0])
    assert not layout.encoders


def test_costs_are_printed_as_they_are_and_not_ranked():
    out = table(frame(row("proden"), row("eszsl", seconds=1.25)), "seconds")
    assert "2.0" in out
    assert "%" not in out
    assert "*" not in out


def test_cells_with_different_candidate_sets_are_never_compared():
    with pytest.raises(UserError, match=r"proden and eszsl .*/flip-0.1 with seed 0"):
        table(frame(row("proden"), row("eszsl", candidates_hash="other")), "H")


def test_different_candidate_sets_are_fine_for_other_seeds_and_for_cells_that_failed():
    rows = [row("proden", 0), row("proden", 1, candidates_hash="x"), row("eszsl", status="failed", candidates_hash="")]
    assert "50.0" in table(frame(*rows), "H")


def test_two_results_for_one_cell_are_refused():
    with pytest.raises(UserError, match="two results for one cell: proden"):
        table(frame(row("proden"), row("proden")), "H")


def test_a_table_leaves_out_datasets_that_are_asked_for_something_else():
    tags = row("naive", dataset="scenes", ambiguity="rps", H=None, T1=None, mAP_zsl=0.4)
    both = frame(row("naive"), tags)
    assert [column.dataset for column in arrange(both, "mAP_zsl").columns] == ["scenes"]
    assert [column.dataset for column in arrange(both, "H").columns] == ["shapes"]
    assert [column.dataset for column in arrange(both, "seconds").columns] == ["shapes", "scenes"]
    assert "preset lesa" in table(both, "mAP_zsl")


def test_a_metric_of_tags_that_is_missing_is_told_with_those_that_are_there():
    no = float("nan")
    only = frame(row("naive", H=no, T1=no, mAP_zsl=0.4, mAP_gzsl=no))
    with pytest.raises(UserError, match="no result of this grid has mAP_gzsl; there is: mAP_zsl"):
        table(only, "mAP_gzsl")


@pytest.mark.parametrize(("wrong", "right"), [("h", "'H'"), ("T_1", "'T1'"), ("second", "'seconds'")])
def test_an_unknown_metric_is_told_with_the_nearest(wrong, right):
    with pytest.raises(UserError, match=f"unknown metric .* did you mean {right}"):
        table(frame(row("proden")), wrong)


@pytest.mark.parametrize("column", ["seed", "rate", "title", "candidates_hash"])
def test_a_coordinate_is_no_metric(column):
    with pytest.raises(UserError, match="unknown metric"):
        table(frame(row("proden")), column)


def test_an_unknown_format_is_told_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'latex'"):
        table(frame(row("proden")), "H", fmt="latx")  # type: ignore[arg-type]


def test_nothing_to_show_is_said():
    with pytest.raises(UserError, match="no results"):
        table(FULL.iloc[:0], "H")


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shown", [FULL, frame(row("proden"))], ids=["notes", "no notes"])
def test_every_format_ends_its_last_line(fmt, shown):
    out = table(shown, "H", fmt=fmt)
    assert out.endswith("\n")
    assert not out.endswith("\n\n")


ENGINES = [name for name in ("pdflatex", "tectonic", "xelatex", "lualatex") if shutil.which(name)]
NASTY = r"50% of A&B_1 #2 {x} $5 ~ ^ \end{tabular} <a|b> \"q\" γ λ ± × – é"
WIDE = frame(
    *(
        one | {"ambiguity": ambiguity, "candidates_hash": ""}
        for ambiguity in ("flip", "semantic")
        for rate in (0.1, 0.3, 0.5)
        for method in TITLES
        for one in seeds(method, 0.5, 0.6, 0.7, rate=rate)
    )
)


@pytest.mark.slow
@pytest.mark.skipif(not ENGINES, reason="no TeX engine on PATH (pdflatex, tectonic, xelatex, lualatex)")
def test_the_latex_compiles(tmp_path):
    nasty = [
        row("proden", title=NASTY, dataset="shapes:odd_1&2", candidates_hash="", ambiguity="a_b"),
        row("proden", 1, None, status="failed", title=NASTY, dataset="shapes:odd_1&2", ambiguity="a_b"),
    ]
    body = "\n".join(table(f, m, fmt="latex") for f in (FULL, WIDE, frame(*nasty)) for m in ("H", "seconds"))
    source = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "t.tex").write_text(source, encoding="utf-8")
    engine = ENGINES[0]
    options = [] if engine == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([engine, *options, "t.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000
    # Two ambiguities at three rates fit the text width of a one-column paper; a title of 70 letters need not.
    assert done.stdout.count("Overfull") <= 2


@given(st.text("\\&%$#_{}~^", max_size=20))
def test_no_special_letter_reaches_latex_bare(text):
    out = escape_latex(text)
    for macro in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}"):
        out = out.replace(macro, "")
    for escaped in (r"\&", r"\%", r"\$", r"\#", r"\_", r"\{", r"\}"):
        out = out.replace(escaped, "")
    assert out == ""


def test_an_entry_without_a_number_is_a_dash_and_the_reason_stands_below_once():
    few = [*seeds("proden", 0.5, 0.6, dataset="few", H_cal=None), *seeds("eszsl", 0.4, 0.5, dataset="few", H_cal=None)]
    many = [*seeds("proden", 0.5, 0.6, H_cal=0.7), *seeds("eszsl", 0.4, 0.5, H_cal=0.6)]
    why = "on few: no rehearsal can be held, since no class that is trained on has a second image."
    lines = table(frame(*few, *many), "H_cal", gaps=[why]).splitlines()
    (proden,) = (line for line in lines if line.startswith("PRODEN"))
    assert proden.split() == ["PRODEN", "–", "*70.0±0.0*"]
    assert [line for line in lines if "second image" in line] == [f"– {why}"]
    with pytest.raises(UserError, match=r"no result of this grid has H_cal \(on few: no rehearsal can be held"):
        table(frame(*few), "H_cal", gaps=[why])


def test_the_reasons_of_records_are_told_once_for_all_datasets_that_share_them():
    why = "no test image is of a seen class"
    records = [
        made_record(
            {"d": d, "m": m},
            dataset=d,
            rate=0.1,
            method=m,
            row=m,
            title=m,
            family="pll",
            settings={},
            seed=0,
            metrics={"H": None},
            curves={},
            candidates_hash="c",
            mean_candidates=1.0,
            seconds=1.0,
            peak_mb=1.0,
            absent={"H": why} if d != "c" else {},
        )
        for d in ("a", "b", "c")
        for m in ("proden", "eszsl")
    ]
    assert gaps(records, "H") == [f"on a, b: {why}."]
    assert gaps(records, "T1") == []


def test_nobody_is_best_at_zero():
    cells = arrange(frame(*seeds("proden", 0.0, 0.0), *seeds("eszsl", 0.0, 0.0)), "H").entries.values()
    assert [entry.mark for entry in cells] == ["", ""]
    cells = arrange(frame(*seeds("proden", 0.1, 0.1), *seeds("eszsl", 0.0, 0.0)), "H").entries.values()
    assert sorted(entry.mark for entry in cells) == ["", "best"]
