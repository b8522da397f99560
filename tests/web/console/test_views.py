"""Each view on a desk and on a phone, light and dark: no errors, nothing cut off, accessible."""

import json
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.http.agents import GATES
from tests.http.conftest import Served
from tests.http.requests import call, start, until
from tests.web.console.conftest import Open
from tests.web.console.pages import Scheme, is_fit

LONG = "The parcel was handed to the carrier, and https://tracking.example/7 says where it is. "


@pytest.fixture(scope="module")
def views(console: Served) -> dict[str, str]:
    """Runs of all kinds, and the path of each view."""
    ann = console.as_("ann")
    done = start(ann, f"say {LONG * 4}", thread_id="order-7", metadata={"channel": "mail"})
    until(ann, done, "finished")
    failed = start(ann, "fail")
    until(ann, failed, "failed")
    asked = "\n".join([call("erase", name="w" * 300), call("ask", question="Which colour?")])
    waiting = start(ann, asked, thread_id="order-8")
    until(ann, waiting, "suspended")
    background = start(ann, call("report", name="views"), until_idle=60)
    until(ann, background, "running")
    live = start(ann, call("hold", name="views"))
    until(ann, live, "running")
    return {
        "overview": "/console",
        "runs": "/console/runs",
        "none": "/console/runs?q=nothing-like-it",
        "run": f"/console/runs/{done}",
        "steps": f"/console/runs/{waiting}/steps",
        "chunks": f"/console/runs/{done}/chunks",
        "failed": f"/console/runs/{failed}",
        "waiting": f"/console/runs/{waiting}",
        "live": f"/console/runs/{live}",
        "background": f"/console/runs/{background}/background",
        "inbox": "/console/inbox",
        "threads": "/console/threads",
        "thread": "/console/threads/order-7",
        "fleet": "/console/fleet",
        "playground": f"/console/playground?run={done}",
    }


NAMES = (
    *("overview", "runs", "none", "run", "steps", "chunks", "failed", "waiting", "live"),
    *("background", "inbox", "threads", "thread", "fleet", "playground"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_each_view_fits_and_can_be_used_by_all(
    open_page: Open,
    views: dict[str, str],
    pictures: Path,
    problems: list[str],
    width: int,
    scheme: Scheme,
) -> None:
    size = {"width": width, "height": 800}
    page = open_page(views["overview"], viewport=size, color_scheme=scheme)
    for name in NAMES:
        page.goto(views[name])
        is_fit(page, pictures / f"console-{name}-{width}-{scheme}.png", width, problems)


def test_runs_come_and_change_while_one_looks(open_page: Open, ann: httpx.Client) -> None:
    page = open_page("/console/runs?thread_id=come-and-go")
    expect(page.locator(".empty")).to_contain_text("No runs match")

    run_id = start(ann, call("hold", name="come"), thread_id="come-and-go")
    row = page.locator(f"tr:has(a[href$='{run_id}'])")
    expect(row.locator(".status")).to_have_text("running")
    GATES["come"].set()
    expect(row.locator(".status")).to_have_text("finished")


def test_filters_are_in_the_address(open_page: Open, ann: httpx.Client) -> None:
    run_id = start(ann, "say Hello.", thread_id="filtered")
    until(ann, run_id, "finished")
    page = open_page("/console/runs")

    page.fill("#q", "filtered")
    expect(page.locator("[data-row]")).to_have_count(1)
    page.locator(".tabs label", has_text="failed").click()
    expect(page.locator(".empty")).to_be_visible()
    assert page.url.endswith("/console/runs?status=failed&q=filtered")
    page.go_back()
    expect(page.locator("[data-row]")).to_have_count(1)


def test_the_console_needs_no_mouse(open_page: Open, ann: httpx.Client) -> None:
    for _ in range(2):
        until(ann, start(ann, "say Hello.", thread_id="keys"), "finished")
    page = open_page("/console/runs?thread_id=keys")
    expect(page.locator("[data-row]")).to_have_count(2)

    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("a.row").last).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator("#bulk")).to_contain_text("1 chosen")
    page.locator("a.row").last.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".facts")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(page.locator("h1")).to_have_text("Inbox")
    # Its keys are there once its scripts are.
    page.wait_for_load_state()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()


def test_what_is_copied_is_what_is_shown(open_page: Open, ann: httpx.Client) -> None:
    run_id = start(ann, "say Hello.")
    until(ann, run_id, "finished")
    page = open_page(
        f"/console/runs/{run_id}/chunks", permissions=["clipboard-read", "clipboard-write"]
    )

    page.click("text=Copy as JSON")
    expect(page.locator("#toast")).to_contain_text("copied")
    lines = str(page.evaluate("navigator.clipboard.readText()")).splitlines()

    assert json.loads(lines[0])["type"] == "start"
    assert json.loads(lines[-1])["type"] == "finish"


def test_the_cost_of_a_thread_is_asked_for_once_where_its_row_is_seen(
    open_page: Open, ann: httpx.Client
) -> None:
    until(ann, start(ann, "say Hello.", thread_id="costly"), "finished")
    page = open_page("/console")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/console/threads?q=costly")

    # Nobody knows the price of a model of the tests.
    cell = page.locator("tr:has(a.row[href*='costly?']) td.cost")
    expect(cell).to_have_text("unknown")
    until(ann, start(ann, "say Hello.", thread_id="costly-2"), "finished")
    expect(page.locator("tr:has(a.row[href*='costly-2?']) td.cost")).to_have_text("unknown")
    expect(cell).to_have_text("unknown")
    assert len([each for each in asked if "/threads/costly/cost" in each]) == 1
