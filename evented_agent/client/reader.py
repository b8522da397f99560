"""Reads a topic from a thread or an event loop: drives `follow` over the hub, reconnects, waits.

A reader never writes, so it cannot affect the run; and it has no connection of its own.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Protocol, TypedDict, Unpack

from evented_agent.chunks import AnyChunk
from evented_agent.client.child_steps import of_child
from evented_agent.client.follow import Cursor, Disconnected, Reply, Request, batched, follow
from evented_agent.client.hub.asker import TopicSource
from evented_agent.client.hub.hub import Subscription
from evented_agent.client.hub.waits import Failure
from evented_agent.errors import LedgerUnavailable
from evented_agent.ledger.address import safe_url
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.error_replies import CONNECTION_FAILURES, refusal_of
from evented_agent.ledger.keys import Keys, split_child
from evented_agent.ledger.redis_clients import BLOCK_MS
from evented_agent.ledger.runs import read

#: Seconds that a reader keeps trying to reach Redis.
_RETRY_FOR = 60.0
#: What `chunks` yields for a batch with nothing in it.
_SILENT: Sequence[None] = (None,)


class ReadOptions(TypedDict, total=False):
    """How a run is read.

    Attributes:
        timeout: Seconds without a chunk after which `TimeoutError` is raised.
        total_timeout: Seconds in all after which it is.
        heartbeat: Seconds of silence after which that is told.
        close_on_suspend: Whether to end where the run waits for people alone.
    """

    timeout: float | None
    total_timeout: float | None
    heartbeat: float | None
    close_on_suspend: bool


class ChunkReader(Protocol):
    """What reads a run's chunks for a stream; see `Reader`."""

    def chunks(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> Generator[AnyChunk | None, None, None]: ...

    def achunks(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> AsyncGenerator[AnyChunk | None, None]: ...

    def batches(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> Generator[Sequence[AnyChunk], None, None]: ...

    def abatches(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> AsyncGenerator[Sequence[AnyChunk], None]: ...


class Reader:
    """Reads one run's topic, or what a child of it says there; many may read the same run."""

    def __init__(self, keys: Keys, ledger: Ledger, run_id: str) -> None:
        self._run_id, branch = split_child(run_id)
        self._child_id = run_id if branch else None
        of_run = keys.of(self._run_id)
        self._source = TopicSource(of_run.topic, of_run.blobs, read(keys, self._run_id))
        self._ledger = ledger

    def chunks(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> Generator[AnyChunk | None, None, None]:
        """Yield chunks from a thread, and None after each *heartbeat* seconds of silence.

        Raises `TimeoutError` when *timeout* seconds brought no chunk, or *total_timeout* are over.
        """
        with closing(self.batches(after, **options)) as batches:
            for batch in batches:
                yield from batch or _SILENT

    async def achunks(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> AsyncGenerator[AnyChunk | None, None]:
        """`chunks` for the running event loop."""
        async with aclosing(self.abatches(after, **options)) as batches:
            async for batch in batches:
                for chunk in batch or _SILENT:
                    yield chunk

    def batches(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> Generator[Sequence[AnyChunk], None, None]:
        """`chunks`, those together that are there at once; none of them for None."""
        steps, retry_for = self._steps(after, options)
        reply: Reply = None
        with closing(Subscription(self._ledger, self._source, self._run_id)) as subscription:
            while True:
                try:
                    step = steps.send(reply)
                except StopIteration:
                    return
                reply = None
                if isinstance(step, list):
                    yield step
                    retry_for.heard()
                    continue
                if retry_for.is_heartbeat():
                    yield ()
                answer = subscription.answer(step, retry_for.wait())
                if isinstance(answer, Failure):
                    self._recover(answer.error)
                    time.sleep(retry_for.lost(answer.error))
                    reply = Disconnected()
                else:
                    retry_for.connected()
                    reply = answer

    async def abatches(
        self, after: Cursor, **options: Unpack[ReadOptions]
    ) -> AsyncGenerator[Sequence[AnyChunk], None]:
        """`batches` for the running event loop."""
        steps, retry_for = self._steps(after, options)
        reply: Reply = None
        with closing(Subscription(self._ledger, self._source, self._run_id)) as subscription:
            while True:
                try:
                    step = steps.send(reply)
                except StopIteration:
                    return
                reply = None
                if isinstance(step, list):
                    yield step
                    retry_for.heard()
                    continue
                if retry_for.is_heartbeat():
                    yield ()
                answer = await subscription.aanswer(step, retry_for.wait())
                if isinstance(answer, Failure):
                    await self._arecover(answer.error)
                    await asyncio.sleep(retry_for.lost(answer.error))
                    reply = Disconnected()
                else:
                    retry_for.connected()
                    reply = answer

    def _steps(
        self, after: Cursor, options: ReadOptions
    ) -> tuple[Generator[list[AnyChunk] | Request, Reply, None], "Deadlines"]:
        closes = options.get("close_on_suspend", True)
        steps = follow(self._run_id, after, close_on_suspend=closes)
        if self._child_id is not None:
            steps = of_child(steps, self._child_id)
        return batched(steps), Deadlines(f"run {self._run_id!r}", self._ledger.url, options)

    def _recover(self, error: BaseException) -> None:
        _raise_unless_connection(error)
        self._ledger.recover(error)

    async def _arecover(self, error: BaseException) -> None:
        _raise_unless_connection(error)
        task = asyncio.current_task()
        cancelled = task.cancelling() if task is not None else 0
        await self._ledger.arecover(error)
        if task is not None and task.cancelling() > cancelled:
            # Python 3.11 may lose a cancellation inside the timeouts of redis-py.
            raise asyncio.CancelledError


class Deadlines:
    """How long a reader waits: for the next chunk, for the end, for a Redis that is gone."""

    def __init__(self, name: str, url: str, options: ReadOptions) -> None:
        timeout, heartbeat = options.get("timeout"), options.get("heartbeat")
        total = options.get("total_timeout")
        self._name = name
        self._url = url
        self._timeout = math.inf if timeout is None else timeout
        self._heartbeat = math.inf if heartbeat is None else heartbeat
        self._heard = self._signed = time.monotonic()
        self._ends = math.inf if total is None else self._heard + total
        self._lost_since: float | None = None

    def heard(self) -> None:
        self._heard = self._signed = time.monotonic()

    def connected(self) -> None:
        self._lost_since = None

    def is_heartbeat(self) -> bool:
        """Whether it is time for a sign of life to whoever reads from us."""
        now = time.monotonic()
        if now < self._signed + self._heartbeat:
            return False
        self._signed = now
        return True

    def wait(self) -> float:
        """Seconds that the next read may wait; raises `TimeoutError` when the time is up."""
        now = time.monotonic()
        up = min(self._heard + self._timeout, self._ends)
        if now >= up:
            raise TimeoutError(
                f"No chunk of {self._name} in {now - self._heard:.1f} s. The run goes on; "
                "observe it again from the last cursor."
            )
        wait = min(up, self._signed + self._heartbeat) - now
        return max(0.001, min(BLOCK_MS / 1000, wait))

    def lost(self, error: BaseException) -> float:
        """Note a lost connection; the seconds to wait before the next try."""
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        if now - self._lost_since > _RETRY_FOR:
            raise LedgerUnavailable(
                f"Redis at {safe_url(self._url)} was unreachable for {_RETRY_FOR:.0f} s "
                f"({refusal_of(error).text}). The run goes on; observe it again later."
            ) from None
        return random.uniform(0.1, 0.4)


def _raise_unless_connection(error: BaseException) -> None:
    if not isinstance(error, CONNECTION_FAILURES):
        # Other readers may have been given the same one.
        raise error.with_traceback(None)
