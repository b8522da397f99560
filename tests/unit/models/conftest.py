"""The two servers that model tests talk to: one scripted byte by byte, one a real product."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.models.peer import Peer

KEY = "local-key-for-tests"


class MockServer:
    """llmock in its own process, told what to do over HTTP."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self.url = f"{self._root}/v1"

    def script(self, **behavior: Any) -> None:
        self._post("/_llmock/scenario", {"behaviors": [behavior]})

    def reset(self) -> None:
        self._post("/_llmock/reset", {})

    def requests(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self._root}/_llmock/requests", timeout=5) as reply:
            requests: list[dict[str, Any]] = json.load(reply)["requests"]
        return requests

    def is_up(self) -> bool:
        try:
            self.requests()
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _post(self, path: str, body: dict[str, Any]) -> None:
        asked = urllib.request.Request(self._root + path, json.dumps(body).encode(), method="POST")
        urllib.request.urlopen(asked, timeout=5).close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope="session")
def _llmock_process() -> Iterator[MockServer]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("llmock"))
    command = [program, "serve", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        server = MockServer(port)
        deadline = time.monotonic() + 30
        while not server.is_up():
            assert process.poll() is None, "llmock ended at once"
            assert time.monotonic() < deadline, "llmock did not answer within 30 s"
            # Between two looks: the loop has a bound.
            time.sleep(0.1)
        yield server
        process.terminate()


@pytest.fixture
def mock_server(_llmock_process: MockServer) -> MockServer:
    _llmock_process.reset()
    return _llmock_process
