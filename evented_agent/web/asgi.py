"""The ASGI application: reads a request within its limits, and writes answers and streams."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast
from urllib.parse import quote

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from evented_agent.client.run_stream import AsyncRunStream
from evented_agent.logs import logger_of
from evented_agent.web.event_writer import Connection, EventWriter
from evented_agent.web.exchange import (
    AsgiReply,
    EventReply,
    LateReply,
    PlainReply,
    StreamBroken,
    WebReply,
)
from evented_agent.web.failures import HttpFailure, failure_of
from evented_agent.web.serve import (
    STREAM_HEADERS,
    Match,
    headers_for,
    matched,
    too_large,
)
from evented_agent.web.shutdown import Stopping
from evented_agent.web.site import Site, adrive
from evented_agent.web.table import failure_reply

logger = logger_of(__name__)

#: Seconds that a reader has, when the server stops, to take what was sent.
_GRACE = 1.0


class WebApp:
    """Serves runs over HTTP.  Made by `create_app`; mount it, or serve it as it is."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stopping = Stopping()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            self._stopping.listen()
            await self._serve(Request(scope, receive), receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    def close_streams(self) -> None:
        """End the streams of this process, so that readers go on with another one."""
        self._stopping.stop()

    async def _serve(self, request: Request, receive: Receive, send: Send) -> None:
        try:
            reply = await self._reply(request, receive)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - each has its status
            reply = failure_reply(_path_of(request.scope), failure_of(error))
        if isinstance(reply, EventReply):
            await self._stream(request, reply, receive, send)
        elif isinstance(reply, AsgiReply):
            await self._pass_on(request, reply, receive, send)
        elif reply is not None:
            await self._send(request, reply, send)

    async def _reply(
        self, request: Request, receive: Receive
    ) -> PlainReply | EventReply | AsgiReply | None:
        """The answer; None where nobody is there any more to read it."""
        match = matched(self._site, request, _path_of(request.scope))
        if isinstance(match, PlainReply):
            return match
        reply = await self._handled(match, request, await self._body(receive))
        return await self._late(reply, receive) if isinstance(reply, LateReply) else reply

    async def _handled(self, match: Match, request: Request, body: bytes) -> WebReply:
        steps = match.route.handler(self._site, match.exchange(request, body))
        return cast(WebReply, await adrive(self._site, steps))

    async def _late(self, reply: LateReply, receive: Receive) -> PlainReply | None:
        with self._site.streams.one_of(reply.counted_by, "answer"):
            waiting = asyncio.ensure_future(reply.waiting.await_())
            gone = asyncio.ensure_future(_disconnected(receive))
            stopping = self._stopping.future()
            ends: set[asyncio.Future[Any]] = {waiting, gone, stopping}
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                has_gone = gone.done()
                stopping.cancel()
                await _cancel(waiting, gone)
        if not waiting.cancelled():
            return waiting.result()
        return None if has_gone else reply.instead

    async def _body(self, receive: Receive) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._site.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise HttpFailure(400, "disconnected", "The request was not sent whole.")
                    body += message.get("body", b"")
                    if len(body) > self._site.limits.body:
                        raise too_large(self._site)
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise HttpFailure(
                408, "request_timeout", "The body took too long.", {"connection": "close"}
            ) from None

    async def _send(self, request: Request, reply: PlainReply, send: Send) -> None:
        own = dict(reply.headers)
        # Only HEAD has a length without a body, and nobody knows the one of a stream.
        if reply.status != 204 and request.method != "HEAD":
            own["content-length"] = str(len(reply.body))
        await send(_start(reply.status, headers_for(self._site, request, own)))
        body = b"" if request.method == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})

    async def _pass_on(
        self, request: Request, reply: AsgiReply, receive: Receive, send: Send
    ) -> None:
        """Let an application answer, until it has or this server stops."""
        bodies = [{"type": "http.request", "body": reply.body, "more_body": False}]

        async def replay() -> Message:
            return bodies.pop() if bodies else await receive()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {
                    name.decode("latin-1"): value.decode("latin-1")
                    for name, value in message["headers"]
                }
                message = _start(message["status"], headers_for(self._site, request, own))
            await send(message)

        answering = asyncio.ensure_future(reply.app(request.scope, replay, send_with_headers))
        stopping = self._stopping.future()
        try:
            await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await _cancel(answering)
        if not answering.cancelled():
            answering.result()

    async def _stream(
        self, request: Request, reply: EventReply, receive: Receive, send: Send
    ) -> None:
        try:
            with self._site.streams.one_of(reply.counted_by, reply.reading):
                own = {**STREAM_HEADERS, **reply.headers}
                await send(_start(200, headers_for(self._site, request, own)))
                try:
                    await self._until_gone(reply, receive, send)
                finally:
                    await cast(AsyncRunStream, reply.run).aclose()
        except HttpFailure as failure:
            await self._send(request, failure_reply(_path_of(request.scope), failure), send)

    async def _until_gone(self, reply: EventReply, receive: Receive, send: Send) -> None:
        """Write until the end, or until the reader or this server goes; the run never notices."""
        writer = EventWriter(cast(AsyncIterator[str], reply.events), send)
        connection = Connection(receive)
        writing = asyncio.ensure_future(writer.write())
        gone = asyncio.ensure_future(_disconnected(receive))
        stopping = self._stopping.future()
        try:
            await self._until_first({writing, gone, stopping}, writer)
            has_gone, is_stalled = gone.done(), writer.waits()
            if is_stalled and not has_gone:
                connection.break_off()
                await asyncio.wait({gone}, timeout=_GRACE)
        finally:
            stopping.cancel()
            await _cancel(writing, gone)
        if not writing.cancelled():
            self._note(writing.exception())
            if writing.exception() is not None:
                connection.break_off()
        elif is_stalled and not has_gone:
            logger.info("A stream was cut: its reader took nothing of it")
        elif not has_gone:
            await self._end_early(reply, connection, send)

    async def _end_early(self, reply: EventReply, connection: Connection, send: Send) -> None:
        """The server stops. No end of the run: whoever reads comes back elsewhere."""
        if reply.has_end:
            connection.break_off()
            return
        # Until now the reader kept up; but this is held back for one that takes nothing more.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await send({"type": "http.response.body"})
        await connection.drain(_GRACE)

    async def _until_first(self, ends: set[asyncio.Future[None]], writer: EventWriter) -> None:
        """Wait for the first of *ends*, or until the reader has taken nothing for too long."""
        most = self._site.limits.stall_seconds
        while not writer.waits(most):
            done, _ = await asyncio.wait(
                ends, timeout=most / 2, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return

    def _note(self, error: BaseException | None) -> None:
        """A stream that broke off is told by its missing end; its reader asks again."""
        if error is None:
            return
        if isinstance(error, TimeoutError | OSError | StreamBroken):
            logger.info("A stream was cut: %r", error)
        else:
            logger.error("A stream broke off", exc_info=error)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.close_streams()
                await self._site.runs.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel until it is done: on Python 3.11, redis-py may lose a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _start(status: int, headers: list[tuple[str, str]]) -> dict[str, Any]:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def _path_of(scope: Scope) -> str:
    """The path below where this is mounted, percent-encoded."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    raw = scope.get("raw_path")
    # A slash inside of an id is one only in the encoded form.
    encoded = quote(path) if raw is None else bytes(raw).partition(b"?")[0].decode("latin-1")
    if root and path.startswith(f"{root}/"):
        return "/" + "/".join(encoded.split("/")[root.count("/") + 1 :])
    return "" if path == root else encoded
