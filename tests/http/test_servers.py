"""The same application under the servers that people use: what a stream sees of a deploy."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from evented_agent import InProcessAgent
from tests.http.agents import GATES
from tests.http.requests import call, reading, until_type
from tests.support.servers import free_port
from tests.support.warm_start import start_warm
from tests.support.workers import wait_until

APP = "tests.http.site_of_runs:asgi"
SERVERS: dict[str, Sequence[str]] = {
    "uvicorn": ["uvicorn", APP, "--port", "PORT", "--host", "127.0.0.1"],
    "uvicorn h11": ["uvicorn", APP, "--port", "PORT", "--http", "h11", "--loop", "asyncio"],
    "uvicorn reload": ["uvicorn", APP, "--port", "PORT", "--reload", "--reload-dir", "FOLDER"],
    # Its processes are told by a shared flag, not by a signal: it cuts them itself, after 3 s.
    "hypercorn": ["hypercorn", APP, "--bind", "127.0.0.1:PORT"],
    "gunicorn": ["gunicorn", APP, "-k", "asgi", "-b", "127.0.0.1:PORT"],
}


class WebServer:
    """A web server in a process of its own."""

    def __init__(self, command: Sequence[str], redis_url: str, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "web.log"
        filled = [
            each.replace("PORT", str(self.port)).replace("FOLDER", str(folder)) for each in command
        ]
        with self.log.open("ab") as log:
            self.process = start_warm(filled, {**os.environ, "TEST_REDIS_URL": redis_url}, log)
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"authorization": "Bearer ann"},
            trust_env=False,
            timeout=30,
        )
        wait_until(self._answers, "the web server answers", 90)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(params=list(SERVERS))
def web(
    request: pytest.FixtureRequest, durable: InProcessAgent, tmp_path: Path
) -> Iterator[WebServer]:
    server = WebServer(SERVERS[request.param], durable.client.redis_url, tmp_path)
    yield server
    server.close()


def test_text_comes_at_once_and_a_drop_goes_on_where_it_was(
    web: WebServer, durable: InProcessAgent
) -> None:
    name = f"drop {web.port}"
    run = durable.stream(call("hold", name=name), resource_id="ann")

    with reading(web.client, run.run_id) as lines:
        # Before the run goes on: nobody holds back what is small.
        assert next(lines) == ": hb"
        before = until_type(lines, "tool-call")
    GATES[name].set()
    with reading(web.client, run.run_id, after=str(before[-1]["seq"])) as lines:
        after = until_type(lines, "finish")

    seqs = [each["seq"] for each in before + after]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_server_that_is_stopped_ends_its_streams_at_once_and_no_run(
    web: WebServer, durable: InProcessAgent
) -> None:
    run = durable.stream(call("hold", name=f"stop {web.port}"), resource_id="ann")

    with reading(web.client, run.run_id) as lines:
        seen = until_type(lines, "tool-call")
        web.process.send_signal(signal.SIGTERM)
        rest: list[str] = []
        # A server that cuts it off itself leaves it unfinished.
        with contextlib.suppress(httpx.RemoteProtocolError):
            rest.extend(lines)
    web.process.wait(20)

    # An end that is none of the run: a browser asks again, and finds another process.
    assert [line for line in rest if line.startswith("data:")] == []
    assert seen[-1]["type"] == "tool-call"
    # hypercorn complains of what it has cut off.
    assert "/evented_agent/" not in web.log.read_text()
    assert durable.get(run.run_id).status == "running"
    GATES[f"stop {web.port}"].set()
    assert run.result(20).text == f"stop {web.port} is open"
