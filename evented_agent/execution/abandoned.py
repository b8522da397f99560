"""Calls of `def` tools that were given up and still run: Python cannot end a thread."""

import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Self

from evented_agent.logs import logger_of

logger = logger_of(__name__)


class ThreadCalls:
    """The calls of one process that nobody waits for any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: set[ThreadCall] = set()

    def begin(self, tool: str, run_id: str) -> "ThreadCall":
        """Make a call that is entered by the thread that runs it."""
        return ThreadCall(self, tool, run_id)

    @property
    def abandoned(self) -> int:
        """How many threads are held by calls that were given up."""
        with self._lock:
            return len(self._left)

    def changed(self, call: "ThreadCall", *, is_left: bool) -> bool:
        """Note that *call* was given up, or has come back; whether that is news."""
        with self._lock:
            if is_left and not call.is_running:
                return False
            was_left = call in self._left
            (self._left.add if is_left else self._left.discard)(call)
            return was_left != is_left


class ThreadCall:
    """One call of a `def` tool, from its start in its thread to its end there."""

    def __init__(self, calls: ThreadCalls, tool: str, run_id: str) -> None:
        self._calls = calls
        self._tool = tool
        self._run_id = run_id
        self._thread: int | None = None
        self._began = time.monotonic()
        self._has_ended = False

    @property
    def is_running(self) -> bool:
        return self._thread is not None and not self._has_ended

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._has_ended = True
        if self._calls.changed(self, is_left=False):
            logger.warning(
                "Tool %s of run %s came back after %.1f s; its thread is free again, its result "
                "is dropped",
                self._tool,
                self._run_id,
                time.monotonic() - self._began,
            )

    def abandon(self) -> bool:
        """Nobody waits for the call any more; whether it still holds its thread."""
        if not self._calls.changed(self, is_left=True):
            return False
        frame = sys._current_frames().get(self._thread or 0)  # noqa: SLF001 - documented
        stack = "".join(traceback.format_stack(frame)) if frame else "(unknown)"
        logger.error(
            "Tool %s of run %s was given up after %.1f s and holds its thread for as long as it "
            "runs. Declare it with isolate=True, which can be killed, or give its own calls a "
            "timeout. It is here:\n%s",
            self._tool,
            self._run_id,
            time.monotonic() - self._began,
            stack,
        )
        return True
