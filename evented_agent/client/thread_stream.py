"""Following a conversation: the chunks of its runs, one run after the other, and of those to come.

`ThreadStream` from a thread, `AsyncThreadStream` from an event loop.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing

from evented_agent.chunks import AnyChunk
from evented_agent.client.deployment import Deployment
from evented_agent.client.leaving import AsyncLeaving, Leaving
from evented_agent.client.reader import Deadlines, Reader
from evented_agent.client.run_stream import HEARTBEAT
from evented_agent.client.thread_course import Position, RunsOfThread, ThreadCourse
from evented_agent.errors import LedgerUnavailable, RunDeleted, RunExpired, RunNotFound
from evented_agent.given import wait_of

#: Seconds between two looks for the next run.
_LOOK = 1.0
#: What a run raises to its readers that is gone: the next one follows.
_GONE = (RunNotFound, RunDeleted, RunExpired)


class _ThreadStream:
    """What both have; another source of runs than Redis overrides how they are read."""

    thread_id: str
    position: Position | None
    _deployment: Deployment

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

    def _deadlines(self, heartbeat: float | None) -> Deadlines:
        name, url = f"thread {self.thread_id!r}", self._deployment.ledger.url
        return Deadlines(name, url, {"timeout": self._timeout, "heartbeat": heartbeat})

    def _reader(self, run_id: str) -> Reader:
        return Reader(self._deployment.keys, self._deployment.ledger, run_id)


class ThreadStream(Leaving, _ThreadStream):
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
        waits = self._deadlines(heartbeat)
        at.drive("follow", course.begin(self.position))
        following = self.position
        while True:
            if following is not None:
                yield from self._of_run(course, following, waits, heartbeat)
            try:
                following = at.drive("follow", course.next_run())
                waits.connected()
            except LedgerUnavailable as error:
                following = None
                _check_passes(error)
                waits.lost(error)
            if following is None:
                if waits.is_heartbeat():
                    yield None
                time.sleep(min(_LOOK, waits.wait()))

    def _of_run(
        self, course: ThreadCourse, start: Position, waits: Deadlines, heartbeat: float | None
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
                        waits.heard()
        except _GONE:
            course.position = None


class AsyncThreadStream(AsyncLeaving, _ThreadStream):
    """`ThreadStream` for the running event loop."""

    _reading: AsyncGenerator[AnyChunk | None, None] | None = None

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
        waits = self._deadlines(heartbeat)
        await at.adrive(course.begin(self.position))
        following = self.position
        while True:
            if following is not None:
                async with aclosing(self._of_run(course, following, waits, heartbeat)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            try:
                following = await at.adrive(course.next_run())
                waits.connected()
            except LedgerUnavailable as error:
                following = None
                _check_passes(error)
                waits.lost(error)
            if following is None:
                if waits.is_heartbeat():
                    yield None
                await asyncio.sleep(min(_LOOK, waits.wait()))

    async def _of_run(
        self, course: ThreadCourse, start: Position, waits: Deadlines, heartbeat: float | None
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
                        waits.heard()
        except _GONE:
            course.position = None


def _check_passes(error: LedgerUnavailable) -> None:
    if not error.retryable:
        raise error


def _event(chunk: AnyChunk) -> str:
    _, _, rest = chunk.sse().partition("\n")
    return f"id: {chunk.run_id}:{chunk.cursor}\n{rest}"
