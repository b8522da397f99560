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


class Stopping:
    """Tells the streams of an application that their server stops."""

    def __init__(self) -> None:
        self._waiting: weakref.WeakSet[asyncio.Future[None]] = weakref.WeakSet()
        self._is_stopping = False

    def listen(self) -> None:
        """Hear of the server's end from now on; called with each request, as it costs nothing.

        A server sets its own handlers when it starts, so this cannot come earlier.
        """
        _listen()
        _APPLICATIONS.add(self)

    def future(self) -> asyncio.Future[None]:
        """A future of the running event loop that is done once the server stops."""
        found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(found)
        if self._is_stopping:
            _finish(found)
        return found

    def stop(self) -> None:
        """End all streams, and those that are opened from now on; from any thread."""
        self._is_stopping = True
        for each in list(self._waiting):
            loop = each.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_finish, each)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


_APPLICATIONS: weakref.WeakSet[Stopping] = weakref.WeakSet()


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
