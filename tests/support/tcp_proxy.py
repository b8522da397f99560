"""A TCP proxy in front of a server, whose connections tests cut."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Self


class TcpProxy:
    """Connects whoever comes with the server at *port*; what passes is up to its subclasses."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._is_refusing = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would not wake whoever accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def refuse(self) -> None:
        """Cut all connections, and those that come."""
        self._is_refusing = True
        self.cut()

    def accept(self) -> None:
        self._is_refusing = False

    def cut(self) -> None:
        """Cut all connections."""
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), client, self._cuttable(client):
            if self._is_refusing:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            with server, self._cuttable(server):
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pass_on(client, server)

    @contextlib.contextmanager
    def _cuttable(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._sockets.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.remove(connection)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        raise NotImplementedError
