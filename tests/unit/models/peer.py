"""A model server that says exactly the bytes a test gives it, on a real socket."""

import asyncio
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from evented_agent.errors import ModelError
from evented_agent.models import Model, ModelEvent, ModelRequest
from evented_agent.models.messages import UserMessage

Step = bytes | Callable[[socket.socket], None]


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: Any
    connection: int


class Peer:
    """Serves its replies in order, one thread for each connection."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.gone = threading.Event()
        self._replies: deque[tuple[Step, ...]] = deque()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def reply(self, *steps: Step) -> None:
        self._replies.append(steps)

    def close(self) -> None:
        # Closing alone does not wake a thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(
                target=self._serve, args=(connection, len(self._open)), daemon=True
            ).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, connection.makefile("rb") as reader:
            while request := self._read(reader, number):
                self.asked.append(request)
                try:
                    for step in self._replies.popleft():
                        connection.sendall(step) if isinstance(step, bytes) else step(connection)
                except OSError:
                    self.gone.set()
                    return

    def _read(self, reader: Any, number: int) -> Asked | None:
        try:
            path = reader.readline().split()[1].decode()
        except (IndexError, OSError, ValueError):
            return None
        headers: dict[str, str] = {}
        while line := reader.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = reader.read(int(headers.get("content-length", 0)))
        return Asked(path, headers, json.loads(body or b"null"), number)

    def wait_for_end(self, connection: socket.socket) -> None:
        """Be a step that lasts until the client closes the connection."""
        connection.settimeout(10)
        if not connection.recv(1):
            self.gone.set()
        raise ConnectionAbortedError


def drop(connection: socket.socket) -> None:
    """Be a step that cuts the connection as a crashed server does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    raise ConnectionAbortedError


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = chunk(b"")
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def events(*data: Any) -> bytes:
    """Return the events as one piece of a stream's body; a string is sent as it is."""
    lines = (text if isinstance(text, str) else json.dumps(text) for text in data)
    return chunk("".join(f"data: {line}\n\n" for line in lines).encode())


def answer(*data: Any) -> bytes:
    """Return a whole streamed answer."""
    return STREAM + events(*data) + END


def refusal(status: int, body: Any, *headers: str) -> bytes:
    """Return an error reply."""
    text = body if isinstance(body, str) else json.dumps(body)
    lines: Iterable[str] = (
        f"HTTP/1.1 {status} No",
        "Content-Type: application/json",
        f"Content-Length: {len(text.encode())}",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()


async def collect(model: Model, request: ModelRequest | None = None) -> list[ModelEvent]:
    """Return everything that one call says."""
    asked = request or ModelRequest([UserMessage(content="Hello")])
    return [event async for event in model.stream(asked)]


def ask(model: Model, request: ModelRequest | None = None) -> list[ModelEvent]:
    """Return everything that one call says, on an event loop of its own."""
    return asyncio.run(collect(model, request))


def failure(model: Model, request: ModelRequest | None = None) -> ModelError:
    """Return the error of a call that fails."""
    with pytest.raises(ModelError) as caught:
        ask(model, request)
    return caught.value
