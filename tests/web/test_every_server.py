"""The page under each server: a run is followed over reloads, drops, and workers that die."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from playwright.sync_api import Page, expect

from tests.examples.model_server import ModelServer, held
from tests.examples.sites import SERVERS, Site
from tests.web.conftest import say
from tests.web.wire import Wire

Without = Callable[[Site, Wire], AbstractContextManager[None]]

pytestmark = [
    pytest.mark.parametrize("site", SERVERS, indirect=True, scope="module"),
    # The first test of each server starts it.
    pytest.mark.timeout(300),
]


def test_text_is_live_and_a_reload_goes_on_with_ones_own_question(
    page: Page, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["Tea is ", gate, "a plant."])

    with held(gate):
        say(page, question)
        expect(page.locator(".answer")).to_have_text("Tea is")
        page.reload()
        expect(page.locator(".question")).to_have_text(question)
        expect(page.locator(".answer")).to_have_text("Tea is")
        gate.set()
        expect(page.locator(".answer")).to_have_text("Tea is a plant.")

    expect(page.locator("section .status")).to_have_text("finished")
    expect(page.locator("#threads")).to_contain_text(question)


def test_a_second_tab_shows_the_same(page: Page, model: ModelServer, question: str) -> None:
    gate = threading.Event()
    model.answers(question, ["One, ", gate, "two."])

    with held(gate):
        say(page, question)
        expect(page.locator(".answer")).to_have_text("One,")
        second = page.context.new_page()
        second.goto(page.url)
        expect(second.locator(".answer")).to_have_text("One,")
        gate.set()
        for tab in (page, second):
            expect(tab.locator(".answer")).to_have_text("One, two.")


@contextmanager
def without_network(_site: Site, wire: Wire) -> Iterator[None]:
    wire.refuse()
    yield
    wire.accept()


@contextmanager
def without_web_server(site: Site, _wire: Wire) -> Iterator[None]:
    site.web.kill()
    yield
    site.restart_web()


@pytest.mark.parametrize("without", [without_network, without_web_server])
def test_a_drop_costs_no_word(
    page: Page, model: ModelServer, question: str, site: Site, wire: Wire, without: Without
) -> None:
    gate = threading.Event()
    model.answers(question, ["Before, ", gate, "and after."])

    with held(gate):
        say(page, question)
        expect(page.locator(".answer")).to_have_text("Before,")
        with without(site, wire):
            expect(page.locator("section .status")).to_have_text("reconnecting …")
            gate.set()
        expect(page.locator(".answer")).to_have_text("Before, and after.")

    expect(page.locator("section .status")).to_have_text("finished")


def test_what_a_killed_worker_half_said_is_withdrawn(
    page: Page, model: ModelServer, question: str, site: Site
) -> None:
    gate = threading.Event()
    model.answers(question, ["Half of ", gate, "it."])

    with held(gate):
        say(page, question)
        expect(page.locator(".answer")).to_have_text("Half of")
        site.worker.kill()
        model.answers(question, ["All of it."])
        site.worker.start()
        expect(page.locator(".answer")).to_have_text("All of it.", timeout=90_000)

    expect(page.locator("section .status")).to_have_text("finished")


def test_who_signs_out_sees_nothing(page: Page, model: ModelServer, question: str) -> None:
    model.answers(question, ["A secret."])
    say(page, question)
    expect(page.locator(".answer")).to_have_text("A secret.")
    address = page.url

    page.click("text=Sign out")
    expect(page.locator("#login")).to_be_visible()
    page.goto(address)
    page.reload()

    expect(page.locator("#login")).to_be_visible()
    expect(page.locator("section")).to_have_count(0)
