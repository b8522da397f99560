"""The page of the chat example, as people use it: in tabs, over drops, while workers die."""

import re
import threading
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.examples.model_server import Call, ModelServer, held
from tests.web.conftest import SignIn, say


def test_a_call_is_approved_in_one_tab_and_the_other_is_told(
    page: Page, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Let me see. ", Call("refund")], ["It is paid back."])
    second = page.context.new_page()
    second.goto("/")

    say(page, question)
    for tab in (page, second):
        expect(tab.locator("#inbox .ask")).to_contain_text("refund(")
    # The second tab does not look at its inbox meanwhile.
    second.evaluate("inbox = async () => null")
    page.click("#inbox >> text=Approve")
    expect(page.locator(".answer")).to_contain_text("It is paid back.")
    expect(page.locator("#inbox .ask")).to_have_count(0)
    second.click("#inbox >> text=Decline")

    expect(second.locator("#notice")).to_have_text(re.compile("Ann|not suspended|has ended"))


def test_a_call_is_declined(page: Page, model: ModelServer, question: str) -> None:
    model.answers(question, [Call("refund")], ["Then not."])

    say(page, question)
    page.click("#inbox >> text=Decline")

    expect(page.locator(".answer")).to_have_text("Then not.")


def test_a_run_is_stopped(page: Page, model: ModelServer, question: str) -> None:
    gate = threading.Event()
    model.answers(question, ["On and ", gate, "on."])

    with held(gate):
        say(page, question)
        expect(page.locator(".answer")).to_have_text("On and")
        page.click("section >> text=Stop")
        expect(page.locator("section .status")).to_have_text("stopped")


def test_a_report_goes_on_in_the_background(page: Page, model: ModelServer, question: str) -> None:
    model.answers(question, [Call("sales_report")], ["This is what I know."])

    say(page, question)

    # Once with the placeholder, and in a turn of its own once the report is there.
    expect(page.locator(".answer")).to_have_text(re.compile(r"(This is what I know\.\s*){2}"))
    expect(page.locator("section .status")).to_have_text("finished")


def test_conversations_are_listed_and_opened_again(
    page: Page, model: ModelServer, question: str
) -> None:
    model.answers(question, ["First."])
    say(page, question)
    expect(page.locator(".answer")).to_have_text("First.")

    page.click("text=New")
    expect(page.locator("section")).to_have_count(0)
    page.click(f"#threads >> text={question}")

    expect(page.locator(".question")).to_have_text(question)
    expect(page.locator(".answer")).to_have_text("First.")


def test_users_see_nothing_of_each_other(
    page: Page, model: ModelServer, question: str, sign_in: SignIn
) -> None:
    model.answers(question, [Call("refund")], ["Done."])
    say(page, question)
    expect(page.locator("#inbox .ask")).to_have_count(1)

    other = sign_in("bob").new_page()
    other.goto(page.url)
    expect(other.locator("#say")).to_be_visible()
    found = other.evaluate("ask('/runs?limit=200').then((found) => found.runs.length)")

    assert found == 0
    expect(other.locator("section")).to_have_count(0)
    expect(other.locator("#inbox .ask")).to_have_count(0)
    page.click("#inbox >> text=Approve")
    expect(page.locator("section .status")).to_have_text("finished")


def test_the_page_fits_a_desk_and_a_phone(
    page: Page, model: ModelServer, question: str, tmp_path: Path
) -> None:
    words = "Darjeeling " * 40 + "w" * 200
    model.answers(question, [words, Call("refund")], ["Done."])
    say(page, question)
    expect(page.locator("#inbox .ask")).to_have_count(1)

    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.screenshot(path=tmp_path / f"{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tmp_path

    page.click("#inbox >> text=Approve")
    expect(page.locator("section .status")).to_have_text("finished")
