"""Readers that take less than there is: what they cost, and when they are cut."""

import dataclasses
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evented_agent import InProcessAgent
from evented_agent.web import Limits, create_app
from tests.http.conftest import Serve, Served, authorize
from tests.http.requests import events_of, start, text_of, until
from tests.http.test_servers import SERVERS, WebServer
from tests.support.workers import wait_until


@contextmanager
def stalled(url: str, run_id: str) -> Iterator[socket.socket]:
    """Ask for a stream, and take nothing of it."""
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        head = f"GET /runs/{run_id}/stream HTTP/1.1\r\nhost: here\r\nauthorization: Bearer ann"
        connection.sendall(f"{head}\r\n\r\n".encode())
        yield connection


def rest_of(connection: socket.socket) -> tuple[int, bool]:
    """How many bytes still come, and whether the server has closed the connection."""
    connection.settimeout(20)
    count = 0
    try:
        while data := connection.recv(65536):
            count += len(data)
    except ConnectionResetError:
        return count, True
    except TimeoutError:
        return count, False
    return count, True


@pytest.fixture(scope="module")
def long_run(served: Served) -> str:
    """A run that has said far more than a connection holds."""
    ann = served.as_("ann")
    run_id = start(ann, "say " + "word " * 50_000)
    until(ann, run_id, "finished")
    return run_id


def test_what_is_there_at_once_is_sent_in_few_pieces(served: Served, long_run: str) -> None:
    """Of thousands of events, a write each would cost a system call each."""
    with served.as_("ann").stream("GET", f"/runs/{long_run}/stream") as reply:
        pieces = list(reply.iter_raw())

    events = events_of(b"".join(pieces).decode())
    assert text_of(events) == "word " * 50_000
    assert len(pieces) < len(events) / 4


def test_a_reader_that_takes_nothing_is_cut_off(
    durable: InProcessAgent, serve: Serve, long_run: str
) -> None:
    """The connection is closed, not only given up: else its buffers would stay for ever."""
    app = create_app(
        durable.client, authorize=authorize, limits=Limits(streams=1, stall_seconds=0.3)
    )
    app._site = dataclasses.replace(app._site, heartbeat=0.05)
    served = serve(app)
    ann = served.as_("ann")

    def is_taken() -> bool:
        return ann.head(f"/runs/{long_run}/stream").status_code == 429

    with stalled(served.url, long_run) as connection:
        wait_until(is_taken, "it has its place")
        wait_until(lambda: not is_taken(), "its place is free")
        count, is_closed = rest_of(connection)

    assert is_closed
    whole = len(served.as_("ann").get(f"/runs/{long_run}/stream").content)
    assert count < whole


def test_a_reader_that_takes_nothing_keeps_no_server_from_stopping(
    durable: InProcessAgent, long_run: str, tmp_path: Path
) -> None:
    server = WebServer(SERVERS["uvicorn"], durable.client.redis_url, tmp_path)
    try:
        with stalled(str(server.client.base_url), long_run) as connection:
            connection.recv(100)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) is not None
    finally:
        server.close()
