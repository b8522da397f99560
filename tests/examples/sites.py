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

from tests.support.servers import free_port
from tests.support.warm_start import WarmProcess, start_warm
from tests.support.workers import ROOT, wait_until

EXAMPLES = ROOT / "examples"
#: Settings of whoever runs the tests that would reach the examples.
FOREIGN = ("MODEL", "CELERY_BROKER_URL", "EVENTED_AGENT_REDIS_URL", "OPENAI_ORG_ID")
#: Who may sign in to each of the examples.
PASSWORDS = {"ann": "tea", "bob": "coffee"}
#: Seconds in which a process starts: machines are shared and noisy.
PATIENCE = 90


@dataclass(frozen=True)
class Example:
    """What an example's README types.

    Attributes:
        folder: Where.
        web: The web server; PORT stands for its port.
        celery_app: What the worker loads.
    """

    folder: Path
    web: Sequence[str]
    celery_app: str

    @property
    def worker(self) -> Sequence[str]:
        agents = ["-A", self.celery_app, "worker", "-P", "threads", "-c", "10", "-Q", "agents"]
        quick = ["-n", f"{self.celery_app}@test", "--without-gossip", "--without-mingle"]
        return ["celery", *agents, *quick, "--loglevel", "INFO"]


_UVICORN = ("uvicorn", "--port", "PORT")
_DJANGO = EXAMPLES / "django_app"
#: Each example under each kind of server that its README names.
SERVERS = {
    "fastapi": Example(EXAMPLES, [*_UVICORN, "fastapi_app.main:web"], "fastapi_app.agents"),
    "django-asgi": Example(_DJANGO, [*_UVICORN, "shop.asgi:application"], "shop"),
    "django-wsgi": Example(_DJANGO, ["manage", "runserver", "--noreload", "PORT"], "shop"),
    "flask": Example(
        EXAMPLES,
        ["flask", "--app", "flask_app", "run", "--port", "PORT"],
        "flask_app.worker",
    ),
}


@contextmanager
def serving(name: str, redis_url: str, model_url: str, folder: Path) -> Iterator["Site"]:
    """Start an example, with nothing in its Redis and its database but its users."""
    example, port = SERVERS[name], free_port()
    env = environment(redis_url, model_url) | {"DATABASE": str(folder / "db.sqlite3")}
    if example.folder == _DJANGO:
        _prepare_django(env)
    web = [str(port) if each == "PORT" else each for each in example.web]
    with Site(
        Process(web, example.folder, env, folder / "web"),
        Process(example.worker, example.folder, env, folder / "worker"),
        port,
        redis_url,
        folder,
    ) as site:
        yield site


def environment(redis_url: str, model_url: str) -> dict[str, str]:
    """What an example's processes see, whatever the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {
        **kept,
        "REDIS_URL": redis_url,
        "OPENAI_BASE_URL": model_url,
        "OPENAI_API_KEY": "local-key-for-tests",
        "SECRET_KEY": "a secret of thirty-two characters",
        "REPORT_SECONDS": "0.2",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def _prepare_django(env: Mapping[str, str]) -> None:
    """What the README types, in one process."""
    commands = ["import django, os; from django.core.management import call_command as call"]
    commands += ["django.setup()", "call('migrate', verbosity=0)"]
    for user, password in PASSWORDS.items():
        named = f"interactive=False, username={user!r}, email='{user}@shop.example', verbosity=0"
        commands += [f"os.environ['DJANGO_SUPERUSER_PASSWORD'] = {password!r}"]
        commands += [f"call('createsuperuser', {named})"]
    subprocess.run(
        [sys.executable, "-c", "\n".join(commands)],
        cwd=_DJANGO,
        env={**env, "DJANGO_SETTINGS_MODULE": "shop.settings"},
        check=True,
        timeout=PATIENCE,
    )


class Process:
    """A module of Python as a command in a session of its own, which is killed whole."""

    def __init__(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], log: Path
    ) -> None:
        self._command = command
        self._folder = folder
        self._env = env
        self._log = log
        self._process: WarmProcess | subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self._log.open("ab") as log:
            self._process = start_warm(self._command, self._env, log, cwd=self._folder)
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

    def __init__(
        self, web: Process, worker: Process, port: int, redis_url: str, folder: Path
    ) -> None:
        self.web = web
        self.worker = worker
        self.port = port
        self.redis_url = redis_url
        self.folder = folder
        self._clients: dict[str, httpx.Client] = {}

    def __enter__(self) -> Self:
        try:
            self.web.start()
            self.worker.start()
            self._wait_for_web()
            self.wait_for_worker()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()
        self.web.kill()
        self.worker.kill()

    @property
    def client(self) -> httpx.Client:
        """Ann's."""
        return self.as_("ann")

    def as_(self, user: str) -> httpx.Client:
        """A client of somebody who has signed in; "" is nobody."""
        if user not in self._clients:
            client = self._clients[user] = httpx.Client(
                base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False
            )
            client.headers["origin"] = str(client.base_url)
            if user:
                reply = sign_in(client, user, PASSWORDS[user])
                assert reply.headers["location"] == "/", reply.text
        return self._clients[user]

    def restart_web(self) -> None:
        self.web.kill()
        self.web.start()
        self._wait_for_web()

    def ask(self, question: str) -> str:
        """Ask over HTTP; returns the run's id."""
        body = {"agent": "assistant", "input": question}
        reply = self.client.post("/agents/runs", json=body)
        assert reply.status_code == 202, reply.text
        run_id: str = reply.json()["run_id"]
        return run_id

    @contextmanager
    def reading(self, run_id: str, after: str | None = None) -> Iterator[Iterator[Event]]:
        """Read events one by one; leaving drops the connection."""
        headers = {} if after is None else {"Last-Event-ID": after}
        with self.client.stream("GET", stream_of(run_id), headers=headers) as reply:
            assert reply.status_code == 200, reply.read()
            yield parse(reply.iter_lines())

    def read(self, run_id: str, after: str | None = None) -> list[Event]:
        """Read to the end."""
        with self.reading(run_id, after) as events:
            return list(events)

    def wait_for_worker(self) -> None:
        wait_until(self._worker_is_ready, "the worker is ready", PATIENCE)

    def _wait_for_web(self) -> None:
        wait_until(self._web_answers, "the web server listens", PATIENCE)

    def _web_answers(self) -> bool:
        self.web.check_alive()
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def _worker_is_ready(self) -> bool:
        self.worker.check_alive()
        return " ready." in self.worker.text()


def sign_in(client: httpx.Client, user: str, password: str) -> httpx.Response:
    """What the page's form sends; Django wants its token back, there and afterwards."""
    client.get("/")
    token = client.cookies.get("csrftoken") or ""
    form = {"username": user, "password": password, "csrfmiddlewaretoken": token}
    reply = client.post("/login", data=form)
    client.headers["x-csrftoken"] = client.cookies.get("csrftoken") or ""
    return reply


def stream_of(run_id: str) -> str:
    return f"/agents/runs/{run_id}/stream"


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
