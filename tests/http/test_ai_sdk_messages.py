"""Messages of the AI SDK's clients to chats whose run goes on, or waits, as plain requests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from evented_agent import InProcessAgent
from tests.http.agents import GATES
from tests.http.requests import call, until
from tests.http.test_ai_sdk import (
    Event,
    answered,
    approval,
    asked,
    events_in,
    message,
    path,
    post,
    run_of,
    text,
    types,
)
from tests.support.ui_messages import UiClient
from tests.support.workers import wait_until


@pytest.fixture
def chat() -> str:
    return f"chat/{uuid4().hex}?"


@pytest.fixture
def gate() -> str:
    return uuid4().hex[:8]


@contextmanager
def reading(client: httpx.Client, chat: str, said: str, **body: Any) -> Iterator[Iterator[Event]]:
    """The events of a reply while it is open."""
    given = {"id": chat, "messages": [message(said)], **body}
    with client.stream("POST", "/ai/talker", json=given) as reply:
        lines = (line[6:] for line in reply.iter_lines() if line.startswith("data: {"))
        yield (json.loads(line) for line in lines)


def read(*replies: list[Event]) -> UiClient:
    client = UiClient()
    for event in (event for reply in replies for event in reply):
        client.take(event)
    return client


def test_a_chat_goes_on_while_a_decision_is_awaited(
    ann: httpx.Client, chat: str, durable: InProcessAgent
) -> None:
    asks = post(ann, message(call("erase", name="a")), chat=chat)
    run_id, said = run_of(asks), message("say Meanwhile.")
    answer = post(ann, said, chat=chat)
    assert events_in(answer)[0]["messageId"] == answer.headers["x-workflow-run-id"] != run_id
    assert run_of(answer) == run_id
    assert text(events_in(answer)) == "Meanwhile."
    assert events_in(post(ann, said, chat=chat)) == events_in(answer)

    [request] = asked(events_in(asks), "tool-approval-request")
    back = answered(run_id, approval(request, True))
    news = post(ann, back, said, chat=chat, messageId=run_id)
    assert events_in(news)[0]["messageId"] == run_id
    assert text(events_in(news)) == "erased a"
    again = post(ann, back, said, chat=chat, messageId=run_id)
    assert events_in(again) == events_in(news)
    whole = ann.get(path(chat, "stream"), params={"ended": "true"})
    assert read(events_in(whole)).text == read(events_in(asks), events_in(news)).text == "erased a"
    assert durable.result(run_id).text == "Meanwhile.\n\nerased a"


def test_a_chat_goes_on_during_a_background_report(
    ann: httpx.Client, chat: str, gate: str, durable: InProcessAgent
) -> None:
    with reading(ann, chat, call("report", name=gate), until_idle=True) as first:
        before = [next(first)]
        while "data-waiting" not in types(before):
            before.append(next(first))
        with reading(ann, chat, "say Meanwhile.") as second:
            events = [next(second)]
            while "data-waiting" not in types(events):
                events.append(next(second))
            assert text(events) == "Meanwhile."
            before += first
            GATES[gate].set()
            events += second
    assert before[-1] == {"type": "finish", "finishReason": "stop"}
    answer = read(events)
    assert answer.text == f"Meanwhile.\n\nreport {gate}"
    [shown] = answer.calls.values()
    assert (shown["toolName"], shown["output"]) == ("report", f"report {gate}")
    assert not answer.posts_by_itself
    whole = durable.result(before[0]["messageId"]).text
    assert whole == f"{read(before).text}\n\n{answer.text}"


def test_a_run_that_speaks_is_steered(
    ann: httpx.Client, chat: str, gate: str, durable: InProcessAgent
) -> None:
    with reading(ann, chat, f"speak {gate}") as first:
        before = [next(first)]
        while "text-delta" not in types(before):
            before.append(next(first))
        with reading(ann, chat, "say And this.", when_busy="steer") as second:
            while "data-message" not in types(before):
                before.append(next(first))
            # A page that is opened now gets the message that is being written.
            with ann.stream("GET", path(chat, "stream")) as opened:
                line = next(line for line in opened.iter_lines() if line.startswith("data: {"))
                assert json.loads(line[6:])["messageId"] == before[0]["messageId"]
            GATES[gate].set()
            before += first
            events = list(second)
    assert (text(before), text(events)) == (f"{gate} is said.", "And this.")
    assert before[-1]["finishReason"] == events[-1]["finishReason"] == "stop"
    run_id = before[0]["messageId"]
    assert durable.result(run_id).text == f"{text(before)}\n\n{text(events)}"
    reply = events[0]["messageId"]
    for at in range(len(events)):
        rest = ann.get(path(reply, "stream"), params={"startIndex": at})
        assert events_in(rest) == events[at:]


def test_a_run_that_speaks_is_cut_short(ann: httpx.Client, chat: str, gate: str) -> None:
    with reading(ann, chat, f"speak {gate}") as first:
        before = [next(first)]
        while "text-delta" not in types(before):
            before.append(next(first))
        second = post(ann, message("say Stop."), chat=chat, interrupt=True)
        before += first
    assert text(before) == f"{gate} "
    assert before[-1]["finishReason"] == "interrupted"
    assert text(events_in(second)) == "Stop."
    assert run_of(second) == before[0]["messageId"]


def test_a_chat_that_says_nothing_is_interrupted_by_nobody(ann: httpx.Client, chat: str) -> None:
    said = message("say First.")
    first = post(ann, said, chat=chat, interrupt=True)
    assert text(events_in(first)) == "First."
    assert events_in(post(ann, said, chat=chat, interrupt=True)) == events_in(first)
    assert post(ann, said, chat=chat, interrupt="yes").status_code == 400


def test_a_decision_while_the_chat_is_answered_is_told_in_that_answer(
    ann: httpx.Client, chat: str, gate: str
) -> None:
    asks = post(ann, message(call("erase", name="a")), chat=chat)
    run_id = run_of(asks)
    [request] = asked(events_in(asks), "tool-approval-request")
    with reading(ann, chat, f"speak {gate}") as answer:
        events = [next(answer)]
        while "text-delta" not in types(events):
            events.append(next(answer))
        taken = post(ann, answered(run_id, approval(request, True)), chat=chat)
        GATES[gate].set()
        events += answer
    client = read(events_in(asks), events_in(taken))
    assert (client.text, client.posts_by_itself) == ("", False)
    told = read(events)
    assert told.text == f"{gate} is said.\n\nerased a"
    assert [shown["output"] for shown in told.calls.values()] == ["erased a"]


def test_a_message_that_nothing_answers_ends_with_its_run(
    ann: httpx.Client, chat: str, gate: str
) -> None:
    with reading(ann, chat, f"speak {gate}") as first:
        run_id = next(first)["messageId"]
        with reading(ann, chat, "say Never.", when_busy="steer") as second:
            wait_until(lambda: "data-message" in types([next(first)]), "it is sent")
            ann.post(path(chat, "stop"))
            events = list(second)
    assert types(events) == ["start", "abort", "finish"]
    assert events[0]["messageId"] != run_id
    assert until(ann, run_id, "aborted")
