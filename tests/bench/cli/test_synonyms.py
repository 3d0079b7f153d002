"""The commands about synonyms as they are typed: what they print, what they write, and how they end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import fails, says, serving
from typer.testing import CliRunner, Result

from pzsl_bench.cli.main import app

COMMANDS = ("show", "check", "generate", "plot")
CLASS = "dotted purple circle"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, no proxy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    return


def call(*words: str) -> Result:
    result = CliRunner().invoke(app, ["synonyms", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write(folder: Path, content: object, name: str = "shapes.json") -> None:
    (folder / "synonyms").mkdir(parents=True, exist_ok=True)
    (folder / "synonyms" / name).write_text(json.dumps(content))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_light_and_has_examples(command: str) -> None:
    code = (
        "import sys, pzsl_bench.cli.main as cli\n"
        f"try: cli.app(['synonyms', {command!r}, '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print({'torch', 'numpy', 'matplotlib', 'open_clip'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"
    assert f"pzsl-bench synonyms {command}" in done.stdout


def test_every_command_is_listed_with_a_whole_sentence() -> None:
    text = call("--help").stdout
    for command in COMMANDS:
        line = re.search(rf"^  {command}  +(.+)$", text, re.MULTILINE)
        assert line is not None and not line[1].endswith("..."), command


def test_show_prints_the_words_and_where_they_are_from(tmp_path: Path) -> None:
    write(tmp_path / "data", {CLASS: ["spotted violet disc"]})
    text = call("show", "shapes", "--data", "data", "--cache", "c").stdout
    assert f"{CLASS} (user): spotted violet disc\n" in text
    assert "striped pink oval (bundled): striped pink ellipse, " in text
    assert "read: data/synonyms/shapes.json, the dataset's own words" in text
    assert "looked for: data/synonyms/shapes.json, c/synonyms/shapes.json" in text


def test_show_tells_all_of_one_class(tmp_path: Path) -> None:
    entry = {"synonyms": ["a purple round"], "descriptors": ["dots"], "source": "me"}
    other = {"synonyms": ["purple round"]}
    write(tmp_path, {"classes": {CLASS: entry, "striped pink oval": other}})
    lines = call("show", "shapes", CLASS.upper(), "--data", ".").stdout.splitlines()
    assert lines[:4] == [
        f"{CLASS} (user): -",
        "  left out, as it also stands for striped pink oval: a purple round",
        "  descriptors: dots",
        "  written by: me",
    ]


def test_check_prints_a_table_with_the_spaces() -> None:
    result = call("check", "shapes")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["class", "names", "from", "eps", "kept", "left", "out", "by", "the", "space"]
    [line] = [line for line in lines if line.startswith(CLASS)]
    # "round" is said of circles, ovals and rings.
    assert line.split()[3:5] == ["10", "bundled"]
    assert line.endswith("dotted purple round, spotted purple round")
    everything = call("check", "shapes", "--eps-rule", "fixed", "--eps", "2").stdout
    assert "round, spotted" not in everything


def test_check_ends_with_two_where_something_has_to_be_mended(tmp_path: Path) -> None:
    write(tmp_path, {CLASS: ["purple circle with " + "very " * 40 + "small dots"]})
    result = call("check", "shapes", "--data", ".")
    assert result.exit_code == 2
    assert result.stderr.count("is not read; it is too long") == 5
    write(tmp_path, {CLASS: [""]})
    result = call("check", "shapes", "--data", ".")
    assert result.exit_code == 2
    assert result.stderr == (f"error: synonyms/shapes.json: class '{CLASS}': number 1 of its list of texts is empty\n")


def test_check_works_without_an_encoder() -> None:
    result = call("check", "synthetic:seen=4:unseen=2")
    assert result.exit_code == 0
    assert "6 of 6 classes have no list" in result.stdout
    assert "--encoder" in result.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["show", "shaps"], "did you mean 'shapes'"),
        (["show", "shapes", "dotted purple circel"], "did you mean 'dotted purple circle'"),
        (["check", "shapes", "--eps-rule", "coverge"], "did you mean 'coverage'"),
        (["check", "shapes", "--metric", "cord"], "did you mean 'chord'"),
        (["check", "shapes", "--rho", "80"], "shares between 0 and 1"),
        (["plot", "shapes", CLASS, "--out", "a.txt"], "a picture ends in .png"),
        (["plot", "synthetic", "concept 1"], "--encoder"),
        (["generate", "shapes", "--base-url", "host", "--model", "m"], "--base-url needs the address"),
        (
            ["generate", "shapes", "--base-url", "http://h/v1", "--model", "m", "--api-key-env", "SOME_KEY"],
            "is not set",
        ),
        (["generate", "shapes", "--base-url", "http://h/v1", "--model", "m", "--class", "cat"], "unknown class 'cat'"),
        (["generate", "shapes", "--base-url", "http://h/v1", "--model", "m", "--out", "."], "is a folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(words: list[str], reason: str) -> None:
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("form", ["png", "svg"])
def test_plot_writes_a_picture(tmp_path: Path, form: str) -> None:
    result = call("plot", "shapes:odd", "speckled magenta round", "--no-images", "--out", f"deep/a.{form}")
    assert result.exit_code == 0, result.output
    assert f"deep/a.{form}: speckled magenta round: " in result.stdout
    assert (tmp_path / "deep" / f"a.{form}").stat().st_size > 5000


GENERATE = ("generate", "shapes", "--model", "m", "--class", CLASS, "--class", "striped pink oval", "--cache", "c")


def test_generate_writes_where_the_others_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-not-to-be-seen"
    monkeypatch.setenv("SOME_KEY", key)
    with serving(lambda n, body: says({"synonyms": [f"word {n}"]})) as server:
        words = (*GENERATE, "--base-url", server.url, "--api-key-env", "SOME_KEY")
        result = call(*words)
        assert result.exit_code == 0, result.output
        assert len(server.asked) == 2
        assert server.headers[0]["Authorization"] == f"Bearer {key}"
        again = call(*words)
        assert "2 of 2 classes are in c/synonyms/shapes.json already" in again.stdout
        assert len(server.asked) == 2
    assert f"{CLASS} (cache): word 0" in call("show", "shapes", "--cache", "c").stdout
    for file in (tmp_path / "c").rglob("*"):
        assert file.is_dir() or key not in file.read_text()
    assert key not in result.output


def test_generate_lists_what_failed_and_ends_with_one() -> None:
    def script(number: int, body: dict[str, object]) -> object:
        return says("junk") if CLASS in str(body["messages"]).partition("Some other")[0] else says({"synonyms": []})

    with serving(script) as server:  # type: ignore[arg-type]
        result = call(*GENERATE, "--base-url", server.url)
    assert result.exit_code == 1
    assert f"1 of 2 classes are missing in c/synonyms/shapes.json: {CLASS}\n" in result.stderr
    assert f"1 of 2: {CLASS}: failed: the answer is not JSON" in result.stdout
    assert "2 of 2: striped pink oval: no other name" in result.stdout


def test_generate_stops_at_once_where_the_server_cannot_be_used() -> None:
    with serving(lambda n, body: fails(401, "who are you?")) as server:
        result = call(*GENERATE, "--base-url", server.url)
        assert len(server.asked) == 1
    assert result.exit_code == 2
    assert result.stderr == "error: 127.0.0.1 answers 401 (who are you?): --api-key-env is missing\n"


def test_a_dry_run_asks_nobody() -> None:
    with serving(lambda n, body: fails(500, "nobody should ask")) as server:
        result = call(*GENERATE, "--base-url", server.url, "--dry-run")
        assert not server.asked
    assert result.exit_code == 0
    assert f'"{CLASS}"' in result.stdout and "descriptors" in result.stdout
