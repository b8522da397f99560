"""`HttpRuns` behind proxies and servers that break off, or that are something else altogether."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from evented_agent import EventedAgentError, HttpRuns, LedgerUnavailable, LimitReached
from evented_agent.chunks import TextDelta
from tests.unit.models.peer import Peer

#: A body that ends where the connection does, as proxies of HTTP/1.0 send it.
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hb\n\n"
PAGE = b"<!doctype html><title>Sign in</title>"
SIGN_IN = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE
)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def runs(peer: Peer) -> Iterator[HttpRuns]:
    runs = HttpRuns(peer.url, token="ann", retry_for=1)
    yield runs
    runs.close()


def event(seq: int, type_: str, payload: dict[str, Any]) -> bytes:
    data = {"seq": seq, "runId": "r", "task": "1:model", "type": type_, "payload": payload}
    return f"id: {seq}-1\ndata: {json.dumps(data)}\n\n".encode()


def delta(seq: int, text: str) -> bytes:
    return event(seq, "text-delta", {"id": "txt", "text": text})


END = event(3, "abort", {"reason": None})


def started(peer: Peer) -> None:
    reply = b'{"run_id": "r", "cursor": "0"}'
    peer.reply(b"HTTP/1.1 202 Ok\r\nContent-Length: %d\r\n\r\n" % len(reply) + reply)


def said(runs: HttpRuns) -> list[str]:
    with runs.stream("talker", "Hello") as run:
        return [chunk.payload.text for chunk in run if isinstance(chunk, TextDelta)]


async def closing(runs: HttpRuns, asked: Awaitable[Any]) -> None:
    try:
        await asked
    finally:
        await runs.aclose()


def answered(peer: Peer, status: bytes) -> None:
    peer.reply(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)


@pytest.mark.parametrize("missing", [1, 2, 8], ids=["blank line", "line", "middle"])
def test_an_event_that_a_drop_has_cut_is_read_once(
    peer: Peer, runs: HttpRuns, missing: int
) -> None:
    started(peer)
    peer.reply(EVENTS + delta(1, "one ") + delta(2, "two")[:-missing], close)
    peer.reply(EVENTS + delta(2, "two") + END, close)

    assert said(runs) == ["one ", "two"]
    assert "after=1-1" in peer.asked[2].path


def close(connection: Any) -> None:
    connection.close()
    raise ConnectionAbortedError


def test_a_reader_waits_while_the_server_counts_the_connection_that_it_lost(
    peer: Peer, runs: HttpRuns
) -> None:
    started(peer)
    peer.reply(EVENTS + delta(1, "one "), close)
    for _ in range(3):
        answered(peer, b"429 Too Many")
    peer.reply(EVENTS + delta(2, "two") + END, close)

    assert said(runs) == ["one ", "two"]


def test_one_stream_too_many_is_refused_at_once(peer: Peer, runs: HttpRuns) -> None:
    started(peer)
    answered(peer, b"429 Too Many")

    with pytest.raises(LimitReached):
        said(runs)


@pytest.mark.parametrize("status", [b"502 Bad Gateway", b"503 Away", b"504 Gateway Timeout"])
@pytest.mark.parametrize("verb", [HttpRuns.retry, HttpRuns.delete])
def test_what_may_have_been_done_is_not_asked_for_twice(
    peer: Peer, runs: HttpRuns, verb: Callable[[HttpRuns, str], object], status: bytes
) -> None:
    answered(peer, status)
    peer.reply(b"HTTP/1.1 204 Done\r\n\r\n")

    with pytest.raises(LedgerUnavailable, match="may have been done"):
        verb(runs, "r")

    assert len(peer.asked) == 1


def test_what_is_harmless_is_asked_for_again_behind_a_proxy(peer: Peer, runs: HttpRuns) -> None:
    answered(peer, b"504 Gateway Timeout")
    reply = b'{"run_id": "r", "aborted": true}'
    peer.reply(b"HTTP/1.1 202 Ok\r\nContent-Length: %d\r\n\r\n" % len(reply) + reply)

    assert runs.abort("r") is True


def test_a_page_in_place_of_an_answer_is_said_to_be_one(peer: Peer, runs: HttpRuns) -> None:
    for _ in range(4):
        peer.reply(SIGN_IN)

    with pytest.raises(EventedAgentError, match="no answer of this API"):
        runs.get("r")
    with pytest.raises(EventedAgentError, match="no answer of this API"):
        asyncio.run(closing(runs, runs.alist()))


def test_a_page_in_place_of_a_stream_ends_the_reading(peer: Peer, runs: HttpRuns) -> None:
    async def read() -> None:
        async with runs.astream("talker", "Hello") as run:
            async for _ in run:
                pass

    for _ in range(2):
        started(peer)
        peer.reply(SIGN_IN)

    with pytest.raises(EventedAgentError, match="text/html"):
        said(runs)

    with pytest.raises(EventedAgentError, match="text/html"):
        asyncio.run(closing(runs, read()))
