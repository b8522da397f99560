"""How many connections one process opens for its commands; who comes while all are used waits.

redis-py's pools would refuse at once.  They are never asked for more than this.
"""

import asyncio
import threading
import weakref
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

#: Connections for threads, and as many for each event loop. More would make nothing faster: Python
#: sends, and a server answers, one command after the other; this many fill a round trip of 10 ms.
MOST_CONNECTIONS = 32
#: Seconds that a command waits for a free one.
WAIT_FOR_FREE = 5.0


class NoFreeConnection(ConnectionError):
    """All connections were used by other calls of this process, for all of the time."""

    def __init__(self, most: int, waited: float) -> None:
        super().__init__(
            f"none of this process's {most} connections was free within {waited:g} s: too many "
            "calls at once, or a Redis that answers too slowly"
        )


class ConnectionLimit:
    """Held, by ``with`` or ``async with``, by each command that is under way."""

    def __init__(self, url: str) -> None:
        self._most = _most_connections(url)
        self._of_threads = threading.BoundedSemaphore(self._most)
        self._of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
        self._of_loops = weakref.WeakKeyDictionary()

    def __enter__(self) -> None:
        if not self._of_threads.acquire(timeout=WAIT_FOR_FREE):
            raise NoFreeConnection(self._most, WAIT_FOR_FREE)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._of_threads.release()

    async def __aenter__(self) -> None:
        free = self._of_loop()
        if not free.locked():
            await free.acquire()
            return
        try:
            async with asyncio.timeout(WAIT_FOR_FREE):
                await free.acquire()
        except TimeoutError:
            raise NoFreeConnection(self._most, WAIT_FOR_FREE) from None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._of_loop().release()

    def _of_loop(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        free = self._of_loops.get(loop)
        if free is None:
            free = self._of_loops[loop] = asyncio.Semaphore(self._most)
        return free


def _most_connections(url: str) -> int:
    """What the URL says, as redis-py reads it, if that is less."""
    [said, *_] = parse_qs(urlsplit(url).query).get("max_connections", [""])
    return min(MOST_CONNECTIONS, int(said)) if said.isdigit() and int(said) else MOST_CONNECTIONS
