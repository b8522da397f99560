"""Ends streams when their server is told to stop: it would wait for them for as long as they last.

Servers tell an application of their end only when all requests are over, and a mounted one not at
all. So the signals that stop a server are listened to, and passed on to it.
"""

import asyncio
import signal
import threading
import weakref
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class OpenTasks:
    """The tasks of an application that write streams; cancelled when the server stops."""

    def __init__(self) -> None:
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.is_stopping = False

    def add(self, task: asyncio.Task[Any]) -> None:
        """Cancel *task* when the server stops, at once where it has been told so."""
        _listen()
        _APPLICATIONS.add(self)
        self._tasks.add(task)
        if self.is_stopping:
            task.cancel()

    def stop(self) -> None:
        """End all streams, and those that are opened from now on."""
        self.is_stopping = True
        for task in list(self._tasks):
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)


_APPLICATIONS: weakref.WeakSet[OpenTasks] = weakref.WeakSet()


def _listen() -> None:
    """Hear of the signals as well; whoever listens to them now is called as before."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        before = signal.getsignal(number)
        if isinstance(before, _Chained) or before in (None, signal.SIG_DFL, signal.SIG_IGN):
            continue
        signal.signal(number, _Chained(before))


class _Chained:
    """A handler of a signal that ends the streams, and then calls the one before it."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        for each in list(_APPLICATIONS):
            each.stop()
        self._before(number, frame)
