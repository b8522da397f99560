"""Following a conversation: the chunks of its runs, one run after the other, and of those to come.

`ThreadStream` from a thread, `AsyncThreadStream` from an event loop.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Self

from evented_agent.chunks import AnyChunk
from evented_agent.client.deployment import Deployment
from evented_agent.client.reader import Reader
from evented_agent.client.run_stream import HEARTBEAT
from evented_agent.client.thread_course import Position, RunsOfThread, ThreadCourse
from evented_agent.errors import LedgerUnavailable, RunDeleted, RunExpired, RunNotFound
from evented_agent.given import wait_of

#: Seconds between two looks for the next run.
_LOOK = 1.0
#: Seconds that a reader keeps trying to reach Redis.
_RETRY_FOR = 60.0
#: What a run raises to its readers that is gone: the next one follows.
_GONE = (RunNotFound, RunDeleted, RunExpired)


class _ThreadStream:
    """What both have; another source of runs than Redis overrides how they are read."""

    def __init__(
        self,
        deployment: Deployment | None,
        which: RunsOfThread,
        *,
        after: Position | None = None,
        timeout: float | None = None,
    ) -> None:
        self.thread_id = which.thread_id
        self.position = after
        self._timeout = wait_of("timeout", timeout)
        self._which = which
        if deployment is not None:
            self._deployment = deployment

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.thread_id!r} after {self.position}>"

    def _took(self, chunk: AnyChunk) -> AnyChunk:
        self.position = chunk.run_id, chunk.cursor
        return chunk

    def _reader(self, run_id: str) -> Reader:
        return Reader(self._deployment.keys, self._deployment.ledger, run_id)


class ThreadStream(_ThreadStream):
    """The chunks of a conversation's runs, in the order of the runs, each with its own numbers.

    Iteration goes on with the next run as soon as one has ended, waits for runs that are not yet
    there, and ends only with `TimeoutError`. It can be taken up again where it was left: *position*
    is the run and the cursor that were read last.

    A run that waits, for its turn or for people, is waited for. Of runs in parallel, the later one
    is read, whole, when the earlier has ended. Runs that were deleted, or whose chunks have
    expired, are passed over.

    Example:
        >>> for chunk in runs.follow("t1", resource_id="ann"):
        ...     print(chunk.run_id, chunk.type)
    """

    _reading: Generator[AnyChunk | None, None, None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[AnyChunk]:
        for chunk in self._read(None):
            if chunk is not None:
                yield chunk

    def sse(self, heartbeat: float | None = 15) -> Iterator[str]:
        """Yield Server-Sent Events, and a comment after *heartbeat* seconds of silence.

        As `RunStream.sse`, with ids of the form ``<run id>:<cursor>``.
        """
        for chunk in self._read(heartbeat):
            yield HEARTBEAT if chunk is None else _event(chunk)

    def close(self) -> None:
        """Stop reading. The runs, and every other reader, go on."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()

    def _read(self, heartbeat: float | None) -> Iterator[AnyChunk | None]:
        self._check_wait()
        self.close()
        self._reading = self._chunks(heartbeat)
        for chunk in self._reading:
            yield None if chunk is None else self._took(chunk)

    def _check_wait(self) -> None:
        self._deployment.check_wait("reading")

    def _chunks(self, heartbeat: float | None) -> Generator[AnyChunk | None, None, None]:
        at, course = self._deployment, ThreadCourse(self._deployment, self._which)
        waits = _Waits(self.thread_id, self._timeout, heartbeat)
        at.drive("follow", course.begin(self.position))
        following = self.position
        while True:
            if following is not None:
                yield from self._of_run(course, following, waits, heartbeat)
            try:
                following = at.drive("follow", course.next_run())
                waits.reached()
            except LedgerUnavailable as error:
                following = None
                waits.lost(error)
            if following is None:
                if waits.is_heartbeat():
                    yield None
                time.sleep(waits.pause())

    def _of_run(
        self, course: ThreadCourse, start: Position, waits: "_Waits", heartbeat: float | None
    ) -> Generator[AnyChunk | None, None, None]:
        run_id, cursor = start
        chunks = self._reader(run_id).chunks(
            cursor, timeout=self._timeout, heartbeat=heartbeat, close_on_suspend=False
        )
        try:
            with closing(chunks):
                for chunk in chunks:
                    yield chunk
                    if chunk is not None:
                        course.position = run_id, chunk.cursor
                    waits.heard(chunk)
        except _GONE:
            course.position = None


class AsyncThreadStream(_ThreadStream):
    """`ThreadStream` for the running event loop."""

    _reading: AsyncGenerator[AnyChunk | None, None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncIterator[AnyChunk]:
        async for chunk in self._read(None):
            if chunk is not None:
                yield chunk

    async def sse(self, heartbeat: float | None = 15) -> AsyncIterator[str]:
        """Yield Server-Sent Events; see `ThreadStream.sse`."""
        async for chunk in self._read(heartbeat):
            yield HEARTBEAT if chunk is None else _event(chunk)

    async def aclose(self) -> None:
        """Stop reading. The runs, and every other reader, go on."""
        reading, self._reading = self._reading, None
        if reading is not None:
            await reading.aclose()

    async def _read(self, heartbeat: float | None) -> AsyncIterator[AnyChunk | None]:
        await self.aclose()
        self._reading = self._chunks(heartbeat)
        async for chunk in self._reading:
            yield None if chunk is None else self._took(chunk)

    async def _chunks(self, heartbeat: float | None) -> AsyncGenerator[AnyChunk | None, None]:
        at, course = self._deployment, ThreadCourse(self._deployment, self._which)
        waits = _Waits(self.thread_id, self._timeout, heartbeat)
        await at.adrive(course.begin(self.position))
        following = self.position
        while True:
            if following is not None:
                async with aclosing(self._of_run(course, following, waits, heartbeat)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            try:
                following = await at.adrive(course.next_run())
                waits.reached()
            except LedgerUnavailable as error:
                following = None
                waits.lost(error)
            if following is None:
                if waits.is_heartbeat():
                    yield None
                await asyncio.sleep(waits.pause())

    async def _of_run(
        self, course: ThreadCourse, start: Position, waits: "_Waits", heartbeat: float | None
    ) -> AsyncGenerator[AnyChunk | None, None]:
        run_id, cursor = start
        reading = self._reader(run_id).achunks(
            cursor, timeout=self._timeout, heartbeat=heartbeat, close_on_suspend=False
        )
        try:
            async with aclosing(reading):
                async for chunk in reading:
                    yield chunk
                    if chunk is not None:
                        course.position = run_id, chunk.cursor
                    waits.heard(chunk)
        except _GONE:
            course.position = None


class _Waits:
    """How long a reader waits for the next run, or for a Redis that is gone."""

    def __init__(self, thread_id: str, timeout: float | None, heartbeat: float | None) -> None:
        self._thread_id = thread_id
        self._timeout = math.inf if timeout is None else timeout
        self._heartbeat = math.inf if heartbeat is None else heartbeat
        self._heard = self._signed = time.monotonic()
        self._lost_since: float | None = None

    def heard(self, chunk: Any) -> None:
        """Note a chunk, or a sign of life."""
        self._signed = time.monotonic()
        if chunk is not None:
            self._heard = self._signed

    def is_heartbeat(self) -> bool:
        now = time.monotonic()
        if now < self._signed + self._heartbeat:
            return False
        self._signed = now
        return True

    def reached(self) -> None:
        self._lost_since = None

    def lost(self, error: LedgerUnavailable) -> None:
        """Note that Redis is away; raises what it was for too long, or for good."""
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        if not error.retryable or now - self._lost_since > _RETRY_FOR:
            raise error

    def pause(self) -> float:
        """Seconds until the next look; raises `TimeoutError` when the time is up."""
        now = time.monotonic()
        if now >= self._heard + self._timeout:
            raise TimeoutError(
                f"No chunk in thread {self._thread_id!r} in {now - self._heard:.1f} s. Follow it "
                "again from the last position."
            )
        left = min(self._heard + self._timeout, self._signed + self._heartbeat) - now
        return max(0.01, min(_LOOK, left))


def _event(chunk: AnyChunk) -> str:
    _, _, rest = chunk.sse().partition("\n")
    return f"id: {chunk.run_id}:{chunk.cursor}\n{rest}"
