"""What people do in the console: approve, decline, abort, retry, delete, play."""

import threading

import httpx
from playwright.sync_api import Route, expect

from tests.http.agents import GATES
from tests.http.requests import call, start, until
from tests.web.console.conftest import Open


def suspended(client: httpx.Client, name: str) -> str:
    run_id = start(client, call("erase", name=name), thread_id=name)
    until(client, run_id, "suspended")
    return run_id


def test_a_call_is_approved_from_the_inbox(open_page: Open, ann: httpx.Client) -> None:
    run_id = suspended(ann, "approved-one")
    page = open_page("/console/inbox")
    asked = page.locator(".ask", has_text="approved-one")
    expect(page.locator("#waiting")).to_contain_text("waiting")

    asked.get_by_role("button", name="Approve").click()
    expect(page.locator("#toast")).to_contain_text("Approved")
    expect(asked).to_have_count(0)

    found = until(ann, run_id, "finished")
    assert [each["by"] for each in found["decisions"]] == ["Ann"]
    assert ann.get(f"/runs/{run_id}/result").json()["text"] == "erased approved-one"


def test_arguments_are_edited_and_nothing_is_replaced_meanwhile(
    open_page: Open, ann: httpx.Client
) -> None:
    run_id = suspended(ann, "edited-one")
    page = open_page("/console/inbox")
    asked = page.locator(".ask", has_text="edited-one")

    asked.locator("text=Edit arguments").click()
    asked.locator("textarea").fill('{"name": "something else"}')
    with page.expect_response("**/console/inbox/count"):
        # Others come meanwhile: the page asks, and leaves what somebody types alone.
        other = suspended(ann, "other-one")
    expect(asked.locator("textarea")).to_have_value('{"name": "something else"}')
    asked.get_by_role("button", name="Approve").click()

    until(ann, run_id, "finished")
    assert ann.get(f"/runs/{run_id}/result").json()["text"] == "erased something else"
    expect(page.locator(".ask", has_text="other-one")).to_have_count(1)
    ann.post(f"/runs/{other}/abort")


def test_enter_in_the_reason_declines(open_page: Open, ann: httpx.Client) -> None:
    run_id = suspended(ann, "declined-one")
    page = open_page(f"/console/runs/{run_id}")

    page.fill("input[name=reason]", "Not this one.")
    page.keyboard.press("Enter")
    expect(page.locator("#talk")).to_contain_text("declined")

    found = until(ann, run_id, "finished")
    [decision] = found["decisions"]
    assert (decision["decision"], decision["reason"]) == ("declined", "Not this one.")


def test_what_others_have_decided_is_told(
    open_page: Open, ann: httpx.Client, problems: list[str]
) -> None:
    run_id = suspended(ann, "late-one")
    page = open_page("/console/inbox")
    asked = page.locator(".ask", has_text="late-one")
    expect(asked).to_have_count(1)
    page.route("**/console/inbox", lambda route: route.abort())
    ann.post(f"/runs/{run_id}/decline")
    until(ann, run_id, "finished")

    asked.get_by_role("button", name="Approve").click()

    expect(page.locator("#toast.bad")).to_be_visible()
    # The refusal, and the page that was kept from asking.
    problems.clear()


def test_deleting_and_bulk_ask_once_before(open_page: Open, ann: httpx.Client) -> None:
    run_ids = []
    for _ in range(3):
        run_ids.append(start(ann, "say Bye.", thread_id="bulk"))
        until(ann, run_ids[-1], "finished")
    page = open_page("/console/runs?thread_id=bulk")
    expect(page.locator("[data-row]")).to_have_count(3)
    sent: list[str] = []
    page.on("request", lambda asked: sent.append(asked.url) if asked.method == "POST" else None)

    page.locator("[data-row] input[type=checkbox]").nth(0).check()
    page.locator("[data-row] input[type=checkbox]").nth(1).check()
    page.locator("#bulk >> text=Delete").click()
    expect(page.locator("#confirm")).to_contain_text("Delete these 2 runs?")
    page.locator("#confirm >> text=Cancel").click()
    assert sent == []
    page.locator("#bulk >> text=Delete").click()
    page.locator("#confirm >> text=Go on").click()
    expect(page.locator("#toast")).to_have_text("2 are deleted.")
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page.locator("#bulk")).to_be_hidden()

    page.locator("a.row").click()
    page.locator(".actions >> text=Delete").click()
    page.locator("#confirm >> text=Go on").click()
    expect(page.locator("h1")).to_have_text("Runs")
    assert len(sent) == 2


def test_a_page_of_a_run_that_others_delete_says_so_and_asks_no_more(
    open_page: Open, ann: httpx.Client
) -> None:
    ended = start(ann, "say Bye.")
    until(ann, ended, "finished")
    page = open_page(f"/console/runs/{ended}")
    expect(page.locator("#talk .notice.end")).to_be_visible()
    live = start(ann, call("hold", name="deleted"))
    until(ann, live, "running")
    other = open_page(f"/console/runs/{live}")
    expect(other.locator("#talk .call")).to_contain_text("hold")

    assert ann.delete(f"/runs/{ended}").status_code < 300
    page.evaluate("document.dispatchEvent(new Event('run:changed'))")
    expect(page.locator(".banner")).to_contain_text("It is gone.")
    expect(page.locator(".actions >> text=Delete")).to_be_hidden()
    assert ann.delete(f"/runs/{live}").status_code < 300
    expect(other.locator(".banner")).to_contain_text("It is gone.")

    asked: list[str] = []
    other.on("request", lambda request: asked.append(request.url))
    # Both would ask now.
    for each in (page, other):
        each.evaluate("document.dispatchEvent(new Event('run:changed'))")
        each.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    with other.expect_request("**/inbox/count"):
        other.evaluate("document.body.dispatchEvent(new Event('slow'))")
    assert [each for each in asked if live in each] == []


def test_a_run_is_watched_aborted_and_a_failed_one_retried(
    open_page: Open, ann: httpx.Client
) -> None:
    run_id = start(ann, call("hold", name="watched"))
    until(ann, run_id, "running")
    page = open_page(f"/console/runs/{run_id}")
    expect(page.locator("#talk .call")).to_contain_text("hold")
    expect(page.locator(".timeline rect.live")).to_have_count(1)

    page.locator(".actions >> text=Abort").click()
    page.locator("#confirm >> text=Go on").click()
    expect(page.locator("#talk .notice.end")).to_have_text("Aborted")
    expect(page.locator(".facts .status")).to_have_text("aborted")
    expect(page.locator(".actions >> text=Abort")).to_be_hidden()

    failed = start(ann, "fail")
    until(ann, failed, "failed")
    page.goto(f"/console/runs/{failed}")
    expect(page.locator("#talk .notice.end")).to_contain_text("no such luck")
    page.locator(".actions >> text=Retry").click()
    expect(page.locator("#talk .notice.reset")).to_contain_text("withdrawn")
    expect(page.locator("#talk .notice.end")).to_contain_text("no such luck")


def test_the_conversation_goes_on_after_a_drop(open_page: Open, ann: httpx.Client) -> None:
    run_id = start(ann, call("hold", name="dropped"))
    until(ann, run_id, "running")
    page = open_page("/console/runs")
    first = threading.Event()

    def drop(route: Route) -> None:
        if route.request.method == "GET" and not first.is_set():
            first.set()
            route.fulfill(status=200, content_type="text/event-stream", body=": hb\nretry: 50\n\n")
        else:
            route.continue_()

    page.route("**/stream*", drop)
    page.goto(f"/console/runs/{run_id}")
    expect(page.locator("#talk .call")).to_contain_text("hold")
    GATES["dropped"].set()

    expect(page.locator("#talk .text")).to_have_text("dropped is open")
    assert first.is_set()


def test_a_run_is_steered_from_its_page(open_page: Open, ann: httpx.Client) -> None:
    run_id = start(ann, call("hold", name="steered"))
    until(ann, run_id, "running")
    page = open_page(f"/console/runs/{run_id}")
    expect(page.locator("#talk .call")).to_contain_text("hold")

    page.fill("#say", "say <b>Both</b>.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#toast")).to_contain_text("It is sent.")
    expect(page.locator("#say")).to_have_value("")
    message = page.locator("#talk .turn.user")
    expect(message).to_contain_text("Ann, waits for the next model call")
    expect(message.locator(".text")).to_have_text("say <b>Both</b>.")
    GATES["steered"].set()

    expect(message).to_contain_text("Ann, read in step 2")
    expect(page.locator("#talk .turn.assistant .text")).to_have_text("<b>Both</b>.")
    expect(page.locator("#say")).to_be_hidden()


def test_a_message_that_is_refused_stays_in_its_form(
    open_page: Open, ann: httpx.Client, problems: list[str]
) -> None:
    run_id = start(ann, call("hold", name="refused"))
    until(ann, run_id, "running")
    page = open_page(f"/console/runs/{run_id}")
    page.fill("#say", "say More.")
    page.route("**/messages", lambda route: route.fulfill(status=500, body="no"))

    page.locator(".say >> text=Send").click()

    expect(page.locator("#toast.bad")).to_be_visible()
    expect(page.locator("#say")).to_have_value("say More.")
    # The browser says that it was refused.
    problems.clear()
    ann.post(f"/runs/{run_id}/abort")


def test_a_thread_at_rest_goes_on_from_its_page(open_page: Open, ann: httpx.Client) -> None:
    until(ann, start(ann, "say One.", thread_id="resting"), "finished")
    page = open_page("/console/threads/resting")

    page.fill("#say", call("hold", name="resting"))
    page.locator(".say >> text=Send").click()

    expect(page.locator("#talk .call")).to_contain_text("hold")
    page.fill("#say", "say Two.")
    page.locator(".say >> text=Send").click()
    expect(page.locator("#talk .turn.user")).to_contain_text("say Two.")
    GATES["resting"].set()
    expect(page.locator(".turn.assistant", has_text="Two.").first).to_be_visible()


def test_an_agent_is_tried_in_the_playground(open_page: Open) -> None:
    page = open_page("/console/playground?agent=talker")

    page.select_option("select[name=agent]", "talker")
    page.fill("textarea[name=input]", "say Good day, playground.")
    page.keyboard.press("Control+Enter")

    expect(page.locator("#talk .text")).to_have_text("Good day, playground.")
    expect(page.locator(".playline .status")).to_have_text("finished")
    page.click(".playline a")
    expect(page.locator(".facts")).to_contain_text("talker")


def test_a_thread_is_called_something(open_page: Open, ann: httpx.Client) -> None:
    until(ann, start(ann, "say One.", thread_id="titled"), "finished")
    page = open_page("/console/threads/titled")

    page.fill("input[name=title]", "About one")
    page.click("text=Save")
    expect(page.locator("#toast")).to_contain_text("kept")
    page.goto("/console/threads")
    expect(page.locator("a.row", has_text="About one")).to_have_count(1)
