"""One HTTP request and its answer as handlers see them, whatever server they run under."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, get_args

import pydantic_core
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.types import ASGIApp

from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.client.thread_stream import AsyncThreadStream, ThreadStream
from evented_agent.web.failures import HttpFailure

_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)
_JSON = {"content-type": "application/json"}

#: What an open stream follows: a run, a conversation, or a run of which only the answer is sent.
Reading = Literal["run", "conversation", "answer"]
READINGS: tuple[Reading, ...] = get_args(Reading)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that has been read.

    Attributes:
        request: As Starlette gives it; under WSGI made from the environ, which is in its scope.
        path: What the path's placeholders stand for.
        body: All of it.
        token: The stream token that came with it.
        is_head: Whether only the status is asked for.
    """

    request: Request
    path: Mapping[str, str]
    body: bytes
    token: str | None = None
    is_head: bool = False

    def json(self, *allowed: str) -> dict[str, Any]:
        """The body as a JSON object with no other fields than *allowed*; empty for no body."""
        if not self.body.strip():
            return {}
        try:
            found = pydantic_core.from_json(self.body, allow_inf_nan=False)
        except ValueError as error:
            raise bad_request(f"The body is not JSON: {error}.") from None
        if not isinstance(found, dict):
            raise bad_request("The body is no JSON object.")
        if unknown := sorted(set(found) - set(allowed)):
            raise bad_request(
                f"Unknown fields: {', '.join(map(repr, unknown))}. Known are: {', '.join(allowed)}."
            )
        return found

    def query(self, name: str) -> str | None:
        return self.request.query_params.get(name)

    def flag(self, name: str) -> bool:
        given = self.query(name) or "false"
        if given not in ("true", "false"):
            raise bad_request(f"{name}={given!r}: use true or false.")
        return given == "true"

    def count(self, name: str, default: int, most: int) -> int:
        given = self.query(name)
        if given is None:
            return default
        is_number = given.isascii() and given.isdigit() and len(given) <= 9
        if not (is_number and 1 <= int(given) <= most):
            raise bad_request(f"{name}={given[:40]!r}: use a number from 1 to {most}.")
        return int(given)

    def time(self, name: str) -> datetime | None:
        given = self.query(name)
        if given is None:
            return None
        try:
            found = _TIME.validate_strings(given)
            return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        except ValueError:
            raise bad_request(f"{name}={given[:40]!r}: use an ISO 8601 time.") from None


@dataclass(frozen=True, slots=True)
class PlainReply:
    """A status, headers, and a body that is whole."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"cache-control": "no-store"})


@dataclass(frozen=True, slots=True)
class EventReply:
    """A stream of Server-Sent Events.

    Attributes:
        events: The events, an iterator for threads or for an event loop.
        run: What they are read from; to be closed.
        counted_by: Whose open stream it is; None is not counted.
        headers: More headers of the reply.
        has_end: Whether clients take a clean end for the end of what they read. Where the server
            stops, the connection is broken instead.
    """

    events: Iterator[str] | AsyncIterator[str]
    run: RunStream[Any] | AsyncRunStream[Any] | ThreadStream | AsyncThreadStream
    counted_by: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    has_end: bool = False

    @property
    def reading(self) -> Reading:
        """What is followed."""
        is_run = isinstance(self.run, RunStream | AsyncRunStream)
        return "run" if is_run else "conversation"


class Waiting(Protocol):
    """Waits, in a thread or an event loop, for what is answered."""

    def wait(self) -> PlainReply: ...

    async def await_(self) -> PlainReply: ...


@dataclass(frozen=True, slots=True)
class LateReply:
    """An answer that comes once a run is where the client waits for it.

    Attributes:
        waiting: What waits; given up where the client goes, which the run never notices.
        instead: What is answered where the server stops before.
        counted_by: Whose open stream it counts as; None is not counted.
    """

    waiting: Waiting
    instead: PlainReply
    counted_by: str | None


@dataclass(frozen=True, slots=True)
class AsgiReply:
    """An answer that an ASGI application gives; there is none under WSGI.

    Attributes:
        app: The application.
        body: The request's body, which has been read.
    """

    app: ASGIApp
    body: bytes


#: What a handler may answer with.
WebReply = PlainReply | EventReply | LateReply | AsgiReply


#: Characters that are sent at once; more would wait in this process for a slow reader.
_ENOUGH = 16_384


def in_pieces(events: Iterable[str]) -> Iterator[str]:
    """Events that are there at once, joined for as few writes as their sizes allow."""
    piece = ""
    for event in events:
        piece += event
        if len(piece) >= _ENOUGH:
            yield piece
            piece = ""
    if piece:
        yield piece


class StreamBroken(Exception):
    """Break the connection of a stream: what it has sent no longer holds, and no event says so."""


def json_reply(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> PlainReply:
    more = {"cache-control": "no-store", **_JSON, **(headers or {})}
    return PlainReply(status, body, more)


def object_reply(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> PlainReply:
    return json_reply(pydantic_core.to_json(body), status, headers)


def bad_request(message: str) -> HttpFailure:
    return HttpFailure(400, "invalid_request", message)
