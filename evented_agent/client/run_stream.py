"""Following one run: `RunStream` from a thread, `AsyncRunStream` from an event loop.

Lazy: nothing connects before the first read, so that fire-and-forget costs nothing.  Leaving one
never touches the run.
"""

import contextlib
import inspect
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, Generic, Unpack

from evented_agent.agents.generics import Out
from evented_agent.agents.tools.approvals import Pending
from evented_agent.chunks import AnyChunk, Error, TextUpdate, Transcript
from evented_agent.client.commands import DecisionOptions, decide_call, request_abort
from evented_agent.client.decisions import approval_data, denial_data
from evented_agent.client.deployment import Deployment
from evented_agent.client.follow import Cursor
from evented_agent.client.inbox import send_message
from evented_agent.client.leaving import AsyncLeaving, Leaving
from evented_agent.client.listen import Callbacks, call_back, callbacks_for, check_callbacks, settle
from evented_agent.client.queries import read_info, read_result
from evented_agent.client.reader import ChunkReader, Reader, ReadOptions
from evented_agent.client.sending import SendOptions
from evented_agent.errors import RunAborted, RunFailed
from evented_agent.given import wait_of
from evented_agent.ledger.plan import Plan
from evented_agent.ledger.records import ENDED
from evented_agent.models.messages import Input
from evented_agent.state.receipt import Receipt
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import RunResult

#: A comment that keeps proxies from closing a silent stream. With a blank line: without, Mastra's
#: client would lose the event that follows.
HEARTBEAT = ": hb\n\n"

#: The last lines of a stream whose run waits for people: a browser comes back in half a minute, and
#: not every 3 s for as long as that takes.
WAITING = ": waits for people\nretry: 30000\n\n"

#: Statuses in which nothing more comes by itself.
SETTLED = (*ENDED, "suspended")


class _Stream(Generic[Out]):
    """What both have; another source of runs than Redis overrides `_reader` and what asks."""

    _deployment: Deployment

    def __init__(
        self,
        deployment: Deployment | None,
        run_id: str,
        *,
        after: Cursor = 0,
        timeout: float | None = None,
        close_on_suspend: bool = True,
    ) -> None:
        self.run_id = run_id
        self.cursor: Cursor = after
        if deployment is not None:
            self._deployment = deployment
        self._timeout = wait_of("timeout", timeout)
        self._close_on_suspend = close_on_suspend

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.run_id} after {self.cursor}>"

    def _reader(self) -> ChunkReader:
        return Reader(self._deployment.keys, self._deployment.ledger, self.run_id)

    def _check_wait(self, verb: str) -> None:
        self._deployment.check_wait(verb)

    def _rewind(self) -> None:
        self.cursor = 0

    def _options(self, heartbeat: float | None) -> ReadOptions:
        return {
            "timeout": self._timeout,
            "heartbeat": heartbeat,
            "close_on_suspend": self._close_on_suspend,
        }

    def _took(self, chunk: AnyChunk) -> AnyChunk:
        self.cursor = chunk.cursor
        return chunk


class RunStream(Leaving, _Stream[Out]):
    """The chunks of a run from `cursor` on: iterate it, or take its `sse()` or `result()`.

    Iteration ends with the run, or where it waits for people alone (`pending` says what for), and
    never raises for the run's own failure. It can be taken up again where it was left.

    Example:
        >>> with evented.stream("Hello") as run:
        ...     for chunk in run:
        ...         print(chunk.type, chunk.payload)
    """

    _reading: Generator[Any, None, None] | None = None

    def __iter__(self) -> Iterator[AnyChunk]:
        for chunk in self._read():
            if chunk is not None:
                yield chunk

    @property
    def status(self) -> str:
        """The run's status now, read anew each time."""
        return self._info().status

    @property
    def pending(self) -> Sequence[Pending]:
        """The calls that wait for a person now, read anew each time."""
        return self._info().pending

    def text_parts(self) -> Iterator[TextUpdate]:
        """Yield each change of the run's text as ``(delta, snapshot, reset)``.

        Starts from the run's beginning whatever the cursor is, since a snapshot needs it.  Raises
        `RunFailed` behind the last part where the run has failed.
        """
        self._rewind()
        transcript, has_failed = Transcript(), False
        for chunk in self:
            has_failed = isinstance(chunk, Error)
            if (part := transcript.feed(chunk)) is not None:
                yield part
        if has_failed:
            _raise_if_failed(self._outcome())

    def sse(self, heartbeat: float | None = 15) -> Iterator[str]:
        """Yield Server-Sent Events, and a comment after *heartbeat* seconds of silence.

        Serve them as ``text/event-stream`` with ``cache-control: no-cache`` and
        ``x-accel-buffering: no``. Where the run waits for people alone they end with a ``retry`` of
        30 s; `is_over` says when to answer with 204 instead.
        """
        for chunk in self._read(heartbeat):
            yield HEARTBEAT if chunk is None else chunk.sse()
        if not self._info().is_ended:
            yield WAITING

    def batches(self, heartbeat: float | None = 15) -> Iterator[Sequence[AnyChunk]]:
        """Yield the chunks, those together that are there at once: for one write of a server.

        An empty one comes after *heartbeat* seconds of silence. The cursor is that of the last.
        """
        self._check_wait("reading")
        self.close()
        self._reading = self._reader().batches(self.cursor, **self._options(heartbeat))
        for batch in self._reading:
            for chunk in batch[-1:]:
                self._took(chunk)
            yield batch

    def is_over(self) -> bool:
        """Whether the run has ended and nothing follows the cursor, read anew each time.

        A web handler answers such a reader with the status 204, so that a browser's
        ``EventSource``, which reconnects after each end, comes no more.
        """
        return _is_over(self._info(), self.cursor)

    def listen(self, **callbacks: Unpack[Callbacks]) -> RunResult[Out]:
        """Read to the end and call back with each chunk of a kind; see `Callbacks`.

        Returns the result, whatever the run came to.
        """
        chosen = check_callbacks(callbacks, may_await=False)
        for chunk in self:
            for callback in callbacks_for(chosen, chunk):
                call_back(callback, chunk)
        return self._outcome()

    def result(self, timeout: float | None = None) -> RunResult[Out]:
        """Wait for the run's end, at most *timeout* seconds; does not move the cursor.

        A run that waits for people alone gives what it has so far, with the status "suspended" and
        what is *pending*. Raises `RunFailed`, `RunAborted` (with the partial result), or
        `TimeoutError`, which leaves the run running.
        """
        self._check_wait("result")
        timeout = wait_of("timeout", timeout)
        ends = None if timeout is None else time.monotonic() + timeout
        while True:
            if (info := self._info()).status in SETTLED:
                found = self._outcome()
                # Redis may have lost the end meanwhile, in a failover: then the run goes on.
                if found.status in SETTLED:
                    return _raise_if_failed(found)
                continue
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                raise _timed_out(info, timeout)
            with contextlib.suppress(TimeoutError):
                _exhaust(self._reader().chunks(info.cursor or 0, total_timeout=left))

    def resume(self, data: Any, **which: Unpack[DecisionOptions]) -> None:
        """Answer a suspended call, as `Runs.resume` does; iterate again for what follows."""
        self._decide(data, which)

    def approve(
        self,
        *,
        arguments: Mapping[str, Any] | None = None,
        **which: Unpack[DecisionOptions],
    ) -> None:
        """Approve a call, perhaps with other arguments; iterate again for what follows."""
        self.resume(approval_data(arguments), **which)

    def decline(self, *, reason: str | None = None, **which: Unpack[DecisionOptions]) -> None:
        """Decline a call; iterate again for what follows."""
        self.resume(denial_data(reason), **which)

    def send(self, input: Input, **options: Unpack[SendOptions]) -> Receipt:
        """Send the run a message; see `Runs.send`."""
        return self._send(input, options)

    def abort(self, reason: str | None = None) -> bool:
        """Ask that the run ends; durable on return. False if it had ended before."""
        return self._request_abort(reason)

    def close(self) -> None:
        """Stop reading. The run, and every other reader, goes on."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()

    def cleanup(self) -> None:
        """Stop reading: another name of `close`."""
        self.close()

    def _info(self) -> RunInfo:
        return self._deployment.drive("get", read_info(self._deployment, self.run_id))

    def _outcome(self) -> RunResult[Out]:
        plan: Plan[RunResult[Out]] = read_result(self._deployment, self.run_id)
        return self._deployment.drive("result", plan)

    def _decide(self, data: Any, which: DecisionOptions) -> None:
        plan = decide_call(self._deployment, self.run_id, data, which)
        self._deployment.drive("resume", plan)

    def _send(self, given: Input, options: SendOptions) -> Receipt:
        plan = send_message(self._deployment, self.run_id, None, given, options, None)
        return self._deployment.drive("send", plan)

    def _request_abort(self, reason: str | None) -> bool:
        plan = request_abort(self._deployment, self.run_id, reason=reason)
        return self._deployment.drive("abort", plan)

    def _read(self, heartbeat: float | None = None) -> Iterator[AnyChunk | None]:
        self._check_wait("reading")
        self.close()
        self._reading = self._reader().chunks(self.cursor, **self._options(heartbeat))
        for chunk in self._reading:
            yield None if chunk is None else self._took(chunk)


class AsyncRunStream(AsyncLeaving, _Stream[Out]):
    """`RunStream` for the running event loop; its methods are awaited under the same names."""

    _reading: AsyncGenerator[Any, None] | None = None

    async def __aiter__(self) -> AsyncIterator[AnyChunk]:
        async for chunk in self._read():
            if chunk is not None:
                yield chunk

    async def status(self) -> str:
        """The run's status now."""
        return (await self._info()).status

    async def pending(self) -> Sequence[Pending]:
        """The calls that wait for a person now."""
        return (await self._info()).pending

    async def text_parts(self) -> AsyncIterator[TextUpdate]:
        """Yield each change of the run's text, from its beginning; `RunFailed` behind the last."""
        self._rewind()
        transcript, has_failed = Transcript(), False
        async for chunk in self:
            has_failed = isinstance(chunk, Error)
            if (part := transcript.feed(chunk)) is not None:
                yield part
        if has_failed:
            _raise_if_failed(await self._outcome())

    async def sse(self, heartbeat: float | None = 15) -> AsyncIterator[str]:
        """Yield Server-Sent Events, and a comment after *heartbeat* seconds of silence."""
        async for chunk in self._read(heartbeat):
            yield HEARTBEAT if chunk is None else chunk.sse()
        if not (await self._info()).is_ended:
            yield WAITING

    async def batches(self, heartbeat: float | None = 15) -> AsyncIterator[Sequence[AnyChunk]]:
        """Yield the chunks, those together that are there at once: for one write of a server."""
        self._check_wait("reading")
        await self.aclose()
        self._reading = self._reader().abatches(self.cursor, **self._options(heartbeat))
        async for batch in self._reading:
            for chunk in batch[-1:]:
                self._took(chunk)
            yield batch

    async def is_over(self) -> bool:
        """Whether the run has ended and nothing follows the cursor: answer with the status 204."""
        return _is_over(await self._info(), self.cursor)

    async def listen(self, **callbacks: Unpack[Callbacks]) -> RunResult[Out]:
        """Read to the end and call the callbacks, plain or `async`."""
        chosen = check_callbacks(callbacks, may_await=True)
        async for chunk in self:
            for callback in callbacks_for(chosen, chunk):
                answer = call_back(callback, chunk)
                if inspect.isawaitable(answer):
                    await settle(answer)
        return await self._outcome()

    async def result(self, timeout: float | None = None) -> RunResult[Out]:
        """Wait for the run's end, at most *timeout* seconds; does not move the cursor."""
        self._check_wait("result")
        timeout = wait_of("timeout", timeout)
        ends = None if timeout is None else time.monotonic() + timeout
        while True:
            if (info := await self._info()).status in SETTLED:
                found = await self._outcome()
                # Redis may have lost the end meanwhile, in a failover: then the run goes on.
                if found.status in SETTLED:
                    return _raise_if_failed(found)
                continue
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                raise _timed_out(info, timeout)
            with contextlib.suppress(TimeoutError):
                async for _ in self._reader().achunks(info.cursor or 0, total_timeout=left):
                    pass

    async def resume(self, data: Any, **which: Unpack[DecisionOptions]) -> None:
        """Answer a suspended call, as `Runs.resume` does; iterate again for what follows."""
        await self._decide(data, which)

    async def approve(
        self,
        *,
        arguments: Mapping[str, Any] | None = None,
        **which: Unpack[DecisionOptions],
    ) -> None:
        """Approve a call, perhaps with other arguments; iterate again for what follows."""
        await self.resume(approval_data(arguments), **which)

    async def decline(self, *, reason: str | None = None, **which: Unpack[DecisionOptions]) -> None:
        """Decline a call; iterate again for what follows."""
        await self.resume(denial_data(reason), **which)

    async def send(self, input: Input, **options: Unpack[SendOptions]) -> Receipt:
        """Send the run a message; see `Runs.send`."""
        return await self._send(input, options)

    async def abort(self, reason: str | None = None) -> bool:
        """Ask that the run ends; durable on return. False if it had ended before."""
        return await self._request_abort(reason)

    async def aclose(self) -> None:
        """Stop reading. The run, and every other reader, goes on."""
        reading, self._reading = self._reading, None
        if reading is not None:
            await reading.aclose()

    async def cleanup(self) -> None:
        """Stop reading: another name of `aclose`."""
        await self.aclose()

    async def _info(self) -> RunInfo:
        return await self._deployment.adrive(read_info(self._deployment, self.run_id))

    async def _outcome(self) -> RunResult[Out]:
        plan: Plan[RunResult[Out]] = read_result(self._deployment, self.run_id)
        return await self._deployment.adrive(plan)

    async def _decide(self, data: Any, which: DecisionOptions) -> None:
        await self._deployment.adrive(decide_call(self._deployment, self.run_id, data, which))

    async def _send(self, given: Input, options: SendOptions) -> Receipt:
        plan = send_message(self._deployment, self.run_id, None, given, options, None)
        return await self._deployment.adrive(plan)

    async def _request_abort(self, reason: str | None) -> bool:
        plan = request_abort(self._deployment, self.run_id, reason=reason)
        return await self._deployment.adrive(plan)

    async def _read(self, heartbeat: float | None = None) -> AsyncIterator[AnyChunk | None]:
        self._check_wait("reading")
        await self.aclose()
        self._reading = self._reader().achunks(self.cursor, **self._options(heartbeat))
        async for chunk in self._reading:
            yield None if chunk is None else self._took(chunk)


def _is_over(info: RunInfo, cursor: Cursor) -> bool:
    last, seen = info.cursor.partition("-"), str(cursor).partition("-")
    if not info.is_ended or not last[0]:
        return False
    # Of another incarnation, the chunk of that number is not the one that was seen.
    return int(seen[0]) >= int(last[0]) if not seen[1] else seen == last


def _exhaust(chunks: Iterator[Any]) -> None:
    for _ in chunks:
        pass


def _raise_if_failed(result: RunResult[Out]) -> RunResult[Out]:
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
