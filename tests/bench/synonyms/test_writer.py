"""Synonyms from a language model: the question, what is taken from an answer and saved, and what is asked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import Reply, fails, says, serving

from pzsl_bench.data.word_lists import read_listing
from pzsl_bench.synonyms.chat_client import Chat
from pzsl_bench.synonyms.writer import MAX_FAILURES_IN_A_ROW, FormError, Writer, parse

NAMES = ("red_panda", "grey wolf", "crane")
GOOD = {
    "red_panda": {"synonyms": ["lesser panda", "firefox"], "descriptors": ["ringed tail"]},
    "grey wolf": {"synonyms": ["timber wolf"], "descriptors": []},
    "crane": {"synonyms": [], "descriptors": ["long legs"]},
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


def about(body: dict[str, Any]) -> str:
    """The class that a request asks about."""
    text = body["messages"][1]["content"]
    return next(name for name in NAMES if f'called "{name.replace("_", " ")}"' in text)


def good(number: int, body: dict[str, Any]) -> Reply:
    return says(GOOD[about(body)])


def writer(url: str, path: Path, **settings: Any) -> Writer:
    return Writer(Chat(url, "m", pause=0.0, timeout=2.0), "animals", NAMES, path, **settings)


def written(path: Path) -> dict[str, tuple[str, ...]]:
    return {entry.name: entry.synonyms for entry in read_listing(path).entries.values()}


def test_answers_become_a_file_that_the_harness_reads(tmp_path: Path) -> None:
    path, lines = tmp_path / "deep" / "animals.json", []
    with serving(good) as server:
        assert writer(server.url, path).write(NAMES, fresh=False, tell=lines.append) == {}
    assert written(path) == {name: tuple(GOOD[name]["synonyms"]) for name in NAMES}
    listing = read_listing(path)
    assert listing.entries["red panda"].descriptors == ("ringed tail",)
    assert listing.entries["crane"].source == "m"
    assert listing.provenance == "m at 127.0.0.1, temperature 0, question 1, at most 10"
    assert lines[-1] == "3 of 3: crane: no other name"


def test_answers_are_kept_as_they_came(tmp_path: Path) -> None:
    path = tmp_path / "animals.json"
    with serving(good) as server:
        writer(server.url, path).write(NAMES[:1], fresh=False, tell=lambda line: None)
    [line] = (tmp_path / "animals.raw.jsonl").read_text().splitlines()
    saved = json.loads(line)
    assert saved["class"] == "red_panda" and json.loads(saved["answer"]) == GOOD["red_panda"]


def test_a_question_names_the_class_its_neighbours_and_the_limits(tmp_path: Path) -> None:
    question = writer("http://host/v1", tmp_path / "a.json", most=4).question("red_panda")
    assert '"red panda"' in question and "grey wolf, crane" in question
    assert "at most 4 other names" in question and "at most 5 words" in question
    of_many_classes = Writer(
        Chat("http://host/v1", "m"), "d", tuple(f"thing {i:03}" for i in range(500)), tmp_path / "a.json"
    )
    assert len(of_many_classes.question("thing 250")) < 1500
    assert "thing 249" in of_many_classes.question("thing 250")


def test_what_is_there_is_not_asked_again(tmp_path: Path) -> None:
    path, lines = tmp_path / "animals.json", []
    path.write_text(json.dumps({"Grey-Wolf": ["my own word"]}))
    with serving(good) as server:
        writer(server.url, path).write(NAMES, fresh=False, tell=lines.append)
        assert [about(body) for body in server.asked] == ["red_panda", "crane"]
        assert written(path)["Grey-Wolf"] == ("my own word",)
        assert lines[0] == f"1 of 3 classes are in {path} already"
        writer(server.url, path).write(["grey wolf"], fresh=True, tell=lines.append)
    assert written(path)["grey wolf"] == ("timber wolf",)


def test_a_stop_loses_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "animals.json"

    def stop(line: str) -> None:
        if line.startswith("2 of 3"):
            raise KeyboardInterrupt

    with serving(good) as server:
        with pytest.raises(KeyboardInterrupt):
            writer(server.url, path).write(NAMES, fresh=False, tell=stop)
        assert list(written(path)) == ["red_panda", "grey wolf"]
        writer(server.url, path).write(NAMES, fresh=False, tell=lambda line: None)
        assert len(server.asked) == 3


def test_a_poor_answer_is_asked_for_once_more_with_what_is_wrong(tmp_path: Path) -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        return says("Sure! Here you go") if number == 0 else good(number, body)

    path = tmp_path / "animals.json"
    with serving(script) as server:
        assert writer(server.url, path).write(NAMES[:1], fresh=False, tell=lambda line: None) == {}
        first, second = server.asked
    assert second["messages"][:2] == first["messages"]
    assert second["messages"][2] == {"role": "assistant", "content": "Sure! Here you go"}
    assert "the answer is not JSON" in second["messages"][3]["content"]
    assert len((tmp_path / "animals.raw.jsonl").read_text().splitlines()) == 2


def test_of_a_second_poor_answer_what_is_right_is_taken(tmp_path: Path) -> None:
    lines: list[str] = []
    answer = {"synonyms": ["lesser panda", "a name of a great many words"]}
    with serving(lambda n, body: says(answer)) as server:
        writer(server.url, tmp_path / "a.json").write(NAMES[:1], fresh=False, tell=lines.append)
        assert len(server.asked) == 2
    assert written(tmp_path / "a.json") == {"red_panda": ("lesser panda",)}
    assert "left out: 'a name of a great many words' has more than 5 words" in lines[-1]


def test_classes_that_fail_are_named_and_the_others_written(tmp_path: Path) -> None:
    replies = {
        "red_panda": says(None, refusal="no"),
        "grey wolf": says("junk"),
        "crane": says(GOOD["crane"]),
    }
    path = tmp_path / "animals.json"
    with serving(lambda n, body: replies[about(body)]) as server:
        failed = writer(server.url, path).write(NAMES, fresh=False, tell=lambda line: None)
    assert failed == {"red_panda": "the model refused: no", "grey wolf": "the answer is not JSON"}
    assert list(written(path)) == ["crane"]


def test_a_server_out_of_order_is_given_up(tmp_path: Path) -> None:
    names = tuple(f"thing {i}" for i in range(9))
    with serving(lambda n, body: fails(503, "starting")) as server:
        chat = Chat(server.url, "m", pause=0.0)
        failed = Writer(chat, "d", names, tmp_path / "d.json").write(names, fresh=False, tell=lambda line: None)
        assert len(server.asked) == 2 * MAX_FAILURES_IN_A_ROW
    assert set(failed) == set(names) and failed["thing 8"] == "not asked"
    assert not (tmp_path / "d.json").exists()


@pytest.mark.parametrize(
    "text",
    [
        '{"synonyms": ["lorry"]}',
        '  {"synonyms": ["lorry"], "descriptors": []}\n',
        '```json\n{"synonyms": ["lorry"]}\n```',
        '```\n{"synonyms": ["lorry"]}\n```',
        '<think>A {"synonyms"}?</think>\n{"synonyms": ["lorry"]}',
        '{"synonyms": ["Truck", "the truck", "lorry", "a lorry", " Lorry "]}',
    ],
)
def test_names_are_taken_from_what_models_say(text: str) -> None:
    answer = parse(text, "truck", 10)
    assert answer.synonyms == ("lorry",)
    assert answer.faults == ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("lorry", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"synonyms": ["lorry"]} and that is all', "not JSON"),
        ('["lorry"]', "not an object"),
        ('{"names": ["lorry"]}', "not an object with 'synonyms'"),
        ('{"synonyms": "lorry"}', "'synonyms' is not a list"),
        ('{"synonyms": [], "descriptors": {}}', "'descriptors' is not a list"),
    ],
)
def test_an_answer_of_another_form_is_none(text: str, fault: str) -> None:
    with pytest.raises(FormError, match=fault):
        parse(text, "truck", 10)


def test_signs_that_no_text_has_do_no_harm(tmp_path: Path) -> None:
    answer = '{"synonyms": ["lesser\\u001b[31m panda", "half \\ud83d", "cat bear"]}'
    assert parse(answer, "red panda", 10).synonyms == ("cat bear",)
    with serving(lambda n, body: says(f"{answer} \ud83d" if n == 0 else answer)) as server:
        writer(server.url, tmp_path / "a.json").write(NAMES[:1], fresh=False, tell=lambda line: None)
    assert written(tmp_path / "a.json") == {"red_panda": ("cat bear",)}


def test_limits_are_kept() -> None:
    content = {
        "synonyms": ["one two three four five six", "", 7, "a b", "c", "d"],
        "descriptors": ["w " * 13, "wheels"],
    }
    answer = parse(json.dumps(content), "truck", 2)
    assert answer.synonyms == ("a b", "c")
    assert answer.descriptors == ("wheels",)
    assert len(answer.faults) == 5
