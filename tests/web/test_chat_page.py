"""What the page of the examples does, on FastAPI's: decisions, conversations, limits, its looks."""

import json
import re
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, Response, Route, expect

from evented_agent.web import Limits
from tests.examples.model_server import Call, ModelServer, held
from tests.examples.sites import Site, stream_of
from tests.support.workers import wait_until
from tests.web.conftest import SignIn, fill_in, say
from tests.web.wire import Wire

Scheme = Literal["light", "dark"]

# The first test starts the example.
pytestmark = pytest.mark.timeout(300)


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
    model.answers(question, [Call("sales_report")], ["I am looking."])
    # A turn of its own, unless the report was there before the model was asked again.
    model.answers(question, ["So many!"], told="1,204 teapots")

    say(page, question)

    expect(page.locator(".answer")).to_have_text(re.compile(r"^(I am looking\.\s+)?So many!$"))
    expect(page.locator("section .status")).to_have_text("finished")


def test_the_page_answers_while_a_decision_is_awaited(
    page: Page, model: ModelServer, question: str
) -> None:
    model.answers(question, ["Let me see. ", Call("refund", '{"order": "17"}')])
    model.answers(question, ["Assam."], told="Which tea?")
    model.answers(question, ["It is done."], told="17 is paid back")
    say(page, question)
    expect(page.locator("#inbox .ask")).to_have_count(1)
    say(page, "Which tea?")
    expect(page.locator(".question").last).to_have_text("Which tea?")
    expect(page.locator(".answer").last).to_have_text("Assam.")
    page.reload()
    expect(page.locator(".answer").last).to_have_text("Assam.")
    page.click("#inbox >> text=Approve")
    expect(page.locator(".answer").last).to_have_text(re.compile(r"^Assam\.\s+It is done\.$"))
    expect(page.locator("section .status")).to_have_text("finished")
    page.reload()
    expect(page.locator(".answer")).to_have_text(
        ["Let me see.", re.compile(r"^Assam\.\s+It is done\.$")]
    )
    expect(page.locator(".question")).to_have_text([question, "Which tea?"])


def test_a_run_that_speaks_is_steered_and_cut_short(
    page: Page, model: ModelServer, question: str
) -> None:
    gates = [threading.Event() for _ in range(2)]
    model.answers(question, ["Tea is ", gates[0], "a plant."])
    model.answers(question, ["Assam is ", gates[1], "strong."], told="Which tea?")
    model.answers(question, ["As you like."], told="Something else, please.")
    with held(*gates):
        say(page, question)
        expect(page.locator(".answer")).to_have_text("Tea is")
        say(page, "Which tea?")
        expect(page.locator(".question.waits")).to_have_text("Which tea?")
        page.reload()
        expect(page.locator(".question.waits")).to_have_text("Which tea?")
        gates[0].set()
        expect(page.locator(".answer").last).to_have_text("Assam is")
        expect(page.locator(".waits")).to_have_count(0)
        page.fill("#message", "Something else, please.")
        page.click("text=Send now")
        expect(page.locator("section .status")).to_have_text("finished")
    answers = ["Tea is a plant.", "Assam is", "As you like."]
    expect(page.locator(".answer")).to_have_text(answers)
    page.reload()
    expect(page.locator(".answer")).to_have_text(answers)
    expect(page.locator(".question")).to_have_count(3)


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


def test_runs_of_a_conversation_are_followed_in_turn(
    page: Page, model: ModelServer, question: str
) -> None:
    """A browser has six connections a host: a page with many runs must not use them up."""
    gate = threading.Event()
    model.answers(f"{question} a", ["First, ", gate, "at last."])
    # Its conversation has the first question as well.
    model.answers(f"{question} a", ["Second."], told=f"{question} b")
    streams: list[str] = []
    page.on("request", lambda asked: streams.extend(_stream(asked)))

    with held(gate):
        start = "(input) => ask('/runs', { agent: 'assistant', input, thread_id: thread })"
        for letter in "ab":
            page.evaluate(start, f"{question} {letter}")
        page.evaluate("open(thread)")
        expect(page.locator(".answer").first).to_have_text("First,")
        expect(page.locator(".question")).to_have_count(2)
        expect(page.locator("section .status").last).to_have_text("waiting …")
        assert len(streams) == 1
        gate.set()
        expect(page.locator(".answer").last).to_have_text("Second.")

    expect(page.locator(".answer").first).to_have_text("First, at last.")
    assert len(set(streams)) == 2


def test_a_run_that_waits_for_one_of_another_tab_says_so(
    page: Page, model: ModelServer, question: str
) -> None:
    gate = threading.Event()
    model.answers(question, ["One."])
    say(page, question)
    expect(page.locator("section .status")).to_have_text("finished")
    second = page.context.new_page()
    second.goto(page.url)
    expect(second.locator(".answer")).to_have_text("One.")
    model.answers(question, ["Two, ", gate, "at last."], told="go on")
    model.answers(question, ["Three."], told="and then?")

    with held(gate):
        say(page, "go on")
        expect(page.locator(".answer").last).to_have_text("Two,")
        say(second, "and then?")
        expect(second.locator("section .status").last).to_have_text("waits for its turn")
        gate.set()
        expect(second.locator(".answer").last).to_have_text("Three.")


def test_a_page_that_finds_all_places_taken_waits_for_one(
    page: Page, model: ModelServer, question: str, site: Site
) -> None:
    """An EventSource that met the 429 would be dead for good."""
    gate = threading.Event()
    model.answers(question, ["One, ", gate, "two."])
    statuses: list[int] = []
    page.on("response", lambda reply: statuses.extend(_stream_status(reply)))

    with held(gate), ExitStack() as others:
        say(page, question)
        expect(page.locator(".answer")).to_have_text("One,")
        address = page.url
        page.goto("about:blank")
        take_all_places(site, others)
        page.goto(address)
        expect(page.locator("section .status")).to_have_text("reconnecting …")
        others.close()
        expect(page.locator(".answer")).to_have_text("One,")
        gate.set()
        expect(page.locator(".answer")).to_have_text("One, two.")

    assert set(statuses) == {200}


def take_all_places(site: Site, others: ExitStack) -> None:
    """Read Ann's newest run as often as she may."""
    [newest, *_] = site.client.get("/agents/runs").json()["runs"]
    opened: list[httpx.Response] = []

    def are_all_taken() -> bool:
        reply = others.enter_context(site.client.stream("GET", stream_of(newest["run_id"])))
        opened.extend([reply] * (reply.status_code == 200))
        return len(opened) == Limits().streams

    wait_until(are_all_taken, "all places are taken")


def test_a_question_whose_answer_is_lost_is_asked_once(
    page: Page, model: ModelServer, question: str, site: Site
) -> None:
    model.answers(question, ["Once."])
    before = len(site.client.get("/agents/runs?limit=200").json()["runs"])

    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/agents/runs", lose_the_answer, times=1)
    say(page, question)

    expect(page.locator(".answer")).to_have_text("Once.")
    assert len(site.client.get("/agents/runs?limit=200").json()["runs"]) == before + 1


def test_what_is_said_is_text_and_never_markup(
    page: Page, model: ModelServer, question: str
) -> None:
    markup = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    model.answers(question, [markup, Call("refund", json.dumps({"order": markup}))], [markup])

    say(page, f"{question} {markup}")
    expect(page.locator("#inbox .ask")).to_contain_text("<img")
    page.click("#inbox >> text=Approve")
    expect(page.locator("section .status")).to_have_text("finished")
    expect(page.locator(".answer")).to_contain_text(markup)
    expect(page.locator("img")).to_have_count(0)
    page.reload()

    expect(page.locator(".question")).to_have_text(f"{question} {markup}")
    expect(page.locator(".answer")).to_contain_text(markup)
    expect(page.locator("#threads")).to_contain_text(markup)
    expect(page.locator("img")).to_have_count(0)


def test_a_keyboard_is_enough(page: Page, model: ModelServer, question: str) -> None:
    model.answers(question, [Call("refund")], ["Done."])

    expect(page.locator("#message")).to_be_focused()
    page.keyboard.insert_text(question)
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Enter")
    expect(page.locator(".question")).to_have_text(question)
    expect(page.locator("#inbox .ask")).to_have_count(1)
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#inbox >> text=Decline")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")

    expect(page.locator(".answer")).to_have_text("Done.")


def test_a_wrong_password_is_told(browser: Browser, wire: Wire) -> None:
    stranger = browser.new_page(base_url=wire.url)
    stranger.goto("/")
    fill_in(stranger, "ann", "coffee")

    expect(stranger.locator("#refused")).to_be_visible()
    expect(stranger.locator("#app")).to_be_hidden()
    stranger.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_a_desk_and_a_phone(
    page: Page, model: ModelServer, question: str, pictures: Path, width: int, scheme: Scheme
) -> None:
    def fits(name: str) -> None:
        page.screenshot(path=pictures / f"{name}-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, pictures

    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    fits("empty")
    model.answers(question, ["Darjeeling " * 40 + "w" * 200, Call("refund")], ["Done."])
    say(page, f"Please pay back my last order; I never got it. {question}")
    expect(page.locator("#inbox .ask")).to_have_count(1)
    expect(page.locator("section .status")).to_have_text("waits for a decision")
    fits("decision")
    if width == 390:
        page.click("#menu")
        fits("menu")
        page.click("#menu")
    page.click("#inbox >> text=Approve")
    expect(page.locator("section .status")).to_have_text("finished")
    page.context.clear_cookies()
    page.goto("/")
    expect(page.locator("#login")).to_be_visible()
    fits("sign-in")


def _stream(asked: Request) -> list[str]:
    return [asked.url] if asked.resource_type == "eventsource" else []


def _stream_status(reply: Response) -> list[int]:
    return [reply.status] if reply.request.resource_type == "eventsource" else []
