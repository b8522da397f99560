"""Runs and conversations as Server-Sent Events, and the tokens to open them with."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from evented_agent.chunks import AnyChunk, Child
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.shared_events import event_of
from evented_agent.client.follow import Cursor, start_of
from evented_agent.client.run_stream import HEARTBEAT, WAITING, AsyncRunStream, RunStream
from evented_agent.client.thread_course import Position
from evented_agent.state.run_info import RunInfo
from evented_agent.web.access import Allowed, allowed_run, somebody
from evented_agent.web.exchange import (
    EventReply,
    Exchange,
    PlainReply,
    bad_request,
    in_pieces,
    object_reply,
)
from evented_agent.web.failures import HttpFailure
from evented_agent.web.principal import Principal
from evented_agent.web.routes.look import narrowed, resource_of
from evented_agent.web.site import Site, Verb, WebSteps
from evented_agent.web.tokens import TOKEN_SECONDS


def get_stream(site: Site, exchange: Exchange) -> WebSteps[PlainReply | EventReply]:
    """Follow a run from its start or from a cursor; 204 for who has all of it.

    `HEAD` answers with the same status and opens nothing: a page asks so before it makes an
    EventSource, which gives up for good at any status but 200.
    """
    after = _cursor(exchange)
    closes = exchange.flag("close_on_suspend")
    allowed = yield from allowed_run(site, exchange, "read")
    counted_by = None if allowed.who.all_resources else allowed.who.name
    site.streams.check(counted_by)
    if _has_all(allowed.info, after, closes):
        return PlainReply(204)
    options = {"after": after, "close_on_suspend": closes}
    run = yield Verb("observe", (allowed.run_id,), options)
    if exchange.is_head:
        return PlainReply(200, headers={"content-type": "text/event-stream"})
    events = _Events(run, allowed, site.heartbeat)
    return EventReply(
        iter(events) if isinstance(run, RunStream) else aiter(events), run, counted_by
    )


def get_thread_stream(site: Site, exchange: Exchange) -> WebSteps[PlainReply | EventReply]:
    """Follow a conversation over its runs, past and to come, from a place in it.

    Ids of events are ``<run id>:<cursor>``; `HEAD` answers with the same status and opens nothing.
    """
    after = _position(exchange)
    thread = exchange.path["thread_id"]
    who = yield from somebody(exchange, "read", thread=thread)
    counted_by = None if who.all_resources else who.name
    site.streams.check(counted_by)
    # Once streaming has begun nothing can be refused any more: is Redis there?
    yield Verb("thread_info", (thread,), {"resource_id": resource_of(exchange, who)})
    options = {"after": after, **narrowed(site, exchange, who)}
    stream = yield Verb("follow", (thread,), options)
    if exchange.is_head:
        return PlainReply(200, headers={"content-type": "text/event-stream"})
    return EventReply(stream.sse(site.heartbeat), stream, counted_by)


def post_token(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """A token for one run: to read it, or to decide and abort as well."""
    may = _may(site, exchange)
    allowed = yield from allowed_run(site, exchange, "read")
    who = _granting(allowed.who, may, exchange)
    who = _owned_by(who, allowed.info.resource_id)
    return _token_reply(site.tokens.make(who, may, run_id=allowed.run_id))


def post_thread_token(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """A token for the runs of one conversation."""
    may = _may(site, exchange)
    thread = exchange.path["thread_id"]
    who = _granting((yield from somebody(exchange, "read", thread=thread)), may, exchange)
    owner = resource_of(exchange, who)
    if owner is None:
        raise bad_request("Say whose conversation: ?resource_id=…")
    return _token_reply(site.tokens.make(_owned_by(who, owner), may, thread_id=thread))


def _cursor(exchange: Exchange) -> Cursor:
    return _checked(_given_place(exchange) or "0")


def _position(exchange: Exchange) -> Position | None:
    given = _given_place(exchange)
    if given is None:
        return None
    run_id, _, cursor = given.rpartition(":")
    return run_id, _checked(cursor)


def _given_place(exchange: Exchange) -> str | None:
    # The header wins: a browser that reconnects sends it with the URL that it began with.
    return exchange.request.headers.get("last-event-id") or exchange.query("after") or None


def _checked(cursor: str) -> Cursor:
    try:
        start_of(cursor)
    except ValueError:
        raise HttpFailure(
            400, "invalid_cursor", "Pass a Last-Event-ID, or the last seq seen, as after."
        ) from None
    return cursor


def _has_all(info: RunInfo, after: Cursor, closes: bool) -> bool:
    """Whether nothing follows *after* by itself."""
    if not (info.is_ended or (closes and info.status == "suspended")) or not info.cursor:
        return False
    seq, _, incarnation = str(after).partition("-")
    if incarnation:
        return after == info.cursor
    return int(seq) == int(info.cursor.partition("-")[0])


class _Events:
    """The events of a run as they are sent: those that are there at once in one piece."""

    def __init__(
        self, run: RunStream[Any] | AsyncRunStream[Any], allowed: Allowed, heartbeat: float
    ) -> None:
        self._run = run
        self._heartbeat = heartbeat
        self._stored, self._named = (
            f'"runId":{dump_json(each)}' for each in (allowed.run_id, allowed.name)
        )
        # What the ids of its children begin with.
        self._children = (f"{self._stored[:-1]}~", f"{self._named[:-1]}~")

    def __iter__(self) -> Iterator[str]:
        assert isinstance(self._run, RunStream)
        for batch in self._run.batches(self._heartbeat):
            yield from self._pieces(batch)
        if not self._run.is_over():
            yield WAITING

    async def __aiter__(self) -> AsyncIterator[str]:
        assert isinstance(self._run, AsyncRunStream)
        async for batch in self._run.batches(self._heartbeat):
            for piece in self._pieces(batch):
                yield piece
        if not await self._run.is_over():
            yield WAITING

    def _pieces(self, batch: Sequence[AnyChunk]) -> Iterator[str]:
        return in_pieces(map(self._event, batch)) if batch else iter([HEARTBEAT])

    def _event(self, chunk: AnyChunk) -> str:
        event = event_of(chunk)
        if self._stored == self._named:
            return event
        event = event.replace(self._stored, self._named, 1)
        return event.replace(*self._children, 1) if isinstance(chunk, Child) else event


def _may(site: Site, exchange: Exchange) -> str:
    if not site.tokens.is_configured:
        raise HttpFailure(
            404, "no_stream_tokens", "Stream tokens need create_app(token_keys=[…]) on the server."
        )
    may = exchange.json("may").get("may", "read")
    if may not in ("read", "act"):
        raise bad_request("may: use 'read' or 'act'.")
    return str(may)


def _granting(who: Principal, may: str, exchange: Exchange) -> Principal:
    """Nobody gives more than they have; a token makes no other, which would live longer."""
    if exchange.token is not None or (may == "act" and not {"act", "decide"} <= who.scopes):
        raise HttpFailure(403, "forbidden", "You may not make such a token.")
    return who


def _owned_by(who: Principal, resource_id: str | None) -> Principal:
    """A token is about one person's runs, also where a service that sees all makes it."""
    if resource_id is None:
        return who
    return Principal(who.name, resource_id, scopes=who.scopes)


def _token_reply(token: str) -> PlainReply:
    return object_reply({"token": token, "expires_in": TOKEN_SECONDS}, 201)
