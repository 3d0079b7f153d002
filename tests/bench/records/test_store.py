import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_record import made_record

from pzsl_bench.base.errors import UserError
from pzsl_bench.records.cell import Cell
from pzsl_bench.records.frame import frame, metric_columns
from pzsl_bench.records.record import Record, Status
from pzsl_bench.records.store import SAFE, SLUG_LENGTH, Records, slug
from pzsl_bench.records.trial import Trial

CELL = Cell("shapes:odd", "embedded", "flip", 0.3, "eszsl", (("candidates_as", "random"),), 1)


def record(cell: Cell = CELL, **changes: Any) -> Record:
    facts: dict[str, Any] = {
        **{
            name: getattr(cell, name)
            for name in ("dataset", "encoder", "ambiguity", "rate", "noise", "method", "row", "seed")
        },
        "title": "ESZSL",
        "family": "zsl",
        "settings": {"candidates_as": "random", "alpha": 1.0},
        "metrics": {"T1": 0.5, "U": 0.4, "S": 0.6, "H": 0.48, "seen_acc": 0.7, "D": None},
        "curves": {"loss": [1.0, 0.5]},
        "candidates_hash": "c0ffee",
        "mean_candidates": 12.7,
        "seconds": 0.25,
        "peak_mb": 100.0,
    }
    return made_record({"cell": str(cell), "version": 1}, **(facts | changes))


def test_a_saved_record_is_found_again_unchanged(tmp_path):
    store = Records(tmp_path)
    saved = record()
    path = store.save(saved)
    assert path == store.path(CELL, saved.hash)
    assert store.find(CELL, saved.hash) == saved
    assert store.load(path) == saved
    assert list(store.all()) == [saved]
    assert store.problems == []


def test_a_path_says_what_it_holds(tmp_path):
    path = Records(tmp_path).path(replace(CELL, dataset="shapes", settings=()), "0123456789abcdef")
    assert path.relative_to(tmp_path).as_posix() == "shapes/embedded/flip-0.3/eszsl/seed1-0123456789ab.json"


def test_a_path_names_the_noise_where_there_is_some(tmp_path):
    noisy = replace(CELL, dataset="shapes", settings=(), ambiguity="flip_noisy")
    without, some = (Records(tmp_path).path(replace(noisy, noise=noise), "0123456789abcdef") for noise in (0.0, 0.25))
    assert without.relative_to(tmp_path).as_posix() == "shapes/embedded/flip_noisy-0.3/eszsl/seed1-0123456789ab.json"
    assert some.relative_to(tmp_path).as_posix() == (
        "shapes/embedded/flip_noisy-0.3-noise0.25/eszsl/seed1-0123456789ab.json"
    )
    assert str(replace(noisy, noise=0.25)) == "shapes/embedded/flip_noisy-0.3-noise0.25/eszsl/seed 1"


def test_a_record_from_before_there_was_noise_is_read_as_one_without(tmp_path):
    store = Records(tmp_path)
    path = store.save(record())
    content = json.loads(path.read_text())
    del content["noise"]
    path.write_text(json.dumps(content))
    assert store.find(CELL, record().hash) == record()
    assert store.find(CELL, record().hash).noise == 0
    assert frame(store.all())["noise"].tolist() == [0.0]


def test_records_with_other_noise_are_not_stale_ones_of_a_cell(tmp_path):
    store = Records(tmp_path)
    store.save(record(replace(CELL, noise=0.1), hash="a" * 64))
    assert store.others(CELL, "b" * 64) == []


def test_numbers_survive_to_the_bit_also_those_that_are_not_finite(tmp_path):
    store = Records(tmp_path)
    curves = {"loss": [0.1 + 0.2, 1e-320, float("inf"), float("nan")]}
    back = store.load(store.save(record(curves=curves, status=Status.DIVERGED)))
    assert back is not None
    assert back.status is Status.DIVERGED
    assert [value.hex() for value in back.curves["loss"]] == [value.hex() for value in curves["loss"]]


def test_saving_again_replaces_the_record(tmp_path):
    store = Records(tmp_path)
    store.save(record(status=Status.FAILED, error="Traceback ...\n  File\nValueError: no"))
    store.save(record())
    assert [r.status for r in store.all()] == [Status.DONE]


def test_a_name_that_was_never_saved_is_missing(tmp_path):
    store = Records(tmp_path / "nowhere")
    assert store.find(CELL, "ab" * 32) is None
    assert store.others(CELL, "ab" * 32) == []
    assert list(store.all()) == []
    assert store.problems == []


def test_the_same_first_letters_of_a_hash_are_not_the_same_result(tmp_path):
    store = Records(tmp_path)
    store.save(record(hash="0123456789abcdef"))
    assert store.find(CELL, "0123456789abffff") is None


def test_the_same_place_under_another_name_is_stale_and_other_seeds_are_not(tmp_path):
    store = Records(tmp_path)
    old = store.save(record(hash="a" * 64))
    new = store.save(record(hash="b" * 64))
    store.save(record(replace(CELL, seed=11)))
    store.save(record(replace(CELL, rate=0.5)))
    assert store.others(CELL, "b" * 64) == [old]
    assert store.others(CELL, "c" * 64) == [old, new]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"null", b'{"hash": "x"}'])
def test_a_damaged_record_is_set_aside_told_and_taken_as_missing(tmp_path, content):
    store = Records(tmp_path)
    saved = record()
    path = store.save(saved)
    path.write_bytes(content)
    assert store.find(CELL, saved.hash) is None
    assert not path.exists()
    assert path.with_name(path.name + ".corrupt").read_bytes() == content
    assert len(store.problems) == 1
    assert str(path) in store.problems[0]
    assert "\n" not in store.problems[0]


def test_a_truncated_record_is_never_read_as_a_whole_one(tmp_path):
    store = Records(tmp_path)
    path = store.save(record())
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        assert store.load(path) is None


def test_damaged_records_are_numbered_and_none_is_lost(tmp_path):
    store = Records(tmp_path)
    for content in ("one", "two", "three"):
        path = store.save(record())
        path.write_text(content)
        assert store.load(path) is None
    aside = sorted(path.parent.glob("*.corrupt"))
    assert sorted(p.read_text() for p in aside) == ["one", "three", "two"]
    assert len(store.problems) == 3


def test_a_folder_in_the_place_of_a_record_is_told_and_left_alone(tmp_path):
    store = Records(tmp_path)
    path = store.path(CELL, record().hash)
    path.mkdir(parents=True)
    assert store.load(path) is None
    assert path.is_dir()
    assert len(store.problems) == 1


def test_leftovers_are_ignored_and_swept_by_the_next_save_of_that_record_only_when_old(tmp_path):
    store = Records(tmp_path)
    path = store.path(CELL, record().hash)
    path.parent.mkdir(parents=True)
    old, young, other = (path.with_name(f".{name}.tmp") for name in (f"{path.name}.1", f"{path.name}.2", "x.1"))
    for part in (old, young, other):
        part.write_text("{")
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    os.utime(other, (hours_ago, hours_ago))
    assert list(store.all()) == []
    assert old.exists()
    store.save(record())
    assert [p.exists() for p in (old, young, other)] == [False, True, True]
    assert len(list(store.all())) == 1
    assert store.problems == []


def test_a_save_that_fails_leaves_the_old_record_and_no_litter(tmp_path, monkeypatch):
    store = Records(tmp_path)
    saved = record()
    path = store.save(saved)

    def full_disk(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        store.save(record(seconds=9.0))
    assert store.load(path) == saved
    assert list(path.parent.iterdir()) == [path]


KILLED_AT_EVERY_STEP = """
import os, signal, sys
from pathlib import Path
from pzsl_bench.records.record import Record
from pzsl_bench.records.store import Records
TOUCHES_THE_DISK = {"open", "write", "flush", "fsync", "close", "__exit__", "replace", "rename", "unlink"}
old, new = (Record.model_validate_json(line) for line in sys.stdin)
store = Records(Path(sys.argv[1]))
store.save(old)
kills = 0
while True:
    child = os.fork()
    if child == 0:
        steps = 0
        def die(frame, event, argument):
            global steps
            steps += event in ("c_call", "c_return") and argument.__name__ in TOUCHES_THE_DISK
            if steps > kills:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(die)
        store.save(new)
        sys.setprofile(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    whole = list(store.all())
    assert whole in ([old], [new]), (kills, whole, store.problems)
    assert store.problems == [], store.problems
    if not os.WIFSIGNALED(status):
        break
    store.save(old)
    kills += 1
assert whole == [new]
print(kills)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_at_any_step_of_a_save_leaves_the_old_record_or_the_new_one_whole(tmp_path):
    new = record(curves={"loss": [0.1 * n for n in range(2_000)]})
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path)],
        input=f"{record().model_dump_json()}\n{new.model_dump_json()}\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


SAVER = """
import sys
from pathlib import Path
from pzsl_bench.records.record import Record
from pzsl_bench.records.store import Records
record = Record.model_validate_json(sys.stdin.read())
store = Records(Path(sys.argv[1]))
for number in range(100_000):
    store.save(record.model_copy(update={"seed": number % 40, "hash": f"{number:064x}"[::-1]}))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_a_process_killed_among_many_saves_loses_none_that_it_had_finished(tmp_path):
    command = [sys.executable, "-c", SAVER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(record().model_dump_json())
        child.stdin.close()
        for _ in range(60):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        printed = 60 + sum(1 for line in child.stdout if line.endswith("\n"))
    assert child.returncode == -signal.SIGKILL
    store = Records(tmp_path)
    found = {r.hash for r in store.all()}
    assert store.problems == []
    assert {f"{number:064x}"[::-1] for number in range(printed)} <= found
    assert len(found) <= printed + 1


names = st.text(min_size=0, max_size=200) | st.text("abAB.:/\\~- ()=,", max_size=12)


@settings(deadline=None)
@given(names)
def test_a_slug_is_safe_on_any_file_system(text):
    made = slug(text)
    assert 0 < len(made) <= SLUG_LENGTH
    assert made.isascii()
    assert not set(made) & set('/\\:*?"<>| ()\0')
    assert made not in (".", "..")
    assert made[0] not in ".-~"
    assert made[-1] != "."
    assert made == made.lower()


@settings(deadline=None)
@given(names, names)
def test_two_different_parts_never_share_a_slug(one, two):
    assert (slug(one) == slug(two)) == (one == two)


@settings(deadline=None)
@given(names)
def test_a_slug_cannot_be_mistaken_for_a_name_and_plain_names_stay(text):
    made = slug(text)
    if made == text:
        assert SAFE.fullmatch(text)
    else:
        assert slug(made) != made


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("shapes", "shapes"),
        ("flip-0.1", "flip-0.1"),
        ("../../etc", "etc~"),
        ("RN50", "rn50~"),
        ("nul", "nul~"),
    ],
)
def test_slugs_stay_readable(text, start):
    assert slug(text).startswith(start)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(Cell, names, names, names, st.floats(0, 1), names, st.just(()), st.integers(0, 99)),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_two_cells_never_share_a_path(tmp_path_factory, cells):
    store = Records(tmp_path_factory.getbasetemp())
    one, two = (store.path(cell, "ab" * 32) for cell in cells)
    assert one != two
    assert one.is_relative_to(store.root)
    assert len(one.relative_to(store.root).parts) == 5


def test_a_frame_has_one_row_per_record_and_the_promised_columns():
    other = record(replace(CELL, seed=2), status=Status.FAILED, metrics={}, error="Traceback\n  x\nValueError: no")
    table = frame([record(metrics={"H": 0.48, "H_cal": 0.5}), other])
    head = ["dataset", "encoder", "ambiguity", "rate", "noise", "method", "seed", "status"]
    assert list(table.columns)[:17] == [
        *head, "T1", "U", "S", "H", "seen_acc", "accuracy", "D", "seconds", "candidates_hash"
    ]  # fmt: skip
    assert list(table["method"]) == ["eszsl(candidates_as=random)"] * 2
    assert list(table["status"]) == ["done", "failed"]
    assert list(table["H_cal"].isna()) == [False, True]
    assert list(table["D"].isna()) == [True, True]
    assert table["D"].dtype == "float64"
    assert list(table["error"]) == ["", "ValueError: no"]
    assert {"mean_candidates", "stack", "title", "family", "reveals_truth", "hash"} <= set(table.columns)
    assert json.loads(table.to_json(orient="records"))[0]["seed"] == 1


def test_a_record_of_before_transductive_methods_is_of_an_inductive_one(tmp_path):
    records = Records(tmp_path)
    path = records.save(record())
    content = json.loads(path.read_text())
    assert content.pop("transductive") is False
    path.write_text(json.dumps(content))
    old = records.load(path)
    assert old is not None
    assert list(frame([old, record(transductive=True)])["transductive"]) == [False, True]


def test_a_frame_has_the_columns_of_the_tasks_in_it():
    tags, classes = record(metrics={"mAP_zsl": 0.5, "F1_at_3_zsl_sdl": 0.25}), record(metrics={"H": 0.5})
    table = frame([tags])
    assert {"mAP_zsl", "mAP_gzsl", "mAP_seen", "mAP_train", "F1_at_3_zsl_sdl"} <= set(table.columns)
    assert "H" not in table.columns
    both = frame([tags, classes])
    assert {"mAP_gzsl", "H", "seen_acc"} <= set(both.columns)
    assert list(both["H"].isna()) == [True, False]


def test_a_record_keeps_its_draws_and_one_from_before_has_none(tmp_path):
    store = Records(tmp_path)
    trials = [Trial({}, 3, 0.5), Trial({"lr": 0.02}, None, None)]
    cell = replace(CELL, select="covering", tune=2)
    chosen = record(cell, select="covering", tune=2, epoch=3, trials=trials)
    path = store.save(chosen)
    assert store.load(path) == chosen
    assert path != store.save(record())
    old = json.loads(record().model_dump_json())
    for name in ("select", "tune", "draw", "epoch", "trials"):
        del old[name]
    assert Record.model_validate(old) == record()


def test_a_frame_tells_how_rows_were_chosen():
    table = frame([record(), record(select="covering", tune=20, draw=4, epoch=7, seed=2)])
    assert list(table["select"]) == ["last", "covering"]
    assert table["epoch"].isna().tolist() == [True, False]
    assert "7," in table.to_csv(index=False)
    assert not {"select", "tune", "draw", "epoch"} & set(metric_columns(table))


def test_a_frame_of_nothing_still_has_its_columns():
    table = frame([])
    assert len(table) == 0
    assert {"dataset", "H", "hash"} <= set(table.columns)


def test_a_metric_that_is_called_like_a_column_is_refused():
    with pytest.raises(UserError, match="seed"):
        frame([record(metrics={"seed": 1.0})])


def test_importing_records_is_cheap():
    script = "import sys, pzsl_bench.records.store; print({'torch', 'pandas', 'mlflow'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
