"""Questions to a language model behind an OpenAI-compatible address: one question, one answer, no conversation.

Hosted services, vLLM, Ollama and llama.cpp all answer POST BASE_URL/chat/completions. The key comes from an environment
variable and goes into one header and nowhere else: no redirect is followed, and it is removed from what a server says.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pzsl_bench.base.errors import UserError

PATH = "/chat/completions"
TIMEOUT = 60.0
BUSY = (408, 425, 429, 500, 502, 503, 504, 529)
"""HTTP statuses after which the same question may well be answered."""
PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds before a question is asked again, and the longest wait that a server may ask for."""
MAX_ANSWER_BYTES = 2**20
"""Bytes of an answer that are read, at most."""
CHARACTERS_SHOWN = 200
"""Characters of a server's message that are shown, at most."""


class NoAnswerError(Exception):
    """This question was not answered; others may be."""


@dataclass(frozen=True)
class Chat:
    """A model at an address."""

    base_url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = TIMEOUT
    pause: float = PAUSE

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError("--base-url needs the address of a server, such as http://localhost:11434/v1")
        if parts.username or parts.password or parts.query:
            raise UserError("--base-url takes no user, password or query; --api-key-env names a variable with the key")

    @property
    def host(self) -> str:
        """The server's name, as it may be written into files."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_exposed(self) -> bool:
        """Whether the key would cross a network unencrypted."""
        local = self.host in ("localhost", "::1") or self.host.startswith("127.")
        return bool(self.key) and self.base_url.startswith("http:") and not local

    def ask(self, turns: Sequence[tuple[str, str]]) -> str:
        """The model's answer to (role, text) turns; a busy server is asked once more.

        Raises NoAnswerError when this question has no answer, UserError when no other question would have one.
        """
        try:
            return self._answer(turns)
        except _BusyError as error:
            time.sleep(self.pause if error.wait is None else min(error.wait, LONGEST_PAUSE))
        try:
            return self._answer(turns)
        except _BusyError as error:
            raise NoAnswerError(f"{error}, twice") from None

    def _answer(self, turns: Sequence[tuple[str, str]]) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in turns],
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json", "User-Agent": "pzsl-bench"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(
            self.base_url.rstrip("/") + PATH, data=json.dumps(body).encode(), headers=headers, method="POST"
        )
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as response:
                content = response.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from None
        except TimeoutError:
            raise _BusyError(f"no answer within {self.timeout:g} s") from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _BusyError(f"no answer within {self.timeout:g} s") from None
            reason = getattr(error.reason, "strerror", None) or str(error.reason)
            raise UserError(f"cannot reach {self.host}: {self._safe(reason)}") from None
        except (OSError, http.client.HTTPException) as error:
            raise _BusyError(f"the connection broke off: {type(error).__name__}") from None
        return self._content(content)

    def _content(self, raw: bytes) -> str:
        try:
            choice = json.loads(raw)["choices"][0]
            message = choice["message"]
            content, refusal = message.get("content"), message.get("refusal")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise NoAnswerError("what came back is no chat completion") from None
        if refusal or choice.get("finish_reason") == "content_filter":
            raise NoAnswerError(f"the model refused: {self._safe(str(refusal or 'content filter'))}")
        if not isinstance(content, str) or not content.strip():
            raise NoAnswerError("the model said nothing")
        return content.replace(self.key, "***") if self.key else content

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        with error:
            message = self._safe(_message(error))
        what = f"{self.host} answers {error.code}" + (f" ({message})" if message else "")
        if error.code in BUSY:
            return _BusyError(what, _seconds(error.headers.get("Retry-After")))
        if error.code in (401, 403):
            return UserError(f"{what}: " + ("it does not take this key" if self.key else "--api-key-env is missing"))
        if 300 <= error.code < 400:
            return UserError(f"{what}: it points elsewhere; give that address as --base-url")
        if error.code == 404:
            return UserError(f"{what}: there is no {PATH} under --base-url, or no model '{self.model}'")
        return UserError(what)

    def _safe(self, text: str) -> str:
        # A server's message must not bring control characters to a terminal.
        text = "".join(sign if sign.isprintable() else " " for sign in text)
        text = " ".join((text.replace(self.key, "***") if self.key else text).split())
        return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}..."


def key_from(variable: str | None) -> str:
    """The key in an environment variable; nothing where none is named."""
    if variable is None:
        return ""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
        # The text may be the key itself, which must not appear on a screen.
        raise UserError("--api-key-env wants the name of an environment variable in capitals, not the key itself")
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"the environment variable {variable} is not set")
    if not re.fullmatch(r"[!-~]+", key):
        raise UserError(f"the environment variable {variable} holds more than a key: spaces or signs beyond ASCII")
    return key


class _BusyError(Exception):
    """The same question may be answered later; `wait` is the number of seconds, where the server gives one."""

    def __init__(self, what: str, wait: float | None = None):
        super().__init__(what)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key is for the named server alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        content = json.loads(error.read(MAX_ANSWER_BYTES))
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        return ""
    content = content.get("error", content) if isinstance(content, dict) else content
    content = content.get("message", "") if isinstance(content, dict) else content
    return content if isinstance(content, str) else ""


def _seconds(header: str | None) -> float | None:
    return float(header) if header and re.fullmatch(r"\d+(\.\d+)?", header) else None
