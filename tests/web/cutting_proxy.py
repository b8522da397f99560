"""A network between a client and a server that drops connections when it is told."""

import contextlib
import socket
import threading

from tests.web.wire import Wire, _pump


class CuttingProxy(Wire):
    """Passes on what comes; a connection whose turn it is breaks after so many bytes of answer."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._cuts: list[int] = []

    def cut_after(self, *sizes: int) -> None:
        """The next connections break after these numbers of bytes, in this order."""
        self._cuts = list(sizes)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        left: int | None = None
        with contextlib.suppress(OSError):
            # Asked at the first answer: a client opens connections that it may never use.
            data = server.recv(65536)
            left = self._cuts.pop(0) if data and self._cuts else None
            while left is not None and data:
                client.sendall(data[:left])
                left -= len(data)
                data = server.recv(65536) if left > 0 else b""
            client.sendall(data)
        if left is None:
            _pump(server, client)
        for each in (client, server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
