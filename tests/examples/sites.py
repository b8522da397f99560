"""An example as its README starts it: a web server and a Celery worker, as processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.workers import ROOT, wait_until

EXAMPLES = ROOT / "examples"
#: Settings of whoever runs the tests that would reach the examples.
FOREIGN = ("MODEL", "CELERY_BROKER_URL", "EVENTED_AGENT_REDIS_URL", "OPENAI_ORG_ID")


def environment(redis_url: str, model_url: str) -> dict[str, str]:
    """What an example's processes see, whatever the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {
        **kept,
        "REDIS_URL": redis_url,
        "OPENAI_BASE_URL": model_url,
        "OPENAI_API_KEY": "local-key-for-tests",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


class Process:
    """A Python command in a session of its own, which is killed whole."""

    def __init__(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], log: Path
    ) -> None:
        self._command = [sys.executable, *command]
        self._folder = folder
        self._env = env
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def check_alive(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, self.text()

    def kill(self) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


@dataclass(frozen=True)
class Event:
    """One Server-Sent Event."""

    id: str
    type: str
    data: dict[str, Any]


class Site:
    """One example, running."""

    def __init__(self, web: Process, worker: Process, port: int, redis_url: str) -> None:
        self.web = web
        self.worker = worker
        self.redis_url = redis_url
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
        self._port = port

    def __enter__(self) -> Self:
        self.web.start()
        self.worker.start()
        self._wait_for_web()
        wait_until(self._worker_is_ready, "the worker is ready", 30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.web.kill()
        self.worker.kill()

    def restart_web(self) -> None:
        self.web.kill()
        self.web.start()
        self._wait_for_web()

    def ask(self, question: str) -> str:
        """Ask over HTTP; returns the run's id."""
        reply = self.client.post("/runs", json={"message": question})
        assert reply.status_code == 202, reply.text
        run_id: str = reply.json()["run_id"]
        return run_id

    @contextmanager
    def reading(self, run_id: str, after: str | None = None) -> Iterator[Iterator[Event]]:
        """Read events one by one; leaving drops the connection."""
        headers = {} if after is None else {"Last-Event-ID": after}
        with self.client.stream("GET", f"/runs/{run_id}/events", headers=headers) as reply:
            assert reply.status_code == 200, reply.read()
            yield parse(reply.iter_lines())

    def read(self, run_id: str, after: str | None = None) -> list[Event]:
        """Read to the end."""
        with self.reading(run_id, after) as events:
            return list(events)

    def _wait_for_web(self) -> None:
        wait_until(self._web_answers, "the web server listens", 30)

    def _web_answers(self) -> bool:
        self.web.check_alive()
        try:
            socket.create_connection(("127.0.0.1", self._port)).close()
        except OSError:
            return False
        return True

    def _worker_is_ready(self) -> bool:
        self.worker.check_alive()
        return " ready." in self.worker.text()


class Shop(Site):
    """The Django example, where a question is the name of an item that is ordered."""

    def ask(self, question: str) -> str:
        reply = self.order(question)
        assert reply.status_code == 202, reply.text
        run_id: str = reply.json()["run_id"]
        return run_id

    def order(self, item: str, quantity: int = 2) -> httpx.Response:
        return self.client.post("/orders", json={"item": item, "quantity": quantity})


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Read Server-Sent Events as strictly as the simplest client: three lines and an empty one."""
    for line in lines:
        if line.startswith((":", "retry:")) or not line:
            continue
        id_, type_, data, end = line, next(lines), next(lines), next(lines)
        assert (id_[:4], type_[:7], data[:6], end) == ("id: ", "event: ", "data: ", "")
        yield Event(id_[4:], type_[7:], json.loads(data[6:]))


def until_text(events: Iterator[Event], wanted: str) -> list[Event]:
    """Read until the text so far ends with *wanted*."""
    seen = []
    for event in events:
        seen.append(event)
        if text_of(seen).endswith(wanted):
            return seen
    raise AssertionError(f"{wanted!r} never came; there was {text_of(seen)!r}")


def text_of(events: Sequence[Event]) -> str:
    return "".join(e.data["payload"]["text"] for e in events if e.type == "text-delta")
