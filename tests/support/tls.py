"""A server that speaks TLS before one that does not, with an authority of its own."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Self

import trustme


class TlsProxy:
    """Passes on to *port* what comes in over TLS; asks for a client's certificate if *mutual*.

    Attributes:
        ca: The file of the authority that signed the certificate, for 127.0.0.1 alone.
        client: A file with a client's key and certificate.
    """

    def __init__(self, port: int, folder: Path, *, mutual: bool = False) -> None:
        authority = trustme.CA()
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.client = folder / "ca.pem", folder / "client.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        authority.issue_cert("client@test").private_key_and_cert_chain_pem.write_to_path(
            str(self.client)
        )
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        if mutual:
            authority.configure_trust(self._context)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._sockets: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would not wake whoever accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._accepting.join()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            client = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            plain.close()
            return
        server = socket.create_connection(("127.0.0.1", self._upstream))
        self._sockets |= {client, server}
        back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
        back.start()
        self._pass_on(client, server)
        back.join()
        for each in (client, server):
            self._sockets.discard(each)
            each.close()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
