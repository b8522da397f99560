"""The console in a real Chromium, with runs that execute in this process."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from evented_agent import InProcessAgent, Settings, create_durable_agent
from evented_agent.web import create_app
from tests.http.agents import GATES, other, talker
from tests.http.conftest import Served, serving
from tests.support.operators import known_operator
from tests.support.servers import RedisServer
from tests.support.workers import wait_until
from tests.web.conftest import PAGE_PATIENCE
from tests.web.console.pages import OpenAt

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def engine(redis_server: RedisServer) -> Iterator[InProcessAgent]:
    settings = Settings(prefix="console")
    made = create_durable_agent(talker, redis_url=redis_server.url, settings=settings)
    made.client.add(other)
    yield made
    for gate in list(GATES.values()):
        gate.set()
    made.close()


@pytest.fixture(scope="module")
def console(engine: InProcessAgent) -> Iterator[Served]:
    """Served until all that the tests have started has ended; asked over HTTP.

    Playwright has an event loop in this thread, where the plain verbs of the client would block.
    """
    app = create_app(engine.client, authorize=known_operator, flower_url="http://127.0.0.1:5555")
    with serving(app) as served:
        yield served
        admin = served.as_("admin")

        def live() -> list[str]:
            found = admin.get("/runs?limit=200").json()["runs"]
            ended = ("finished", "failed", "aborted")
            return [run["run_id"] for run in found if run["status"] not in ended]

        for run_id in live():
            admin.post(f"/runs/{run_id}/abort")
        wait_until(lambda: not live(), "all have ended")


@pytest.fixture
def ann(console: Served) -> httpx.Client:
    return console.as_("ann")


@pytest.fixture
def problems() -> Iterator[list[str]]:
    """What pages complain of: errors of scripts, and of their own policy. There must be none."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def open_at(browser: Browser, problems: list[str]) -> Iterator[OpenAt]:
    """Open a tab of somebody who has signed in to a site."""
    contexts: list[BrowserContext] = []

    def open_(site: Served, path: str, who: str = "ann", **options: Any) -> Page:
        context = browser.new_context(base_url=site.url, **options)
        context.set_default_timeout(PAGE_PATIENCE)
        context.add_cookies([{"name": "who", "value": who, "url": site.url}])
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda said: (
                problems.append(f"{said.text} {said.location} {page.url}")
                if said.type == "error"
                else None
            ),
        )
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(console: Served, open_at: OpenAt) -> Open:
    """Open a tab of the console of these tests."""
    return partial(open_at, console)
