"""What each fault of a provider turns into, first against a real mock product."""

import base64
import json
import logging
import socket
import threading
import traceback
from contextlib import ExitStack
from email.utils import formatdate
from time import time
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from evented_agent import DeclarationError
from evented_agent.models import (
    AnswerEnded,
    CallStarted,
    ModelRequest,
    OpenAIChat,
    OpenAIResponses,
    TextPiece,
    ToolSpec,
)
from evented_agent.models.messages import UserMessage
from evented_agent.models.openai import stream
from evented_agent.models.openai.faults import Faults
from tests.unit.models.conftest import KEY, MockServer
from tests.unit.models.peer import STREAM, Peer, ask, chunk, events, failure, refusal

both = pytest.mark.parametrize("api", [OpenAIChat, OpenAIResponses])
Api = type[OpenAIChat] | type[OpenAIResponses]


@both
def test_a_scripted_answer_arrives_whole(mock_server: MockServer, api: Api) -> None:
    mock_server.script(type="reply", text="Four words of text.")

    said = ask(api("gpt-5.5", base_url=mock_server.url))

    text = "".join(event.text for event in said if isinstance(event, TextPiece))
    assert text == "Four words of text."
    assert isinstance(said[-1], AnswerEnded)
    assert said[-1].reason == "stop"
    assert said[-1].usage.output_tokens > 0


@both
def test_two_scripted_calls_arrive_as_two(mock_server: MockServer, api: Api) -> None:
    calls = [{"name": "look", "arguments": {"n": n}} for n in (1, 2)]
    mock_server.script(type="reply", tool_calls=calls)
    tool = ToolSpec("look", "Look.", {"type": "object", "properties": {"n": {"type": "integer"}}})
    request = ModelRequest([UserMessage(content="Look twice")], tools=[tool])

    said = ask(api("gpt-5.5", base_url=mock_server.url), request)

    started = [event for event in said if isinstance(event, CallStarted)]
    assert [(event.index, event.name) for event in started] == [(0, "look"), (1, "look")]
    assert isinstance(said[-1], AnswerEnded)
    assert said[-1].reason == "tool-calls"


@both
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncate", "ended its stream before the answer was complete"),
        ("disconnect", "lost the connection"),
        ("malformed", "sent a chunk that cannot be read (JSONDecodeError"),
        ("stall", "did not finish within 0.5 s"),
    ],
)
def test_a_broken_stream_is_worth_another_try(
    mock_server: MockServer, api: Api, kind: str, words: str
) -> None:
    mock_server.script(type="stream_fault", kind=kind, after_chunks=3, stall_seconds=2)

    error = failure(api("gpt-5.5", base_url=mock_server.url, timeout=0.5))

    assert error.retryable
    assert words in str(error)


@both
@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (401, False), (404, False), (409, True), (429, True), (500, True), (503, True)],
)
def test_a_refusal_is_judged_by_its_status_and_asked_once(
    mock_server: MockServer, api: Api, status: int, retryable: bool
) -> None:
    mock_server.script(type="fail", status=status, message="Because.", times=3)

    error = failure(api("gpt-5.5", base_url=mock_server.url))

    host = mock_server.url.split("/")[2]
    assert error.retryable is retryable
    assert str(error).startswith(f"{api.provider}/gpt-5.5 at {host} answered {status} ")
    assert str(error).endswith(": Because.")
    assert len(mock_server.requests()) == 1


def test_the_wait_that_a_provider_asks_for_is_told(mock_server: MockServer) -> None:
    mock_server.script(type="fail", status=429, retry_after=7)

    assert failure(OpenAIChat("m", base_url=mock_server.url)).retry_after == 7


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After-Ms: 250", 0.25),
        ("Retry-After: 1.5", 1.5),
        ("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Retry-After: -5", 0),
        ("Retry-After: soon", None),
        ("Retry-After: nan", None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(peer: Peer, header: str, seconds: Any) -> None:
    peer.reply(refusal(429, {"error": {"message": "Slow down."}}, header))

    assert failure(OpenAIChat("m", base_url=peer.url)).retry_after == seconds


def test_a_date_to_retry_after_becomes_seconds(peer: Peer) -> None:
    date = formatdate(time() + 60, usegmt=True)
    peer.reply(refusal(503, {}, f"Retry-After: {date}"))

    assert failure(OpenAIChat("m", base_url=peer.url)).retry_after == pytest.approx(60, abs=5)


@pytest.mark.parametrize(("status", "advice"), [(500, "false"), (400, "true")])
def test_the_providers_own_advice_overrules_the_status(
    peer: Peer, status: int, advice: str
) -> None:
    peer.reply(refusal(status, {}, f"x-should-retry: {advice}"))

    assert failure(OpenAIChat("m", base_url=peer.url)).retryable is (advice == "true")


def test_an_empty_account_is_no_rate_limit(peer: Peer) -> None:
    problem = {"code": "insufficient_quota", "message": "You exceeded your current quota."}
    peer.reply(refusal(429, {"error": problem}, "Retry-After: 20"))

    error = failure(OpenAIResponses("m", base_url=peer.url))

    assert (error.retryable, error.retry_after) == (False, None)
    assert str(error).endswith("answered 429 insufficient_quota: You exceeded your current quota.")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": "model not found"}, "answered 422: model not found"),
        ({"message": "no such model"}, "answered 422: no such model"),
        ({"detail": "Unauthorized"}, "answered 422: Unauthorized"),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "too big", "input": "the whole prompt"}]},
            "answered 422: ['body', 'n'] too big",
        ),
        ("plain words", "answered 422: plain words"),
        ("<html><body>Oh</body></html>", "answered 422."),
        ([1], "answered 422."),
        (
            {"error": {"message": "Upstream", "metadata": {"raw": "[" * 5000 + "no"}}},
            f"answered 422: Upstream: {'[' * 275}…",
        ),
    ],
)
def test_the_text_of_an_error_is_found_in_every_servers_shape(
    peer: Peer, body: Any, text: str
) -> None:
    peer.reply(refusal(422, body))

    assert str(failure(OpenAIChat("m", base_url=peer.url))).endswith(text)


@pytest.mark.parametrize(
    "told",
    [
        f"Incorrect API key provided: {KEY}.",
        "Incorrect API key provided: sk-proj-****abcd.",
        "The header 'Bearer abc.def' is wrong.",
        f"{'x' * 270} {KEY}",
    ],
)
def test_a_key_that_the_server_repeats_reaches_neither_text_nor_traceback(
    peer: Peer, told: str
) -> None:
    peer.reply(refusal(401, {"error": {"message": told}}))

    error = failure(OpenAIChat("m", base_url=peer.url))

    shown = "".join(traceback.format_exception(error))
    assert not [secret for secret in (KEY, "abcd", "abc.def", "local-key") if secret in shown]


def test_a_dummy_key_is_hidden_as_a_word_but_spoils_no_other(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    peer.reply(refusal(401, {"error": {"message": "The key x is not an example."}}))

    error = failure(OpenAIChat("m", base_url=peer.url))

    assert str(error).endswith("The key [redacted] is not an example.")


def test_an_errors_text_is_one_short_line(peer: Peer) -> None:
    peer.reply(refusal(400, {"error": {"message": "word\n" * 500}}))

    text = str(failure(OpenAIChat("m", base_url=peer.url)))

    assert "\n" not in text
    assert len(text) < 350


def test_a_page_instead_of_a_stream_points_at_the_base_url(peer: Peer) -> None:
    page = b"<html></html>"
    peer.reply(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"
        % (len(page), page)
    )

    error = failure(OpenAIChat("m", base_url=peer.url))

    assert not error.retryable
    assert "answered with text/html instead of an event stream: Check the base URL" in str(error)


def test_a_server_that_is_not_there_is_worth_another_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    error = failure(OpenAIChat("m", base_url=f"http://127.0.0.1:{port}/v1"))

    assert error.retryable
    assert f"openai-chat/m at 127.0.0.1:{port} lost the connection (ConnectError" in str(error)


def test_a_server_too_busy_to_accept_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_CONNECT_SECONDS", 0.2)
    with ExitStack() as sockets:
        # Linux leaves further connections unanswered while the queue to accept() is full.
        busy = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())

        error = failure(OpenAIChat("m", base_url=f"http://127.0.0.1:{busy.getsockname()[1]}/v1"))

    assert error.retryable
    assert str(error).endswith("timed out (ConnectTimeout).")


def test_a_server_that_never_answers_is_given_up_in_time(peer: Peer) -> None:
    peer.reply(peer.wait_for_end)

    error = failure(OpenAIChat("m", base_url=peer.url, timeout=0.3))

    assert error.retryable
    assert peer.gone.wait(5)


def test_the_time_is_for_the_whole_call_however_lively_the_stream(peer: Peer) -> None:
    alive = events({"choices": [{"delta": {"content": "."}}]})

    def trickle(connection: socket.socket) -> None:
        while not threading.Event().wait(0.05):
            connection.sendall(alive + chunk(b": still here\n\n"))

    peer.reply(STREAM, trickle)

    error = failure(OpenAIChat("m", base_url=peer.url, timeout=0.4))

    assert error.retryable
    assert str(error).endswith("did not finish within 0.4 s.")
    assert peer.gone.wait(5)


def test_a_request_that_is_no_json_is_not_tried_again(peer: Peer) -> None:
    request = ModelRequest([UserMessage(content="Hi")], settings={"stop": {1, 2}})

    error = failure(OpenAIChat("m", base_url=peer.url), request)

    assert not error.retryable
    assert "could not be asked (TypeError" in str(error)


SECRET = "Xy+/9 é%&pässword"
FORMS = {
    "plain": SECRET,
    "quoted": quote(SECRET),
    "quoted whole": quote(SECRET, safe=""),
    "lower quoted": quote(SECRET, safe="").lower(),
    "form": quote_plus(SECRET),
    "json": json.dumps(SECRET),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "url base64": base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    **{
        f"base64 after {user!r}": base64.b64encode(f"{user}:{SECRET}".encode()).decode()
        for user in ("", "a", "ab", "abc")
    },
    "base64 amid": base64.b64encode(f"Bearer {SECRET}, and more".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_was_sent_is_hidden_in_every_form(form: str) -> None:
    said = Faults("m", 1, "local-key", (SECRET,)).redact(f"No: <{FORMS[form]}> is wrong.")

    core = base64.b64encode(SECRET.encode()).decode()[4:12]
    assert said in ("No: <[redacted]> is wrong.", 'No: <"[redacted]"> is wrong.')
    assert core not in said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [redacted]"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [redacted]"),
        ("X-API-Key: abc123; more", "X-API-Key: [redacted]; more"),
        ('{"api_key": "abc123"}', '{"api_key": "[redacted]"}'),
        ("?api-key=abc123&v=1", "?api-key=[redacted]&v=1"),
        ("https://user:hunter2@host/v1 said no", "https://[redacted]@host/v1 said no"),
        ("A basic error in your api key handling", "A basic error in your api key handling"),
        ("write to me@example.org", "write to me@example.org"),
    ],
)
def test_what_looks_like_a_credential_is_hidden(said: str, shown: str) -> None:
    assert Faults("m", 1, "local-key").redact(said) == shown


def test_a_user_and_password_of_the_base_url_are_sent_and_shown_to_nobody(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    told = {"error": {"message": "Basic YW5uOmh1bnRlcjI6QQ== for ann:hunter2:A at hunter2%3aA"}}
    peer.reply(refusal(401, told))
    model = OpenAIChat("m", base_url=peer.url.replace("://", "://ann:hunter2%3AA@"))

    with caplog.at_level(logging.DEBUG):
        error = failure(model)

    shown = "".join(traceback.format_exception(error)) + repr(model) + caplog.text
    assert not [form for form in ("hunter2", "YW5uOmh1bnRlcjI6QQ") if form in shown]
    assert "401" in str(error)
    assert peer.asked[0].headers["authorization"] == "Basic YW5uOmh1bnRlcjI6QQ=="


def test_a_base_url_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(DeclarationError) as refused:
        OpenAIChat("m", base_url="htps://ann:hunter2@host/v1")

    assert str(refused.value) == "base_url='htps://host/v1' is not an http or https URL."
