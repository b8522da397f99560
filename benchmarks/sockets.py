"""Many readers over raw sockets, in a process of their own: ``python -m benchmarks.sockets PORT``.

Is told what to do, a line each, and answers each with a line of JSON:

- ``open EACH RUN …``: open so many streams of each run; answers when the first bytes of all came.
- ``stall COUNT RUN``: open so many that take the head of the answer, and nothing more.
- ``look``: what came since the last look, and how many connections were lost.

It counts events and reads what time is said in them; a client of HTTP would cost more than what is
measured.
"""

import asyncio
import json
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

_SAID = re.compile(rb'"text":"(\d+\.\d+) ')
#: Connections that are made at the same time.
_AT_ONCE = 100


class Listener(asyncio.Protocol):
    """Asks for a stream, and takes what comes."""

    def __init__(self, sockets: "Sockets", run_id: str) -> None:
        self._sockets = sockets
        self._run_id = run_id
        self._rest = b""
        self.has_begun = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(f"GET /runs/{self._run_id}/stream HTTP/1.1\r\nhost: here\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        whole, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        if whole and not self.has_begun.done():
            self._begin(whole)
        self._sockets.delays += [now - float(said) for said in _SAID.findall(whole)]

    def connection_lost(self, error: Exception | None) -> None:
        self._sockets.lost["cut" if error is None else type(error).__name__] += 1
        if not self.has_begun.done():
            self.has_begun.set_result(None)

    def _begin(self, head: bytes) -> None:
        self.has_begun.set_result(None)
        status = head.split(b" ", 2)[1].decode()
        if status != "200":
            self._sockets.lost[status] += 1


class Stalled(Listener):
    """Takes the head of the answer, and nothing more."""

    def data_received(self, _: bytes) -> None:
        if not self.has_begun.done():
            self.has_begun.set_result(None)
            # Nothing else holds a connection that is not read from.
            self._sockets.stalled.append(self)
            self.transport.pause_reading()


class Sockets:
    """All readers of this process."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.delays: list[float] = []
        self.lost: Counter[str] = Counter()
        self.stalled: list[Stalled] = []

    async def open_all(self, each: int, runs: list[str]) -> None:
        limit = asyncio.Semaphore(_AT_ONCE)
        of_each = [partial(Listener, self, run_id) for run_id in runs]
        await asyncio.gather(*(self._open(make, limit) for make in of_each * each))

    async def stall(self, count: int, run_id: str) -> None:
        limit = asyncio.Semaphore(_AT_ONCE)
        make = partial(Stalled, self, run_id)
        await asyncio.gather(*(self._open(make, limit, 4096) for _ in range(count)))

    def look(self) -> dict[str, Any]:
        delays, self.delays = self.delays, []
        return {"delays": delays, "lost": self.lost}

    async def _open(
        self, make: Callable[[], Listener], limit: asyncio.Semaphore, buffer: int = 0
    ) -> None:
        async with limit:
            loop = asyncio.get_running_loop()
            connection = socket.socket()
            connection.setblocking(False)
            if buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            await loop.sock_connect(connection, ("127.0.0.1", self._port))
            _, listener = await loop.create_connection(make, sock=connection)
            await listener.has_begun


async def _answer(sockets: Sockets, line: str) -> Any:
    match line.split():
        case ["open", each, *runs]:
            return await sockets.open_all(int(each), runs)
        case ["stall", count, run_id]:
            return await sockets.stall(int(count), run_id)
        case _:
            return sockets.look()


async def main() -> None:
    sockets = Sockets(int(sys.argv[1]))
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await _answer(sockets, line)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
