"""The examples in a real Chromium: a web server, a worker, and people with browsers."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.examples.model_server import ModelServer
from tests.examples.sites import PASSWORDS, Site, serving
from tests.support.servers import RedisServer
from tests.web.ai_sdk_site import UseChatSite, use_chat_site
from tests.web.wire import Wire

#: Where Debian and others put it.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

#: Milliseconds in which a page shows what it should: a test that fails may take its time.
PAGE_PATIENCE = 30_000
expect.set_options(timeout=PAGE_PATIENCE)


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture
def question() -> str:
    """A question that no other test asks."""
    return f"question {uuid4().hex}"


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    model: ModelServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The FastAPI example, or the one that a module asks for."""
    redis_url = f"{redis_server.url.rpartition('/')[0]}/5"
    name = getattr(request, "param", "fastapi")
    with serving(name, redis_url, model.url, tmp_path_factory.mktemp(name)) as site:
        yield site


@pytest.fixture(scope="module")
def shop(
    redis_server: RedisServer, model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UseChatSite]:
    """The example with `useChat`."""
    redis_url = f"{redis_server.url.rpartition('/')[0]}/6"
    with use_chat_site(redis_url, model.url, tmp_path_factory.mktemp("use_chat")) as site:
        yield site


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    """The network of the browsers."""
    with Wire(site.port) as wire:
        yield wire


# No longer than its module: Playwright has an event loop of its own in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "Chromium is missing: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


SignIn = Callable[[str], BrowserContext]


@pytest.fixture
def sign_in(wire: Wire, browser: Browser) -> Iterator[SignIn]:
    """A browser of somebody who has signed in; its pages are tabs."""
    contexts: list[BrowserContext] = []

    def open_(user: str) -> BrowserContext:
        context = browser.new_context(base_url=wire.url)
        context.set_default_timeout(PAGE_PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.goto("/")
        fill_in(page, user, PASSWORDS[user])
        page.wait_for_selector("#say:visible")
        page.close()
        return context

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def page(sign_in: SignIn) -> Page:
    """A tab of Ann's."""
    found = sign_in("ann").new_page()
    found.goto("/")
    found.wait_for_selector("#say:visible")
    return found


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the page go: TEST_PICTURES, to look at them."""
    asked = os.environ.get("TEST_PICTURES")
    return Path(asked) if asked else tmp_path_factory.mktemp("pictures")


def fill_in(page: Page, user: str, password: str) -> None:
    """Sign in."""
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.click("text=Sign in")


def say(page: Page, text: str) -> None:
    page.fill("#message", text)
    page.click("text=Send")
