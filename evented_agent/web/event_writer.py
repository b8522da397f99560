"""Writes one stream under ASGI, and knows how long its reader has taken nothing of it."""

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.types import Receive, Send

from evented_agent.web.serve import OPENING


class EventWriter:
    """Sends events as they come; holds one piece of them, however slow the reader is."""

    def __init__(self, events: AsyncIterator[str], send: Send) -> None:
        self._events = events
        self._send = send
        self._waits_since: float | None = None

    async def write(self) -> None:
        """Send all events, and the end of the answer."""
        await self._write(OPENING)
        async for piece in self._events:
            await self._write(piece)
        await self._write("", more=False)

    def waits(self, seconds: float = 0) -> bool:
        """Whether the reader has taken nothing for so long of what is there for it."""
        since = self._waits_since
        return since is not None and time.monotonic() >= since + seconds

    async def _write(self, piece: str, *, more: bool = True) -> None:
        # No timer for each event: who looks after the stream asks from time to time.
        self._waits_since = time.monotonic()
        await self._send({"type": "http.response.body", "body": piece.encode(), "more_body": more})
        self._waits_since = None


class Connection:
    """The connection of a request, where the server lets us at it, as uvicorn does.

    ASGI has no word for either: it ends a connection when its reader has taken what is left, and
    so never that of one who takes nothing.
    """

    def __init__(self, receive: Receive) -> None:
        self._transport = getattr(getattr(receive, "__self__", None), "transport", None)

    def break_off(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    async def drain(self, seconds: float) -> None:
        """Give the reader so long to take what is left; then close it."""
        for _ in range(20):
            if not self._has_unsent():
                return
            await asyncio.sleep(seconds / 20)
        self.break_off()

    def _has_unsent(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() > 0
