"""Models, tools and people write whatever they like: none of it runs, none of it is hidden."""

import httpx
from playwright.sync_api import Page, expect

from tests.http.requests import call, start, until
from tests.web.console.conftest import Open

MARKUP = (
    '<img src=x onerror="window.ran=1"><script>window.ran=2</script>'
    '<div hx-get="/console/runs" hx-trigger="load" hx-on:click="window.ran=3">x</div>'
    '<a href="javascript:window.ran=4">click</a><style>body{display:none}</style>'
    "<iframe srcdoc='<script>top.ran=5</script>'></iframe>"
)
LINKS = "javascript:window.ran=6 data:text/html,x https://ok.example/a?b=1&c=2 vbscript:x"
TURNED = "invoice\u202egnp.exe\u202c \u2066x\u2069 zero\u200bwidth \u001b[31m"
SEEN = "invoice\\u202egnp.exe\\u202c \\u2066x\\u2069 zero\\u200bwidth \\x1b[31m"


def views_of(page: Page, run_id: str) -> None:
    """Look at all views that show the text of a run."""
    for path in ("", "/steps", "/chunks?deltas=1", "/background"):
        page.goto(f"/console/runs/{run_id}{path}")
        expect(page.locator(".facts")).to_be_visible()
        is_harmless(page)


def is_harmless(page: Page) -> None:
    assert page.evaluate("window.ran") is None
    assert (
        page.locator("main :is(img, iframe, script, style, [onerror], [hx-on\\:click])").count()
        == 0
    )
    links = page.eval_on_selector_all("main a", "all => all.map(each => each.protocol)")
    assert set(links) <= {"http:", "https:"}
    outward = page.locator("main a[target=_blank]")
    for at in range(outward.count()):
        assert "noopener" in str(outward.nth(at).get_attribute("rel"))


def test_what_a_model_says_is_text(open_page: Open, ann: httpx.Client) -> None:
    said = f"{MARKUP}\n{LINKS}\n{TURNED}"
    run_id = start(ann, f"say {said}", thread_id="hostile", metadata={"x": said})
    until(ann, run_id, "finished")
    page = open_page(f"/console/runs/{run_id}")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    answer = page.locator("#talk .text")
    expect(answer).to_contain_text(MARKUP)
    expect(answer).to_contain_text(SEEN)
    expect(answer.locator("a")).to_have_attribute("href", "https://ok.example/a?b=1&c=2")
    views_of(page, run_id)
    page.goto("/console/threads/hostile")
    expect(page.locator(".turn.assistant .text")).to_contain_text(SEEN)
    is_harmless(page)
    ann.patch("/threads/hostile", json={"title": f"{MARKUP[:150]}{TURNED[:30]}"})
    for path in ("/console/threads", "/console/threads/hostile", "/console/runs", "/console"):
        page.goto(path)
        is_harmless(page)
    base = page.url.partition("/console")[0]
    assert [each for each in asked if not each.startswith(base)] == []


def test_what_a_tool_is_called_with_and_returns_is_text(open_page: Open, ann: httpx.Client) -> None:
    said = f"{MARKUP} {TURNED}"
    run_id = start(ann, call("erase", name=said))
    until(ann, run_id, "suspended")
    page = open_page("/console/inbox")

    asked = page.locator(".ask", has_text="img src=x")
    expect(asked.locator("pre").first).to_contain_text("\\u202egnp.exe")
    is_harmless(page)
    asked.get_by_role("button", name="Approve").click()
    until(ann, run_id, "finished")
    assert ann.get(f"/runs/{run_id}/result").json()["text"] == f"erased {said}"
    views_of(page, run_id)
    page.goto(f"/console/runs/{run_id}")
    expect(page.locator("#talk .result")).to_contain_text(SEEN)


def test_an_error_is_text(open_page: Open, ann: httpx.Client) -> None:
    run_id = start(ann, f"odd{TURNED}{MARKUP}")
    until(ann, run_id, "failed")
    page = open_page(f"/console/runs/{run_id}")

    expect(page.locator("#talk .notice.end")).to_contain_text("Failed")
    is_harmless(page)
    views_of(page, run_id)
