"""A question to a language model: answered, asked again, given up, or refused for good, against a real server."""

from __future__ import annotations

import socket

import pytest
from chat_server import Reply, Script, fails, says, serving

from pzsl_bench.base.errors import UserError
from pzsl_bench.synonyms.chat_client import Chat, NoAnswerError, key_from

KEY = "sk-not-to-be-seen"
TURNS = [("system", "Be brief."), ("user", "What is a lorry?")]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


def answer(script: Script, **settings: float) -> tuple[str, int]:
    """What the chat gives, and how often the server was asked."""
    with serving(script) as server:
        text = Chat(server.url, "m", KEY, **{"pause": 0.0, "timeout": 5.0, **settings}).ask(TURNS)
        return text, len(server.asked)


def test_a_question_is_one_request_in_the_usual_form() -> None:
    with serving(lambda n, body: says("A truck.")) as server:
        assert Chat(f"{server.url}/", "some-model", KEY).ask(TURNS) == "A truck."
    assert server.paths == ["/v1/chat/completions"]
    [body] = server.asked
    assert body["model"] == "some-model"
    assert body["temperature"] == 0
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is a lorry?"},
    ]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_no_key_is_sent() -> None:
    with serving(lambda n, body: says("yes")) as server:
        Chat(server.url, "m").ask(TURNS)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_once_more(status: int) -> None:
    assert answer(lambda n, body: fails(status) if n == 0 else says("yes")) == ("yes", 2)


def test_a_server_that_stays_busy_has_no_answer() -> None:
    with pytest.raises(NoAnswerError, match=r"answers 500 \(overloaded\), twice"):
        answer(lambda n, body: fails(500, "overloaded"))


def test_a_server_may_say_how_long_to_wait() -> None:
    text, times = answer(lambda n, body: fails(429, Retry_After="0") if n == 0 else says("yes"), pause=1000.0)
    assert (text, times) == ("yes", 2)


def test_an_answer_that_takes_too_long_is_asked_for_once_more() -> None:
    slow = says("late")
    slow.delay = 0.5
    assert answer(lambda n, body: slow if n == 0 else says("yes"), timeout=0.2) == ("yes", 2)
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.2 s, twice"):
        answer(lambda n, body: slow, timeout=0.2)


def test_a_connection_that_breaks_off_is_tried_once_more() -> None:
    assert answer(lambda n, body: Reply(hang_up=True) if n == 0 else says("yes")) == ("yes", 2)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(body=b"<html>"), "no chat completion"),
        (Reply(body=b"{}"), "no chat completion"),
        (Reply(body=b'{"choices": []}'), "no chat completion"),
        (Reply(body=b'{"choices": [{"message": "hi"}]}'), "no chat completion"),
        (says(None), "said nothing"),
        (says("  "), "said nothing"),
        (says(None, refusal="I would rather not."), "refused: I would rather not"),
    ],
)
def test_what_is_no_answer_is_told_as_such(reply: Reply, why: str) -> None:
    with pytest.raises(NoAnswerError, match=why):
        answer(lambda n, body: reply)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (fails(401, f"no such key: {KEY}"), r"answers 401 \(no such key: \*\*\*\): it does not take this key"),
        (fails(403), "does not take this key"),
        (fails(404, "model 'm' not found"), "no model 'm'"),
        (fails(400, "temperature is not supported"), r"answers 400 \(temperature is not supported\)"),
        (Reply(302, headers={"Location": "http://127.0.0.1:9/steal"}), "points elsewhere"),
        (Reply(307, headers={"Location": "http://127.0.0.1:9/steal"}), "points elsewhere"),
    ],
)
def test_what_would_go_wrong_every_time_is_the_users_to_mend(reply: Reply, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        answer(lambda n, body: reply)
    assert KEY not in str(caught.value)


def test_a_server_that_is_not_there_is_the_users_to_mend() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=r"cannot reach 127\.0\.0\.1: Connection refused"):
        Chat(f"http://127.0.0.1:{port}/v1", "m").ask(TURNS)


def test_the_key_is_in_no_text_of_the_program() -> None:
    chat = Chat("https://host/v1", "m", KEY)
    assert KEY not in repr(chat)
    assert answer(lambda n, body: says(f"Your key is {KEY}"))[0] == "Your key is ***"


@pytest.mark.parametrize(
    "url", ["", "host/v1", "file:///etc/passwd", "https://me:word@host/v1", "https://host/v1?key=1"]
)
def test_an_address_has_to_be_one_of_a_server(url: str) -> None:
    with pytest.raises(UserError, match="--base-url"):
        Chat(url, "m")


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("http://host/v1", True),
        ("https://host/v1", False),
        ("http://localhost:1/v1", False),
        ("http://127.0.0.1/v1", False),
    ],
)
def test_a_key_on_an_open_network_is_noticed(url: str, exposed: bool) -> None:
    assert Chat(url, "m", KEY).is_exposed is exposed
    assert not Chat(url, "m").is_exposed


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    assert key_from("SOME_KEY") == KEY
    assert key_from(None) == ""
    monkeypatch.setenv("SOME_KEY", "a key\nwith: a header")
    with pytest.raises(UserError, match="holds more than a key"):
        key_from("SOME_KEY")
    with pytest.raises(UserError, match="SOME_OTHER_KEY is not set"):
        key_from("SOME_OTHER_KEY")


def test_a_key_in_the_place_of_its_variable_is_not_repeated() -> None:
    with pytest.raises(UserError, match="not the key itself") as caught:
        key_from(KEY)
    assert KEY not in str(caught.value)
