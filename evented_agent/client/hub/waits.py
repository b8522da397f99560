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

    async def result(self, seconds: float | None) -> Any:
        """The answer; None if *seconds* brought none."""
        if seconds is None:
            return await self._answer
        timer = self.loop.call_later(seconds, self.give, None)
        try:
            return await self._answer
        finally:
            timer.cancel()


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
