"""Reads a topic from a thread or an event loop: drives `follow` over Redis, reconnects, waits.

A reader never writes, so it cannot affect the run.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

from evented_agent.chunks import AnyChunk, Chunk
from evented_agent.client.follow import (
    CheckEntry,
    Cursor,
    Disconnected,
    Read,
    ReadRecord,
    Reply,
    Request,
    StoredChunk,
    follow,
)
from evented_agent.errors import LedgerUnavailable
from evented_agent.ledger.address import safe_url
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.error_replies import CONNECTION_FAILURES, refusal_of
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.redis_clients import BLOCK_MS
from evented_agent.ledger.runs import read

#: Chunks per read.
CHUNKS_PER_READ = 500
#: Seconds that a reader keeps trying to reach Redis.
_RETRY_FOR = 60.0
#: Seconds between two checks of a silent reader that it follows the master.
_CHECK_ROLE = 4.0


class Reader:
    """Reads one run's topic; many may read the same run."""

    def __init__(self, keys: Keys, ledger: Ledger, run_id: str) -> None:
        self._run_id = run_id
        self._keys = keys.of(run_id)
        self._record = read(keys, run_id)
        self._ledger = ledger
        self._next_check = 0.0

    def chunks(
        self,
        after: Cursor,
        *,
        timeout: float | None = None,
        total_timeout: float | None = None,
        heartbeat: float | None = None,
        close_on_suspend: bool = True,
    ) -> Generator[AnyChunk | None, None, None]:
        """Yield chunks from a thread, and None after each *beat* seconds of silence.

        With *close_on_suspend* they end where the run waits for people alone. Raises
        `TimeoutError` when *timeout* seconds brought no chunk, or *whole* seconds are over.
        """
        steps = follow(self._run_id, after, close_on_suspend=close_on_suspend)
        retry_for = _Deadlines(self._run_id, self._ledger.url, timeout, total_timeout, heartbeat)
        reply: Reply = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration:
                return
            reply = None
            if isinstance(step, Chunk):
                yield step
                retry_for.heard()
                continue
            if retry_for.is_heartbeat():
                yield None
            block_ms = retry_for.block_ms()
            try:
                reply = self._answer(step, block_ms)
                retry_for.connected()
            except CONNECTION_FAILURES as error:
                self._ledger.recover(error)
                reply = Disconnected()
                time.sleep(retry_for.lost(error))

    async def achunks(
        self,
        after: Cursor,
        *,
        timeout: float | None = None,
        total_timeout: float | None = None,
        heartbeat: float | None = None,
        close_on_suspend: bool = True,
    ) -> AsyncGenerator[AnyChunk | None, None]:
        """`chunks` for the running event loop."""
        steps = follow(self._run_id, after, close_on_suspend=close_on_suspend)
        retry_for = _Deadlines(self._run_id, self._ledger.url, timeout, total_timeout, heartbeat)
        reply: Reply = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration:
                return
            reply = None
            if isinstance(step, Chunk):
                yield step
                retry_for.heard()
                continue
            if retry_for.is_heartbeat():
                yield None
            block_ms = retry_for.block_ms()
            try:
                reply = await self._aanswer(step, block_ms)
                retry_for.connected()
            except CONNECTION_FAILURES as error:
                await self._ledger.arecover(error)
                reply = Disconnected()
                await asyncio.sleep(retry_for.lost(error))

    def _answer(self, request: Request, block_ms: int) -> Reply:
        if isinstance(request, ReadRecord):
            return self._ledger.send(self._record, retry_for=0)
        client = self._ledger.reading_client(self._keys.topic)
        if isinstance(request, CheckEntry):
            return bool(client.xrange(self._keys.topic, request.position, request.position))
        entries = _entries(client.xread(**self._read_args(request, block_ms)))
        if not entries and self._checks_role(request):
            self._ledger.check_in_charge(client)
        if names := _blobs_of(entries):
            entries = _with_blobs(entries, client.hmget(self._keys.blobs, names))
        return entries

    async def _aanswer(self, request: Request, block_ms: int) -> Reply:
        if isinstance(request, ReadRecord):
            return await self._ledger.asend(self._record, retry_for=0)
        client = await self._ledger.async_reading_client(self._keys.topic)
        if isinstance(request, CheckEntry):
            return bool(await client.xrange(self._keys.topic, request.position, request.position))
        entries = _entries(await client.xread(**self._read_args(request, block_ms)))
        if not entries and self._checks_role(request):
            await self._ledger.acheck_in_charge(client)
        if names := _blobs_of(entries):
            entries = _with_blobs(entries, await client.hmget(self._keys.blobs, names))
        return entries

    def _checks_role(self, request: Read) -> bool:
        """Whether silence is a reason to ask who answers: a replica that was cut off is silent."""
        now = time.monotonic()
        if not request.block or now < self._next_check:
            return False
        self._next_check = now + _CHECK_ROLE
        return True

    def _read_args(self, request: Read, block_ms: int) -> dict[str, Any]:
        return {
            "streams": {self._keys.topic: request.position},
            "count": CHUNKS_PER_READ,
            "block": block_ms if request.block else None,
        }


class _Deadlines:
    """How long a reader waits: for the next chunk, for the end, for a Redis that is gone."""

    def __init__(
        self,
        run_id: str,
        url: str,
        timeout: float | None,
        total_timeout: float | None,
        heartbeat: float | None,
    ) -> None:
        self._run_id = run_id
        self._url = url
        self._timeout = math.inf if timeout is None else timeout
        self._heartbeat = math.inf if heartbeat is None else heartbeat
        self._heard = self._signed = time.monotonic()
        self._ends = math.inf if total_timeout is None else self._heard + total_timeout
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

    def block_ms(self) -> int:
        """How long the next read may wait; raises `TimeoutError` when the time is up."""
        now = time.monotonic()
        up = min(self._heard + self._timeout, self._ends)
        if now >= up:
            raise TimeoutError(
                f"No chunk of run {self._run_id!r} in {now - self._heard:.1f} s. The run goes on; "
                "observe it again from the last cursor."
            )
        wait = min(up, self._signed + self._heartbeat) - now
        return int(max(1, min(BLOCK_MS, wait * 1000)))

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


def _entries(reply: Any) -> list[StoredChunk]:
    if not reply:
        return []
    [(_, entries)] = reply.items() if isinstance(reply, dict) else reply
    return [(entry_id.decode(), fields[b"d"]) for entry_id, fields in entries]


def _blobs_of(entries: Sequence[StoredChunk]) -> list[str]:
    return [stored[1:].decode() for _, stored in entries if stored[:1] == b"@"]


def _with_blobs(entries: list[StoredChunk], payloads: Sequence[Any]) -> list[StoredChunk]:
    found = iter(payloads)
    return [(cursor, next(found) if stored[:1] == b"@" else stored) for cursor, stored in entries]
