"""The chat example in a real Chromium: a web server, a worker, and people with browsers."""

import shutil
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.examples.model_server import ModelServer
from tests.examples.sites import EXAMPLES, Process, Site, environment
from tests.support.servers import RedisServer, free_port

#: Where Debian and others put it.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
PASSWORDS = {"ann": "tea", "bob": "coffee"}


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
    redis_server: RedisServer, model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    port = free_port()
    redis_url = f"{redis_server.url.rpartition('/')[0]}/5"
    secrets = {"SECRET_KEY": "a secret of thirty-two characters", "REPORT_SECONDS": "0.2"}
    env = environment(redis_url, model.url) | secrets
    logs = tmp_path_factory.mktemp("chat")
    web = Process(
        ["-m", "uvicorn", "chat_app.main:web", "--port", str(port)], EXAMPLES, env, logs / "web"
    )
    command = ["-m", "celery", "-A", "chat_app.agents", "worker", "-P", "threads", "-c", "10"]
    quick = ["-Q", "agents", "-n", "chat@test", "--loglevel", "INFO", "--without-gossip"]
    worker = Process([*command, *quick, "--without-mingle"], EXAMPLES, env, logs / "worker")
    with Site(web, worker, port, redis_url) as site:
        yield site


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
def sign_in(site: Site, browser: Browser) -> Iterator[SignIn]:
    """A browser of somebody who has signed in; its pages are tabs."""
    contexts: list[BrowserContext] = []

    def open_(user: str) -> BrowserContext:
        context = browser.new_context(base_url=str(site.client.base_url))
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.goto("/")
        page.fill("input[name=user]", user)
        page.fill("input[name=password]", PASSWORDS[user])
        page.click("text=Sign in")
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
