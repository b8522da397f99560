"""The page of the example `use_chat`, as people use it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.examples.model_server import Call, ModelServer, held
from tests.web.ai_sdk_site import UseChatSite
from tests.web.conftest import PAGE_PATIENCE


@pytest.fixture
def tab(shop: UseChatSite, browser: Browser) -> Iterator[Page]:
    """A tab of a new visitor."""
    context = browser.new_context(base_url=shop.url)
    context.set_default_timeout(PAGE_PATIENCE)
    page = context.new_page()
    page.goto("/")
    page.wait_for_selector("#message")
    yield page
    context.close()


def say(page: Page, text: str) -> None:
    page.fill("#message", text)
    page.press("#message", "Enter")


def test_text_is_live_and_a_reload_goes_on(tab: Page, model: ModelServer, question: str) -> None:
    gate = threading.Event()
    model.answers(question, ["Tea is ", gate, "a plant."])
    with held(gate):
        say(tab, question)
        expect(tab.locator("article.assistant")).to_have_text("Tea is")
        tab.reload()
        expect(tab.locator("article.user")).to_have_text(question)
        expect(tab.locator("article.assistant")).to_have_text("Tea is")
        gate.set()
        expect(tab.locator("article.assistant")).to_have_text("Tea is a plant.")
    expect(tab.locator("#status")).to_have_text("ready")
    tab.reload()
    expect(tab.locator("article.assistant")).to_have_text("Tea is a plant.")
    expect(tab.locator("article")).to_have_count(2)


def test_a_web_server_that_is_gone_for_a_while_costs_no_word(
    tab: Page, model: ModelServer, question: str, shop: UseChatSite
) -> None:
    gate = threading.Event()
    model.answers(question, ["Before, ", gate, "and after."])
    with held(gate):
        say(tab, question)
        expect(tab.locator("article.assistant")).to_have_text("Before,")
        shop.web.kill()
        expect(tab.locator("[role=alert]")).to_be_visible()
        gate.set()
        shop.restart_web()
        expect(tab.locator("article.assistant")).to_have_text("Before, and after.")
    expect(tab.locator("#status")).to_have_text("ready")
    expect(tab.locator("[role=alert]")).to_have_count(0)


def test_a_killed_worker_takes_back_what_it_had_half_said(
    tab: Page, model: ModelServer, question: str, shop: UseChatSite
) -> None:
    gate = threading.Event()
    model.answers(question, ["Half of ", gate, "it."])
    with held(gate):
        say(tab, question)
        expect(tab.locator("article.assistant")).to_have_text("Half of")
        [run] = [run for run in shop.runs.list() if not run.is_ended]
        model.answers(question, ["All of it."])
        shop.kill_worker_of(run.run_id)
        expect(tab.locator("article.assistant")).to_have_text("All of it.")
    expect(tab.locator("#status")).to_have_text("ready")


def test_calls_are_decided_after_a_reload_too(tab: Page, model: ModelServer, question: str) -> None:
    order = [Call("refund", '{"order": "17"}'), Call("delivery_address")]
    model.answers(question, ["Let me see. ", *order], ["All is done."])
    say(tab, question)
    expect(tab.locator("text=Approve")).to_be_visible()
    tab.reload()
    tab.click("text=Approve")
    tab.fill("#answer", "Tea Lane 4")
    tab.press("#answer", "Enter")

    expect(tab.locator("article.assistant")).to_contain_text("All is done.")
    expect(tab.locator("article.assistant")).to_contain_text("17 is paid back")
    expect(tab.locator("article.assistant")).to_contain_text("The address is Tea Lane 4.")
    expect(tab.locator("#status")).to_have_text("ready")


def test_a_run_is_stopped_by_its_button(tab: Page, model: ModelServer, question: str) -> None:
    gate = threading.Event()
    model.answers(question, ["On and ", gate, "on."], ["Never."])
    with held(gate):
        say(tab, question)
        expect(tab.locator("article.assistant")).to_have_text("On and")
        tab.click("text=Stop")
        expect(tab.locator("#status")).to_have_text("ready")
    expect(tab.locator("article.assistant")).to_have_text("On and")


def articles(page: Page) -> Locator:
    return page.locator("article")


def test_use_chat_answers_while_a_decision_is_awaited(
    tab: Page, model: ModelServer, question: str, shop: UseChatSite
) -> None:
    model.answers(question, ["Let me see. ", Call("refund", '{"order": "17"}')])
    model.answers(question, ["Assam."], told="Which tea?")
    model.answers(question, ["It is done."], told="17 is paid back")
    say(tab, question)
    expect(tab.locator("text=Approve")).to_be_visible()
    say(tab, "Which tea?")
    expect(articles(tab).nth(2)).to_have_text("Which tea?")
    expect(articles(tab).nth(3)).to_have_text("Assam.")
    expect(tab.locator("text=Approve")).to_be_visible()
    tab.reload()
    expect(articles(tab)).to_have_count(4)
    tab.click("text=Approve")
    expect(articles(tab).nth(1)).to_contain_text("17 is paid back")
    expect(articles(tab).nth(1)).to_contain_text("It is done.")
    expect(articles(tab).nth(3)).to_have_text("Assam.")
    expect(articles(tab)).to_have_count(4)
    [run] = shop.runs.list(limit=1)
    assert shop.result(run.run_id).text == "Let me see. \n\nAssam.\n\nIt is done."


def test_a_message_is_answered_during_a_report(
    tab: Page, model: ModelServer, question: str, shop: UseChatSite
) -> None:
    model.answers(question, [Call("harvest_report")], ["I am looking."])
    model.answers(question, ["Assam."], told="Which tea?")
    model.answers(question, ["So many!"], told="1,204 chests")
    say(tab, question)
    expect(articles(tab).nth(1)).to_contain_text("I am looking.")
    say(tab, "Which tea?")
    expect(articles(tab).nth(3)).to_have_text("Assam.")
    expect(articles(tab).nth(3)).to_contain_text("So many!")
    expect(tab.locator("#status")).to_have_text("ready")
    tab.reload()
    expect(articles(tab)).to_have_count(4)
    [run] = shop.runs.list(limit=1)
    assert shop.result(run.run_id).text == "I am looking.\n\nAssam.\n\nSo many!"


def test_a_run_that_speaks_is_steered_and_a_reload_keeps_the_order(
    tab: Page, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["Tea is ", gate, "a plant."])
    model.answers(question, ["Assam."], told="Which tea?")
    with held(gate):
        say(tab, question)
        expect(articles(tab).nth(1)).to_have_text("Tea is")
        say(tab, "Which tea?")
        expect(articles(tab).nth(2)).to_have_text("Which tea?")
        tab.reload()
        expect(articles(tab).nth(1)).to_have_text("Tea is")
        expect(articles(tab).nth(2)).to_have_text("Which tea?")
        gate.set()
        expect(articles(tab).nth(1)).to_have_text("Tea is a plant.")
        expect(articles(tab).nth(3)).to_have_text("Assam.")
    expect(tab.locator("#status")).to_have_text("ready")
    expect(articles(tab)).to_have_count(4)


def test_send_now_cuts_the_run_short(tab: Page, model: ModelServer, question: str) -> None:
    gate = threading.Event()
    model.answers(question, ["Tea is ", gate, "a plant."])
    model.answers(question, ["Assam."], told="Which tea?")
    with held(gate):
        say(tab, question)
        expect(articles(tab).nth(1)).to_have_text("Tea is")
        tab.fill("#message", "Which tea?")
        tab.click("text=Send now")
        expect(articles(tab).nth(3)).to_have_text("Assam.")
        expect(articles(tab).nth(1)).to_have_text("Tea is")
    expect(tab.locator("#status")).to_have_text("ready")


def test_the_page_fits_a_desk_and_a_phone_with_long_words(
    tab: Page, model: ModelServer, question: str, tmp_path: Path
) -> None:
    words = "Darjeeling " * 40 + "w" * 200
    long_order = Call("refund", '{"order": "' + "9" * 120 + '"}')
    model.answers(question, [words, long_order, Call("delivery_address")], ["Done."])
    say(tab, question)
    expect(tab.locator("text=Approve")).to_be_visible()
    for width in (1280, 390):
        tab.set_viewport_size({"width": width, "height": 800})
        tab.screenshot(path=tmp_path / f"{width}.png", full_page=True)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, tmp_path
    tab.click("text=Decline")
    tab.fill("#answer", "w" * 100)
    tab.press("#answer", "Enter")
    expect(tab.locator("article.assistant")).to_contain_text("Done.")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.screenshot(path=tmp_path / "done.png")
