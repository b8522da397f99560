"""How a reader waits for an answer of the hub's threads: in a thread, or on an event loop."""

import asyncio
import queue
from collections.abc import Iterable
from typing import Any, NamedTuple


class Failure(NamedTuple):
    """The answer where the connection broke, or Redis refused."""

    error: BaseException


class ThreadWait:
    """One answer for a thread."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def give(self, answer: Any) -> None:
        self._answers.put(answer)

    @property
    def is_given(self) -> bool:
        return not self._answers.empty()

    def result(self, seconds: float | None) -> Any:
        """The answer; None if *seconds* brought none."""
        try:
            return self._answers.get(timeout=None if seconds is None else max(0.0, seconds))
        except queue.Empty:
            return None


class LoopWait:
    """One answer for a task of the running event loop.

    It awaits nothing but a future of its own loop: no client of Redis stands between a task and
    its cancellation.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Any] = self.loop.create_future()

    def give(self, answer: Any) -> None:
        """Answer, on the loop; the first answer counts."""
        if not self._answer.done():
            self._answer.set_result(answer)

    async def result(self) -> Any:
        """The answer; None where a `LoopTimer` ended the wait."""
        return await self._answer


class LoopTimer:
    """Ends waits of one reader that last too long.

    Most are short, so it is not set and cancelled for each: it looks what there is to end when it
    rings.
    """

    def __init__(self) -> None:
        self._wait: LoopWait | None = None
        self._ends = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._rings = 0.0

    def watch(self, wait: LoopWait, seconds: float) -> None:
        """End *wait* after so long; instead of the one before."""
        self._wait, self._ends = wait, wait.loop.time() + seconds
        if self._handle is None or self._ends < self._rings:
            self._set(wait)

    def forget(self) -> None:
        """There is nothing to end now."""
        self._wait = None

    def close(self) -> None:
        """Ring no more."""
        self._wait = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self, wait: LoopWait) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._rings = self._ends
        self._handle = wait.loop.call_at(self._ends, self._ring)

    def _ring(self) -> None:
        self._handle = None
        wait = self._wait
        if wait is not None and wait.loop.time() < self._ends:
            self._set(wait)
        elif wait is not None:
            wait.give(None)


Wait = ThreadWait | LoopWait


def give_all(answers: Iterable[tuple[Wait, Any]]) -> None:
    """Answer from a thread of the hub; each event loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[LoopWait, Any]]] = {}
    for wait, answer in answers:
        if isinstance(wait, ThreadWait):
            wait.give(answer)
        else:
            by_loop.setdefault(wait.loop, []).append((wait, answer))
    for loop, of_loop in by_loop.items():
        try:
            loop.call_soon_threadsafe(_give_on_loop, of_loop)
        except RuntimeError:
            # The loop is closed, and whoever waited on it is gone.
            continue


def _give_on_loop(answers: list[tuple[LoopWait, Any]]) -> None:
    for wait, answer in answers:
        wait.give(answer)
