"""Reads a run's Server-Sent Events, and goes on where it was after whatever drop."""

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any, ClassVar, Unpack

import pydantic_core

from evented_agent.chunks import AnyChunk
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.codec import decode
from evented_agent.client.follow import Cursor
from evented_agent.client.reader import ReadOptions
from evented_agent.client.thread_course import RunsOfThread
from evented_agent.remote.http_requests import (
    AWAY,
    HttpSender,
    failure_in,
    no_answer,
    quoted_id,
)

#: Seconds of silence after which a connection counts as lost; servers show life more often.
_SILENCE = 40.0
#: Seconds that a reader keeps trying to reach the server.
_RETRY_FOR = 60.0


class HttpReader:
    """Reads one run over HTTP; see `evented_agent.client.reader.Reader`."""

    def __init__(self, sender: HttpSender, run_id: str) -> None:
        self._sender = sender
        self._run_id = run_id
        self._path = f"/runs/{quoted_id(run_id)}/stream"

    def chunks(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> Generator[AnyChunk | None, None, None]:
        reading = self._begin(after, options)
        while not reading.ended():
            try:
                with closing(self._lines(reading)) as lines:
                    for line in lines:
                        yield from reading.feed(line)
                        if reading.ended():
                            return
            except self._sender.lost as error:
                self._lost(reading, error)
            if reading.beat():
                yield None
            time.sleep(reading.pause())

    async def achunks(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> AsyncGenerator[AnyChunk | None, None]:
        """`chunks` for the running event loop."""
        reading = self._begin(after, options)
        while not reading.ended():
            try:
                async with aclosing(self._alines(reading)) as lines:
                    async for line in lines:
                        for chunk in reading.feed(line):
                            yield chunk
                        if reading.ended():
                            return
            except self._sender.lost as error:
                self._lost(reading, error)
            if reading.beat():
                yield None
            await asyncio.sleep(reading.pause())

    def batches(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> Generator[Sequence[AnyChunk], None, None]:
        """`chunks`, one by one as they come over the wire; none of them for None."""
        with closing(self.chunks(after, **options)) as chunks:
            for chunk in chunks:
                yield () if chunk is None else (chunk,)

    async def abatches(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> AsyncGenerator[Sequence[AnyChunk], None]:
        """`batches` for the running event loop."""
        async with aclosing(self.achunks(after, **options)) as chunks:
            async for chunk in chunks:
                yield () if chunk is None else (chunk,)

    def _lines(self, reading: "_Reading") -> Generator[str, None, None]:
        with self._sender.client().stream(**self._arguments(reading)) as reply:
            if _is_stream(reply):
                yield from reply.iter_lines()
            else:
                self._refused(reading, reply.status_code, reply.read(), reply.headers)

    async def _alines(self, reading: "_Reading") -> AsyncGenerator[str, None]:
        async with self._sender.aclient().stream(**self._arguments(reading)) as reply:
            if _is_stream(reply):
                async for line in reply.aiter_lines():
                    yield line
            else:
                body = await reply.aread()
                self._refused(reading, reply.status_code, body, reply.headers)

    def _arguments(self, reading: "_Reading") -> dict[str, Any]:
        reading.connect()
        query = self._query(reading.cursor, reading.closes)
        return self._sender.stream_arguments(self._path, query, reading.wait())

    def _query(self, cursor: Cursor, closes: bool, /) -> dict[str, str]:
        return {"after": str(cursor), "close_on_suspend": str(closes).lower()}

    def _begin(self, after: Cursor, options: ReadOptions) -> "_Reading":
        return _Reading(self._run_id, after, options)

    def _refused(self, reading: "_Reading", status: int, body: bytes, headers: Any) -> None:
        if status == 204:
            reading.end()
        elif status in AWAY:
            self._lost(reading, f"HTTP {status}")
        elif status == 429 and reading.has_read and not reading.lost():
            # The connection that was lost still counts there.
            return
        elif status == 200:
            raise no_answer(status, headers.get("content-type") or "no content type")
        else:
            raise failure_in(status, body, headers, self._run_id)

    def _lost(self, reading: "_Reading", why: object) -> None:
        if reading.lost():
            raise self._sender.unavailable(why) from None


class HttpThreadReader(HttpReader):
    """Reads a conversation over HTTP: places in it are ``<run id>:<cursor>``."""

    def __init__(self, sender: HttpSender, which: RunsOfThread) -> None:
        super().__init__(sender, "")
        self._which = which
        self._path = f"/threads/{quoted_id(which.thread_id)}/stream"

    def _query(self, cursor: Cursor, _: bool, /) -> dict[str, str]:
        chosen = {
            "after": str(cursor),
            "agent": self._which.agent,
            "resource_id": self._which.resource_id,
        }
        return {name: value for name, value in chosen.items() if value}

    def _begin(self, after: Cursor, options: ReadOptions) -> "_Reading":
        # What the server may not find.
        self._run_id = str(after).rpartition(":")[0]
        return _ThreadReading(self._which.thread_id, after, options)


class _Reading:
    """Where a reader is in the run and in an event, and how long it waits."""

    _noun: ClassVar[str] = "run"

    def __init__(self, name: str, after: Cursor, options: ReadOptions) -> None:
        timeout, heartbeat = options.get("timeout"), options.get("heartbeat")
        total = options.get("total_timeout")
        self.cursor = after
        self.closes = options.get("close_on_suspend", True)
        self.has_read = False
        self._is_over = False
        self._name = name
        self._event: dict[str, str] = {}
        self._timeout = math.inf if timeout is None else timeout
        self._heartbeat = math.inf if heartbeat is None else heartbeat
        self._heard = self._signed = now = time.monotonic()
        self._ends = math.inf if total is None else now + total
        self._lost_since: float | None = None

    def feed(self, line: str) -> Generator[AnyChunk | None, None, None]:
        """Take a line; the chunk that it completes, or None when a sign of life is due."""
        self._lost_since, self.has_read = None, True
        if line:
            name, _, value = line.partition(":")
            self._event[name] = value.removeprefix(" ")
            if not name and self.beat():
                yield None
            if not name:
                # Only a comment came: it may still be time to give up.
                self.wait()
            return
        event, self._event = self._event, {}
        if "data" not in event or "id" not in event:
            return
        yield self._took(event["id"], pydantic_core.from_json(event["data"]))
        self._heard = self._signed = time.monotonic()

    def connect(self) -> None:
        """Another connection begins, with no part of what the last one has left off in."""
        self._event = {}

    def end(self) -> None:
        """Nothing follows."""
        self._is_over = True

    def ended(self) -> bool:
        return self._is_over

    def beat(self) -> bool:
        """Whether it is time for a sign of life to whoever reads from us."""
        now = time.monotonic()
        if self._is_over or now < self._signed + self._heartbeat:
            return False
        self._signed = now
        return True

    def wait(self) -> float:
        """Seconds that the server may be silent; raises `TimeoutError` when the time is up."""
        now = time.monotonic()
        up = min(self._heard + self._timeout, self._ends)
        if now >= up:
            raise TimeoutError(
                f"No chunk of {self._noun} {self._name!r} in {now - self._heard:.1f} s. The run "
                "goes on; observe it again from the last cursor."
            )
        return max(0.01, min(up - now, self._signed + self._heartbeat - now, _SILENCE))

    def lost(self) -> bool:
        """Note a lost connection; whether to give up."""
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        return now - self._lost_since > _RETRY_FOR

    def pause(self) -> float:
        """Seconds before the next connection."""
        if self._is_over:
            return 0.0
        # A server that stops ends a stream cleanly, and takes no new ones for a moment.
        return random.uniform(0.05, 0.3)

    def _took(self, event_id: str, wire: dict[str, Any]) -> AnyChunk:
        chunk = _chunk(self._name, event_id, wire)
        self.cursor, self._is_over = chunk.cursor, chunk.ends_topic
        return chunk


class _ThreadReading(_Reading):
    _noun: ClassVar[str] = "thread"

    def _took(self, event_id: str, wire: dict[str, Any]) -> AnyChunk:
        run_id, _, cursor = event_id.rpartition(":")
        self.cursor = event_id
        return _chunk(run_id, cursor, wire)


def _is_stream(reply: Any) -> bool:
    kind: str = reply.headers.get("content-type", "")
    return bool(reply.status_code == 200) and kind.startswith("text/event-stream")


def _chunk(run_id: str, cursor: str, wire: dict[str, Any]) -> AnyChunk:
    stored = dump_json([wire["type"], wire.get("task"), wire["payload"]])
    return decode(wire["seq"], cursor, run_id, stored)
