"""A server of the HTTP API in this process, over a real socket, with runs that execute here."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.requests import Request

from evented_agent import InProcessAgent, RunInfo, Settings, create_durable_agent
from evented_agent.web import Action, Principal, WebApp, create_app
from tests.http.agents import GATES, other, talker
from tests.support.servers import RedisServer, free_port
from tests.support.workers import wait_until

KEY = "a key of thirty-two characters.."
#: Who has which token.
PEOPLE = {
    "Bearer ann": Principal("Ann", "ann"),
    "Bearer bob": Principal("Bob", "bob"),
    "Bearer reader": Principal("Ann", "ann", scopes=frozenset({"read", "list"})),
    "Bearer service": Principal("Service", all_resources=True),
    "Bearer operator": Principal(
        "Operator", all_resources=True, scopes=frozenset({"read", "list", "operate"})
    ),
}


def authorize(request: Request, action: Action, run: RunInfo | None) -> Principal | None:
    """Known by a token, or by a cookie of the same name."""
    cookie = request.cookies.get("who")
    return PEOPLE.get(f"Bearer {cookie}" if cookie else request.headers.get("authorization", ""))


class Served:
    """A server under a URL; clients of it by name."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients: dict[str, httpx.Client] = {}

    def as_(self, name: str) -> httpx.Client:
        """The client of somebody, who is signed in by a token; "" for nobody."""
        if name not in self._clients:
            headers = {"authorization": f"Bearer {name}"} if name else {}
            self._clients[name] = httpx.Client(
                base_url=self.url, headers=headers, trust_env=False, timeout=20
            )
        return self._clients[name]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


Serve = Callable[..., Served]


@contextmanager
def serving(app: Any, port: int = 0) -> Iterator[Served]:
    port = port or free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the server listens")
    served = Served(f"http://127.0.0.1:{port}")
    try:
        yield served
    finally:
        served.close()
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def durable(redis_server: RedisServer) -> Iterator[InProcessAgent]:
    """The agent, and beside it another one that the same deployment serves."""
    settings = Settings(prefix="http")
    engine = create_durable_agent(talker, redis_url=redis_server.url, settings=settings)
    engine.client.add(other)
    yield engine
    for gate in list(GATES.values()):
        gate.set()
    for run in engine.client.list(limit=200):
        if not run.is_ended:
            engine.abort(run.run_id)
    wait_until(lambda: all(run.is_ended for run in engine.client.list(limit=200)), "all have ended")
    engine.close()


@pytest.fixture(scope="module")
def app(durable: InProcessAgent) -> WebApp:
    return create_app(durable.client, authorize=authorize, token_keys=[KEY])


@pytest.fixture(scope="module")
def served(app: WebApp) -> Iterator[Served]:
    with serving(app) as served:
        yield served


@pytest.fixture
def ann(served: Served) -> httpx.Client:
    return served.as_("ann")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve another application for one test."""
    open_: list[Any] = []

    def start(app: Any) -> Served:
        context = serving(app)
        open_.append(context)
        return context.__enter__()

    yield start
    for context in open_:
        context.__exit__(None, None, None)
