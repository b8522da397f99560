"""The network between a browser and a web server, which tests cut."""

import contextlib
import socket
import threading

from tests.support.tcp_proxy import TcpProxy


class Wire(TcpProxy):
    """Passes on what comes, byte by byte."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on until either side ends; then the other one does."""
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
