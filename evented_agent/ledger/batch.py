"""What is still to be answered, and when to ask again.  Does no I/O itself."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from evented_agent.ledger.error_replies import CONNECTION_FAILURES
from evented_agent.ledger.script import Command

#: How often in a row another node of a cluster is asked at once.
_MOST_REDIRECTS = 5
#: Seconds between two questions whether the server is still the master.
CHECKED_FOR = 5.0


class Tries:
    """When to ask again: after 50 ms, then twice as long each time, at most a second."""

    def __init__(self, retry_for: float) -> None:
        self._gives_up_at = time.monotonic() + retry_for
        self._wait = 0.05
        self._redirects = _MOST_REDIRECTS

    def wait(self, *, redirected: bool = False) -> float | None:
        """Seconds to wait before the next try; None where there is none."""
        if redirected and self._redirects:
            # It is known whom to ask, so time is no reason.
            self._redirects -= 1
            return 0.0
        wait = self._wait * random.uniform(0.8, 1.2)
        self._wait = min(self._wait * 2, 1.0)
        return None if time.monotonic() + wait > self._gives_up_at else wait


class RoleCheck:
    """When to ask again whether the server is in charge: one that was demoted answers reads."""

    def __init__(self) -> None:
        self._again_at = time.monotonic() + CHECKED_FOR

    def is_due(self) -> bool:
        """Whether it is time; who is told so asks."""
        now = time.monotonic()
        if now < self._again_at:
            return False
        self._again_at = now + CHECKED_FOR
        return True


class Cancellations:
    """Notices that the running task was cancelled while it awaited redis-py, which hid it.

    redis-py sends with `asyncio.wait_for`, which before Python 3.12 returns what is awaited if that
    is done by the time of the cancellation: a loop would go on for ever.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._asked()

    def check(self) -> None:
        """Raise the `asyncio.CancelledError` that was hidden."""
        if self._asked() > self._before:
            raise asyncio.CancelledError

    def _asked(self) -> int:
        return 0 if self._task is None else self._task.cancelling()


class Batch:
    """Commands that are sent together, to one server or to several, and their replies so far.

    Attributes:
        open: The numbers of those that are to be sent next.
    """

    def __init__(self, commands: Sequence[Command[Any]]) -> None:
        self.commands = commands
        self.replies: list[Any] = [None] * len(commands)
        self.open: list[int] = list(range(len(commands)))
        self._lost: set[int] = set()

    @property
    def is_lost(self) -> bool:
        """Whether no server was reached at all."""
        return len(self._lost) == len(self.commands) > 0

    def answered(self, numbers: Sequence[int], replies: Sequence[Any]) -> None:
        self._lost.difference_update(numbers)
        for at, reply in zip(numbers, replies, strict=True):
            self.replies[at] = reply

    def lost(self, numbers: Sequence[int], error: BaseException) -> None:
        """Note that no reply came."""
        self._lost.update(numbers)
        for at in numbers:
            self.replies[at] = error

    def errors(self) -> list[BaseException]:
        """What came instead of answers: one for each that was open."""
        replies = (self.replies[at] for at in self.open)
        return [reply for reply in replies if isinstance(reply, CONNECTION_FAILURES)]

    def keep_open(self, is_open: Callable[[BaseException], bool]) -> None:
        """Send again, at the next try, what *is_open* is true of."""
        self.open = [
            at
            for at in self.open
            if isinstance(self.replies[at], CONNECTION_FAILURES) and is_open(self.replies[at])
        ]
