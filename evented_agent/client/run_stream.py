"""Following one run: `RunStream` from a thread, `AsyncRunStream` from an event loop.

Lazy: nothing connects before the first read, so that fire-and-forget costs nothing.  Leaving one
never touches the run.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from types import TracebackType
from typing import Any, Protocol, Self

from evented_agent.agents.tools.approvals import Pending
from evented_agent.chunks import (
    Abort,
    Chunk,
    Error,
    Finish,
    StepFinish,
    TextUpdate,
    ToolCallApproval,
    ToolCallSuspended,
    Transcript,
)
from evented_agent.client.decisions import approval_data, denial_data
from evented_agent.client.follow import Cursor
from evented_agent.client.reader import Reader
from evented_agent.errors import RunAborted, RunFailed
from evented_agent.state.run_info import ENDED, RunInfo
from evented_agent.state.run_result import RunResult

logger = logging.getLogger(__name__)

#: A comment line that keeps proxies from closing a silent stream. One newline: with a blank line,
#: several clients would read it as an empty event.
HEARTBEAT = ": hb\n"

Callback = Callable[[Any], Any]

#: Statuses in which nothing more comes by itself.
SETTLED = ENDED | {"suspended"}


class Door(Protocol):
    """What a stream needs of `Runs`."""

    def reader(self, run_id: str) -> Reader: ...
    def get(self, run_id: str) -> RunInfo: ...
    def result(self, run_id: str) -> RunResult: ...
    def abort(self, run_id: str, *, reason: str | None = None) -> bool: ...
    def resume(
        self,
        run_id: str,
        data: Any,
        *,
        tool_call_id: str | None = None,
        number: int | None = None,
        by: str | None = None,
    ) -> "RunStream": ...
    async def aresume(
        self,
        run_id: str,
        data: Any,
        *,
        tool_call_id: str | None = None,
        number: int | None = None,
        by: str | None = None,
    ) -> "AsyncRunStream": ...
    async def aget(self, run_id: str) -> RunInfo: ...
    async def aresult(self, run_id: str) -> RunResult: ...
    async def aabort(self, run_id: str, *, reason: str | None = None) -> bool: ...


class _Stream:
    def __init__(
        self,
        runs: Door,
        run_id: str,
        *,
        after: Cursor = 0,
        timeout: float | None = None,
        close_on_suspend: bool = True,
    ) -> None:
        self.run_id = run_id
        self._close_on_suspend = close_on_suspend
        self.cursor: Cursor = after
        self._runs = runs
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.run_id} after {self.cursor}>"

    def _took(self, chunk: Chunk) -> Chunk:
        self.cursor = chunk.cursor
        return chunk


class RunStream(_Stream):
    """The chunks of a run from `cursor` on: iterate it, or take its `sse()` or `result()`.

    Iteration ends with the run, or where it waits for people alone (`pending` says what for), and
    never raises for the run's own failure. It can be taken up again where it was left.

    Example:
        >>> with evented.stream("Hello") as run:
        ...     for chunk in run:
        ...         print(chunk.type, chunk.payload)
    """

    _reading: Generator[Chunk | None, None, None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cleanup()

    def __iter__(self) -> Iterator[Chunk]:
        for chunk in self._read():
            if chunk is not None:
                yield chunk

    @property
    def status(self) -> str:
        """The run's status now, read anew each time."""
        return self._runs.get(self.run_id).status

    @property
    def pending(self) -> Sequence[Pending]:
        """The calls that wait for a person now, read anew each time."""
        return self._runs.get(self.run_id).pending

    def text_parts(self) -> Iterator[TextUpdate]:
        """Yield each change of the run's text as ``(delta, snapshot, reset)``.

        Starts from the run's beginning whatever the cursor is, since a snapshot needs it.
        """
        self.cursor = 0
        transcript = Transcript()
        for chunk in self:
            if (part := transcript.feed(chunk)) is not None:
                yield part

    def sse(self, heartbeat: float | None = 15) -> Iterator[str]:
        """Yield Server-Sent Events, and a comment after *heartbeat* seconds of silence.

        Serve them as ``text/event-stream`` with ``cache-control: no-cache`` and
        ``x-accel-buffering: no``.
        """
        for chunk in self._read(heartbeat=heartbeat):
            yield HEARTBEAT if chunk is None else chunk.sse()

    def listen(self, **callbacks: Callback) -> RunResult:
        """Read to the end and call back with each chunk of a kind.

        Takes ``on_chunk``, ``on_step_finish``, ``on_suspended`` (for each call that begins to wait
        for a person), ``on_finish``, ``on_error`` and ``on_abort``; an exception of theirs is
        logged. Returns the result, whatever the run came to.
        """
        chosen = _check_callbacks(callbacks)
        for chunk in self:
            for callback in _callbacks_for(chosen, chunk):
                _call(callback, chunk)
        return self._runs.result(self.run_id)

    def result(self, timeout: float | None = None) -> RunResult:
        """Wait for the run's end, at most *timeout* seconds; does not move the cursor.

        A run that waits for people alone gives what it has so far, with the status "suspended" and
        what is *pending*. Raises `RunFailed`, `RunAborted` (with the partial result), or
        `TimeoutError`, which leaves the run running.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        while (info := self._runs.get(self.run_id)).status not in SETTLED:
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                raise _timed_out(info, timeout)
            try:
                _exhaust(
                    self._runs.reader(self.run_id).chunks(info.cursor or 0, total_timeout=left)
                )
            except TimeoutError:
                continue
        return _raise_if_failed(self._runs.result(self.run_id))

    def resume(self, data: Any, **which: Any) -> None:
        """Answer a suspended call, as `Runs.resume` does; iterate again for what follows."""
        self._runs.resume(self.run_id, data, **which)

    def approve(self, *, args: Mapping[str, Any] | None = None, **which: Any) -> None:
        """Approve a call, perhaps with other arguments; iterate again for what follows."""
        self.resume(approval_data(args), **which)

    def decline(self, *, reason: str | None = None, **which: Any) -> None:
        """Decline a call; iterate again for what follows."""
        self.resume(denial_data(reason), **which)

    def abort(self, reason: str | None = None) -> bool:
        """Ask that the run ends; durable on return. False if it had ended before."""
        return self._runs.abort(self.run_id, reason=reason)

    def cleanup(self) -> None:
        """Stop reading. The run, and every other reader, goes on."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()

    def _read(self, heartbeat: float | None = None) -> Iterator[Chunk | None]:
        self.cleanup()
        reader = self._runs.reader(self.run_id)
        self._reading = reader.chunks(
            self.cursor,
            timeout=self._timeout,
            heartbeat=heartbeat,
            close_on_suspend=self._close_on_suspend,
        )
        for chunk in self._reading:
            yield None if chunk is None else self._took(chunk)


class AsyncRunStream(_Stream):
    """`RunStream` for the running event loop; its methods are awaited under the same names."""

    _reading: AsyncGenerator[Chunk | None, None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cleanup()

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        async for chunk in self._read():
            if chunk is not None:
                yield chunk

    async def status(self) -> str:
        """The run's status now."""
        return (await self._runs.aget(self.run_id)).status

    async def pending(self) -> Sequence[Pending]:
        """The calls that wait for a person now."""
        return (await self._runs.aget(self.run_id)).pending

    async def text_parts(self) -> AsyncIterator[TextUpdate]:
        """Yield each change of the run's text, from its beginning."""
        self.cursor = 0
        transcript = Transcript()
        async for chunk in self:
            if (part := transcript.feed(chunk)) is not None:
                yield part

    async def sse(self, heartbeat: float | None = 15) -> AsyncIterator[str]:
        """Yield Server-Sent Events, and a comment after *heartbeat* seconds of silence."""
        async for chunk in self._read(heartbeat=heartbeat):
            yield HEARTBEAT if chunk is None else chunk.sse()

    async def listen(self, **callbacks: Callback) -> RunResult:
        """Read to the end and call the callbacks, plain or `async`."""
        chosen = _check_callbacks(callbacks)
        async for chunk in self:
            for callback in _callbacks_for(chosen, chunk):
                answer = _call(callback, chunk)
                if inspect.isawaitable(answer):
                    await _settle(answer)
        return await self._runs.aresult(self.run_id)

    async def result(self, timeout: float | None = None) -> RunResult:
        """Wait for the run's end, at most *timeout* seconds; does not move the cursor."""
        ends = None if timeout is None else time.monotonic() + timeout
        while (info := await self._runs.aget(self.run_id)).status not in SETTLED:
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                raise _timed_out(info, timeout)
            try:
                chunks = self._runs.reader(self.run_id).achunks(
                    info.cursor or 0, total_timeout=left
                )
                async for _ in chunks:
                    pass
            except TimeoutError:
                continue
        return _raise_if_failed(await self._runs.aresult(self.run_id))

    async def resume(self, data: Any, **which: Any) -> None:
        """Answer a suspended call, as `Runs.resume` does; iterate again for what follows."""
        await self._runs.aresume(self.run_id, data, **which)

    async def approve(self, *, args: Mapping[str, Any] | None = None, **which: Any) -> None:
        """Approve a call, perhaps with other arguments; iterate again for what follows."""
        await self.resume(approval_data(args), **which)

    async def decline(self, *, reason: str | None = None, **which: Any) -> None:
        """Decline a call; iterate again for what follows."""
        await self.resume(denial_data(reason), **which)

    async def abort(self, reason: str | None = None) -> bool:
        """Ask that the run ends; durable on return. False if it had ended before."""
        return await self._runs.aabort(self.run_id, reason=reason)

    async def cleanup(self) -> None:
        """Stop reading. The run, and every other reader, goes on."""
        reading, self._reading = self._reading, None
        if reading is not None:
            await reading.aclose()

    async def _read(self, heartbeat: float | None = None) -> AsyncIterator[Chunk | None]:
        await self.cleanup()
        reader = self._runs.reader(self.run_id)
        self._reading = reader.achunks(
            self.cursor,
            timeout=self._timeout,
            heartbeat=heartbeat,
            close_on_suspend=self._close_on_suspend,
        )
        async for chunk in self._reading:
            yield None if chunk is None else self._took(chunk)


class Starting:
    """A run being created: await it, or enter it, for its `AsyncRunStream`."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._run: AsyncRunStream | None = None

    def __await__(self) -> Generator[Any, None, AsyncRunStream]:
        return self._start().__await__()  # type: ignore[no-any-return]

    async def __aenter__(self) -> AsyncRunStream:
        self._run = await self
        return self._run

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None:
            await self._run.cleanup()


_KINDS: dict[str, type[Chunk] | tuple[type[Chunk], ...]] = {
    "on_chunk": Chunk,
    "on_step_finish": StepFinish,
    "on_suspended": (ToolCallApproval, ToolCallSuspended),
    "on_finish": Finish,
    "on_error": Error,
    "on_abort": Abort,
}


def _check_callbacks(callbacks: dict[str, Callback]) -> dict[str, Callback]:
    for name in callbacks:
        if name not in _KINDS:
            raise TypeError(f"listen() knows no {name!r}; it calls {', '.join(_KINDS)}.")
    return callbacks


def _callbacks_for(callbacks: dict[str, Callback], chunk: Chunk) -> list[Callback]:
    return [call for name, call in callbacks.items() if isinstance(chunk, _KINDS[name])]


def _call(callback: Callback, chunk: Chunk) -> Any:
    try:
        return callback(chunk)
    except Exception:
        # A listener's mistake must not end the reading, and cannot concern the run.
        logger.exception("A callback failed on chunk %d of run %s", chunk.seq, chunk.run_id)
        return None


async def _settle(answer: Any) -> None:
    try:
        await answer
    except asyncio.CancelledError:
        raise
    except Exception:
        logger.exception("An async callback failed")


def _exhaust(chunks: Iterator[Any]) -> None:
    for _ in chunks:
        pass


def _raise_if_failed(result: RunResult) -> RunResult:
    said = f" {result.error.name}: {result.error.message}" if result.error else ""
    if result.status == "failed":
        raise RunFailed(result.run_id, f"Run {result.run_id!r} failed.{said}", result)
    if result.status == "aborted":
        raise RunAborted(result.run_id, f"Run {result.run_id!r} was aborted.", result)
    return result


def _timed_out(info: RunInfo, timeout: float | None) -> TimeoutError:
    waiting = f" It waits for {info.waiting_for}." if info.waiting_for else ""
    return TimeoutError(
        f"Run {info.run_id!r} has not ended within {timeout:g} s (it is {info.status}).{waiting} "
        "It goes on; observe it again later."
    )
