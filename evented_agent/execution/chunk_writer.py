"""Buffers the chunks of an attempt and appends them to the run's topic.

The first chunk is sent at once.  Chunks that come while an append is in flight are sent together
with the next, so a fast model never costs one round trip a token.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

from evented_agent.chunks import Chunk
from evented_agent.chunks.codec import (
    ChunkWith,
    PayloadT,
    encode_chunk,
    encode_delta,
    encode_end,
    type_name,
)
from evented_agent.errors import LedgerUnavailable, TooLarge
from evented_agent.execution.lease import Lease
from evented_agent.execution.task_ledger import TaskLedger
from evented_agent.ledger.records import GAP, Fenced, Signal

#: Bytes in the buffer from which on `wait_for_space` waits.
BUFFER_BYTES = 1024 * 1024
#: Payloads over this many bytes are stored once, beside the topic.
BLOB_BYTES = 256 * 1024
#: Most chunks of one append, so that no script holds Redis for long.
CHUNKS_PER_APPEND = 512


class ChunkWriter:
    """Numbers and appends the chunks of one attempt.  Use it on the event loop only."""

    def __init__(
        self,
        ledger: TaskLedger,
        lease: Lease,
        *,
        max_bytes: int,
        on_signal: Callable[[Signal], None],
    ) -> None:
        self._ledger = ledger
        self._lease = lease
        self._key = lease.task.key
        self._max_bytes = max_bytes
        self._on_signal = on_signal
        self._buffer: list[str] = []
        self._bytes = 0
        self._put = 0
        self._taken = 0
        self._sent = 0
        # The chunks that would close the open parts, in the order in which these were opened.
        self._open: dict[str, None] = {}
        # What would close them, as it was after so many chunks.
        self._marks: deque[tuple[int, list[str]]] = deque()
        self._open_in_topic: list[str] = []
        self._flight: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._failure: BaseException | None = None

    @property
    def sent(self) -> int:
        """How many chunks are in the topic."""
        return self._sent

    def put(self, chunk: type[ChunkWith[PayloadT]], payload: PayloadT) -> None:
        """Add a chunk; of its payload, the fields that were given are written.

        A chunk that begins a part also registers the one to close it with, should the attempt die.
        Raises `TooLarge` for one over the limit, `ValueError` for what JSON or UTF-8 cannot hold,
        `Fenced` once the task is lost.
        """
        stored = encode_chunk(chunk, self._key, payload)
        closing = encode_end(chunk, self._key, payload)
        self._accept(chunk, stored)
        if closing is not None:
            self._open[closing] = None
            self._marks.append((self._put, list(self._open)))
        elif stored in self._open:
            del self._open[stored]
            self._marks.append((self._put, list(self._open)))
        self._start_flushing()

    def put_delta(self, chunk: type[Chunk], part: str, text: str) -> None:
        """`put` for one more piece of a part, or of a tool call's arguments; the fast path."""
        self._accept(chunk, encode_delta(chunk, self._key, part, text))
        self._start_flushing()

    def _accept(self, chunk: type[Any], stored: str) -> None:
        if self._failure is not None:
            raise self._failure
        if len(stored) > self._max_bytes:
            name = f"{type_name(chunk)} chunk"
            raise TooLarge(name, len(stored.encode(errors="replace")), self._max_bytes)
        if not stored.isascii():
            # Raised here, where it concerns one chunk, and not out of an append of many.
            stored.encode()
        self._add(stored)

    def _start_flushing(self) -> None:
        if self._flight is None and not self._is_stopping:
            self._flight = asyncio.create_task(self._flush_loop())

    def close_all(self) -> None:
        """Close the open parts, in the order in which they were opened."""
        for closing in self._open:
            self._add(closing)
        self._open.clear()

    def _add(self, chunk: str) -> None:
        self._buffer.append(chunk)
        self._bytes += len(chunk)
        self._put += 1

    @property
    def is_full(self) -> bool:
        return self._bytes > BUFFER_BYTES

    async def wait_for_space(self) -> None:
        """Wait until the buffer has room again, so that its producer is slowed down."""
        while self.is_full and self._flight is not None:
            await asyncio.wait([self._flight])
        if self._failure is not None:
            raise self._failure

    def freeze(self) -> None:
        """Append nothing more: readers must not see the following chunks before the commit."""
        self._is_stopping = True

    async def drain(self) -> list[str]:
        """Wait for the append in flight; return the chunks that are left, for the commit to add."""
        self.freeze()
        if self._flight is not None:
            await asyncio.wait([self._flight])
        if self._failure is not None:
            raise self._failure
        rest, self._buffer, self._bytes = self._buffer, [], 0
        return [await self.stored(chunk) for chunk in rest]

    async def recover(self) -> None:
        """Where output cannot be written, drop it: the run's end still has to be.

        Changes nothing where all is well.  Raises `Fenced` and `LedgerUnavailable`, after which
        nothing can be written at all.
        """
        self.freeze()
        if self._flight is not None:
            await asyncio.wait([self._flight])
        if isinstance(self._failure, Fenced | LedgerUnavailable):
            raise self._failure
        if self._failure is not None:
            self.discard()

    def discard(self) -> None:
        """Drop what is not in the topic, with what kept it out; what is open there stays open."""
        self._failure = None
        self._buffer, self._bytes = [], 0
        self._open = dict.fromkeys(self._open_in_topic)
        self._marks.clear()

    async def stored(self, text: str) -> str:
        """Return what is written for *text*: itself, or a pointer to where it is stored."""
        if len(text) <= BLOB_BYTES:
            return text
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        await self._ledger.store_blob(name, text)
        return f"@{name}"

    async def _flush_loop(self) -> None:
        try:
            while self._buffer and not self._is_stopping:
                await self._append(*self._take())
        except Exception as error:  # noqa: BLE001 - raised by the next `put` or `drain`
            self._failure = error
            if isinstance(error, Fenced):
                self._lease.stop("lost" if error.reason == GAP else "fenced")
        finally:
            self._flight = None

    def _take(self) -> tuple[list[str], list[str] | None]:
        batch = self._buffer[:CHUNKS_PER_APPEND]
        del self._buffer[:CHUNKS_PER_APPEND]
        self._bytes -= sum(map(len, batch))
        self._taken += len(batch)
        closing = None
        while self._marks and self._marks[0][0] <= self._taken:
            closing = self._marks.popleft()[1]
        return batch, closing

    async def _append(self, batch: list[str], closing: list[str] | None) -> None:
        stored = [await self.stored(chunk) if len(chunk) > BLOB_BYTES else chunk for chunk in batch]
        signal = await self._ledger.append(stored, sent=self._sent, closing=closing)
        self._sent += len(batch)
        if closing is not None:
            self._open_in_topic = closing
        if signal is not None:
            self._on_signal(signal)
