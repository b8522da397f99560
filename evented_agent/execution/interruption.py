"""Cutting a model's answer short where a message asks for that."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from evented_agent.execution.lease import Lease


class Interruptible:
    """A part of an attempt that a message may cut short; it is then left as if it had ended."""

    def __init__(self, lease: Lease) -> None:
        self.was_interrupted = False
        self._lease = lease

    async def __aenter__(self) -> Self:
        current = asyncio.current_task()
        assert current is not None
        self._task = current
        self._lease.on_interrupt = current.cancel
        if self._lease.is_interrupted:
            current.cancel()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._lease.on_interrupt = None
        if not self._lease.is_interrupted:
            return False
        if not isinstance(error, asyncio.CancelledError):
            # It came too late for what was awaited last, and would hit what is awaited next.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        self._task.uncancel()
        if self._lease.stopped is not None:
            raise asyncio.CancelledError
        # What came to its end all the same, or failed, counts as that.
        self.was_interrupted = isinstance(error, asyncio.CancelledError)
        return self.was_interrupted
