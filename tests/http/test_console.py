"""The console over HTTP: who may see and do what, what its pages allow, and what they hold."""

import html
import json
import re
import shlex
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from evented_agent import ConfigurationError, InProcessAgent, Runs, Settings
from evented_agent.cli import main
from evented_agent.web import create_app
from tests.http.agents import GATES
from tests.http.conftest import Served, serving
from tests.http.requests import call, start, until
from tests.support.command_line import cli_runner
from tests.support.operators import known_operator
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

#: What is about a run: the method, the path behind it, a form that fits, and what its owner gets.
RUN_ROUTES: list[tuple[str, str, dict[str, Any] | None, int]] = [
    ("GET", "", None, 200),
    ("GET", "/steps", None, 200),
    ("GET", "/chunks", None, 200),
    ("GET", "/background", None, 200),
    ("POST", "/decide", {"verdict": "approve"}, 303),
    ("POST", "/decide", {"verdict": "decline", "reason": "No."}, 303),
    ("POST", "/messages", {"message": "say More."}, 303),
    ("POST", "/retry", {}, 409),
    ("POST", "/background/none/cancel", {}, 303),
    ("POST", "/abort", {}, 303),
    ("POST", "/delete", {}, 303),
]
OTHER_ROUTES: list[tuple[str, str, dict[str, Any] | None, int]] = [
    ("GET", "", None, 200),
    ("GET", "/runs", None, 200),
    ("GET", "/inbox", None, 200),
    ("GET", "/inbox/count", None, 200),
    ("GET", "/threads", None, 200),
    ("GET", "/threads/none", None, 404),
    ("GET", "/threads/none/cost", None, 200),
    ("GET", "/fleet", None, 200),
    ("GET", "/playground", None, 200),
    ("POST", "/playground", {"agent": "talker", "input": "say Hi."}, 303),
    ("POST", "/bulk", {"verb": "abort", "run_id": "none"}, 303),
    ("POST", "/threads/none/messages", {"message": "say More."}, 404),
    ("POST", "/threads/none/title", {"title": "T"}, 404),
    ("POST", "/threads/none/forget", {}, 303),
]
FOREIGN = {"origin": "https://evil.example"}
HOSTILE = (
    '<img src=x onerror="alert(1)"><script>alert(2)</script><b hx-get=/x hx-trigger=load>'
    "javascript:alert(3) \u202egnp.exe\u202c \u200bzero"
)


@pytest.fixture(scope="module")
def console(durable: InProcessAgent) -> Iterator[Served]:
    app = create_app(durable.client, authorize=known_operator, flower_url="https://flower.example/")
    with serving(app) as served:
        yield served


@pytest.fixture
def ann(console: Served) -> httpx.Client:
    return console.as_("ann")


def suspended(client: httpx.Client, name: str = "it") -> str:
    run_id = start(client, call("erase", name=name))
    until(client, run_id, "suspended")
    return run_id


def number_of(client: httpx.Client, run_id: str) -> int:
    return int(client.get(f"/runs/{run_id}").json()["pending"][0]["number"])


def ids(routes: list[Any]) -> list[str]:
    return [f"{route[0]} {route[1]} {(route[2] or {}).get('verdict', '')}" for route in routes]


@pytest.mark.parametrize(("method", "path", "form", "expected"), RUN_ROUTES, ids=ids(RUN_ROUTES))
def test_a_run_is_shown_to_who_operates_it_alone(
    console: Served, method: str, path: str, form: dict[str, Any] | None, expected: int
) -> None:
    ann = console.as_("ann")
    run_id = suspended(ann)
    form = form and {**form, "number": number_of(ann, run_id)} if path == "/decide" else form
    url, missing = f"/console/runs/{run_id}{path}", f"/console/runs/{'f' * 32}{path}"

    def ask(name: str, url: str = url, **headers: str) -> httpx.Response:
        return console.as_(name).request(method, url, data=form, headers=headers)

    theirs, none = ask("bob"), ask("bob", missing)
    assert (theirs.status_code, theirs.content) == (404, none.content)
    assert ask("").status_code == ask("", missing).status_code == 401
    assert ask("customer").status_code == 403
    if method == "POST":
        assert ask("viewer").status_code == 403
        assert ask("ann", **FOREIGN).status_code == 403
        assert ask("ann", **{"sec-fetch-site": "cross-site"}).status_code == 403
    assert ask("ann").status_code == expected
    ann.post(f"/runs/{run_id}/abort")


@pytest.mark.parametrize(
    ("method", "path", "form", "expected"), OTHER_ROUTES, ids=ids(OTHER_ROUTES)
)
def test_what_is_about_no_run_needs_somebody_who_operates(
    console: Served, method: str, path: str, form: dict[str, Any] | None, expected: int
) -> None:
    def ask(name: str, **headers: str) -> int:
        client = console.as_(name)
        return client.request(method, f"/console{path}", data=form, headers=headers).status_code

    assert ask("") == 401
    assert ask("customer") == 403
    if method == "POST":
        assert ask("viewer") == 403
        assert ask("ann", **FOREIGN) == 403
    assert ask("ann") == expected


def test_pages_list_what_is_ones_own(console: Served) -> None:
    ann, bob, admin = (console.as_(name) for name in ("ann", "bob", "admin"))
    run_id = start(ann, "say Mine.", thread_id="logbook")
    until(ann, run_id, "finished")
    waiting = suspended(ann)

    for path in (
        "/runs",
        f"/runs?q={run_id}",
        "/runs?q=ann",
        "/runs?q=logbook",
        "/runs?resource_id=ann",
    ):
        assert f'/console/runs/{run_id}"' in ann.get(f"/console{path}").text
        assert f'/console/runs/{run_id}"' not in bob.get(f"/console{path}").text
    assert waiting in ann.get("/console/inbox").text
    assert waiting not in bob.get("/console/inbox?resource_id=ann").text
    assert waiting not in bob.get("/console").text
    assert "logbook" not in bob.get("/console/threads?resource_id=ann").text
    assert bob.get("/console/threads/logbook?resource_id=ann").status_code == 404
    assert run_id in admin.get("/console/runs?resource_id=ann").text
    assert run_id in admin.get("/console/threads/logbook?resource_id=ann").text
    ann.post(f"/runs/{waiting}/abort")


def test_a_stream_token_opens_no_page(durable: InProcessAgent) -> None:
    app = create_app(durable.client, authorize=known_operator, token_keys=["k" * 32])
    with serving(app) as served:
        ann = served.as_("ann")
        run_id = suspended(ann)
        token = ann.post(f"/runs/{run_id}/token", json={"may": "act"}).json()["token"]

        reply = served.as_("").get(f"/console/runs/{run_id}", params={"token": token})
        ann.post(f"/runs/{run_id}/abort")

    assert reply.status_code == 401


def test_a_page_lets_nothing_run_but_its_own_files(ann: httpx.Client) -> None:
    page = ann.get("/console/runs")
    policy = dict(
        each.split(" ", 1) for each in page.headers["content-security-policy"].split("; ")
    )
    config = (
        json.loads(html.unescape(found[1]))
        if (found := re.search(r"name=\"htmx-config\" content='([^']*)'", page.text))
        else {}
    )

    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {
        "'self'"
    }
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert (config["allowEval"], config["includeIndicatorStyles"]) == (False, False)
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", page.text)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert [each for each in sources if not each.startswith(("/console", "#main"))] == []


def test_files_of_pages_are_kept_by_browsers_and_need_no_sign_in(console: Served) -> None:
    nobody, page = console.as_(""), console.as_("ann").get("/console").text
    [style] = re.findall(r'rel="stylesheet" href="([^"]*)"', page)
    found = nobody.get(style)
    before = nobody.get(re.sub(r"static/\w+/", "static/0123456789ab/", style))

    assert (found.status_code, found.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in found.headers["cache-control"]
    # A page of the version before, while they change.
    assert (before.content, before.headers["cache-control"]) == (found.content, "no-cache")
    for odd in ("package.json", "LICENSE", "..%2fview.py", "%2e%2e", "none.css"):
        assert nobody.get(f"/console/static/x/{odd}").status_code == 404


def test_what_models_and_people_say_is_text(console: Served, ann: httpx.Client) -> None:
    run_id = start(ann, f"say {HOSTILE}", thread_id=f"t {HOSTILE[:60]}", metadata={"m": HOSTILE})
    until(ann, run_id, "finished")
    waiting = start(ann, call("erase", name=HOSTILE))
    until(ann, waiting, "suspended")
    thread = quote(f"t {HOSTILE[:60]}", safe="")
    ann.post(f"/console/threads/{thread}/title", data={"title": HOSTILE[:190]})

    pages = [
        ann.get(f"/console{path}").text
        for path in (
            *("", "/runs", "/inbox", "/threads", f"/threads/{thread}", f"/runs?q={quote(HOSTILE)}"),
            *(f"/runs/{run_id}{tab}" for tab in ("", "/steps", "/chunks", "/background")),
            *(f"/runs/{waiting}{tab}" for tab in ("", "/steps", "/chunks?deltas=1")),
        )
    ]
    for page in pages:
        assert "<img" not in page
        assert "hx-trigger=load" not in page.replace("hx-trigger=load&gt;", "")
        assert "<script>" not in page
        assert 'href="javascript' not in page
        # They turn the direction of text, or are not seen at all.
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", page)
    assert "\\u202egnp.exe\\u202c" in html.unescape(pages[2])
    assert "\\u200bzero" in pages[4]
    ann.post(f"/runs/{waiting}/abort")


def test_links_in_text_lead_to_web_pages_only(ann: httpx.Client) -> None:
    said = 'See https://a.example/x?y=1&z="2 or javascript:alert(1) or data:text/html,x.'
    run_id = start(ann, f"say {said}")
    until(ann, run_id, "finished")

    page = ann.get(f"/console/runs/{run_id}/steps").text

    links = re.findall(r'<a href="(https?:[^"]*)" rel="([^"]*)"', page)
    assert ("https://a.example/x?y=1&amp;z=", "noopener noreferrer nofollow") in links
    assert "alert(1)" in page


def test_an_approval_uses_the_arguments_that_were_edited(ann: httpx.Client) -> None:
    run_id = suspended(ann, "it")
    number = number_of(ann, run_id)
    form = {"verdict": "approve", "number": number, "arguments": '{"name": "that"}'}

    reply = ann.post(f"/console/runs/{run_id}/decide", data=form)

    assert reply.headers["location"] == f"/console/runs/{run_id}"
    result = until(ann, run_id, "finished")
    assert [(each["decision"], each["by"]) for each in result["decisions"]] == [("approved", "Ann")]
    assert ann.get(f"/runs/{run_id}/result").json()["text"] == "erased that"


def test_an_approval_as_the_page_has_it_changes_no_arguments(ann: httpx.Client) -> None:
    odd = 'quotes " and \u202e and \\u0041 and\r\nlines'
    run_id = suspended(ann, odd)
    [shown] = re.findall(
        r'<textarea name="arguments"[^>]*>(.*?)</textarea>',
        ann.get(f"/console/runs/{run_id}").text,
        re.DOTALL,
    )
    form = {
        "verdict": "approve",
        "number": number_of(ann, run_id),
        # As a browser sends lines.
        "arguments": html.unescape(shown).replace("\n", "\r\n"),
    }

    assert ann.post(f"/console/runs/{run_id}/decide", data=form).status_code == 303
    until(ann, run_id, "finished")
    assert ann.get(f"/runs/{run_id}/result").json()["text"] == f"erased {odd}"


def test_what_does_not_fit_is_told_on_a_page(ann: httpx.Client) -> None:
    run_id = suspended(ann)
    number = number_of(ann, run_id)

    def refused(**form: Any) -> tuple[int, str]:
        reply = ann.post(f"/console/runs/{run_id}/decide", data=form)
        found = re.search(r'<p id="failure">(.*?)</p>', reply.text)
        return reply.status_code, html.unescape(found[1]) if found else reply.text

    assert refused(verdict="approve", number=number, arguments="{")[0] == 400
    assert refused(verdict="approve", number=number, arguments='{"name": 7}')[0] == 422
    assert refused(verdict="dance", number=number)[0] == 400
    assert refused(verdict="approve", number="x")[0] == 400
    assert refused(verdict="approve") == (400, "number is missing.")
    assert refused(verdict="approve", number=number + 1)[0] == 409
    ann.post(f"/runs/{run_id}/abort")


def test_a_question_is_answered(ann: httpx.Client) -> None:
    run_id = start(ann, call("ask", question="Which?"))
    until(ann, run_id, "suspended")
    form = {"verdict": "answer", "number": number_of(ann, run_id), "answer": '"blue"'}

    assert ann.post(f"/console/runs/{run_id}/decide", data=form).status_code == 303
    until(ann, run_id, "finished")
    assert ann.get(f"/runs/{run_id}/result").json()["text"] == "They say blue."


def test_many_runs_are_changed_at_once_and_only_ones_own(console: Served) -> None:
    ann, bob = console.as_("ann"), console.as_("bob")
    mine, also = suspended(ann), suspended(ann)
    other = suspended(bob)
    failed = start(ann, "fail")
    until(ann, failed, "failed")
    part = {"hx-request": "true"}

    def bulk(verb: str, *run_ids: str) -> str:
        form = {"verb": verb, "run_id": list(run_ids)}
        reply = ann.post("/console/bulk", data=form, headers=part)
        assert reply.status_code == 204
        return str(json.loads(reply.headers["hx-trigger"])["said"])

    assert bulk("resume", mine, other) == (
        f"1 calls are approved. 1 refused it. {other[:12]}: There is no such run."
    )
    assert bulk("retry", failed, also).startswith("1 go on where they failed. 1 refused it.")
    assert bulk("abort", also) == "1 will end at their next word."
    until(ann, mine, "finished")
    until(ann, also, "aborted")
    until(bob, other, "suspended")
    assert bulk("delete", mine, also, failed) == "3 are deleted."
    assert ann.get(f"/console/runs/{mine}").status_code in (404, 410)
    assert ann.post("/console/bulk", data={"verb": "abort"}).status_code == 400
    bob.post(f"/runs/{other}/abort")


def test_a_page_at_rest_is_not_sent_again(ann: httpx.Client) -> None:
    run_id = suspended(ann)
    part = {"hx-request": "true"}
    first = ann.get(f"/console/runs/{run_id}", headers=part)
    have = {**part, "x-have": first.headers["x-digest"]}

    same = ann.get(f"/console/runs/{run_id}", headers=have)
    ann.post(f"/runs/{run_id}/abort")
    until(ann, run_id, "aborted")
    changed = ann.get(f"/console/runs/{run_id}", headers=have)

    assert (first.status_code, same.status_code, changed.status_code) == (200, 204, 200)
    assert "<html" not in first.text
    assert "hx-request" in first.headers["vary"].lower()


def test_a_page_that_asks_again_for_a_deleted_run_is_told_to_stop(ann: httpx.Client) -> None:
    run_id = start(ann, "say Bye.")
    until(ann, run_id, "finished")
    polls = {"hx-request": "true", "hx-target": "live"}
    assert ann.get(f"/console/runs/{run_id}", headers=polls).status_code == 200
    ann.delete(f"/runs/{run_id}")

    for path in ("", "/steps", "/chunks", "/background"):
        last = ann.get(f"/console/runs/{run_id}{path}", headers=polls)
        # To a browser it is no error, and to htmx the last answer.
        assert (last.status_code, "It is gone." in last.text) == (286, True)
        assert ann.get(f"/console/runs/{run_id}{path}").status_code in (404, 410)
    assert ann.get("/console/threads/none", headers=polls).status_code == 286


def test_what_is_copied_is_quoted_and_holds_no_credential(console: Served) -> None:
    client = httpx.Client(
        base_url=console.url, cookies={"who": "ann"}, headers={"host": "a.example'; rm -rf '$(x)"}
    )
    ann = console.as_("ann")
    run_id = suspended(ann)
    page = ann.get(f"/console/runs/{run_id}/chunks").text
    copied = [html.unescape(each) for each in re.findall(r'data-copy="([^"]*)"', page)]
    curls = [shlex.split(each) for each in copied if each.startswith("curl")]

    assert ["curl", "-N", f"{console.url}/runs/{run_id}/stream"] in curls
    assert not any(word in each for each in copied for word in ("Bearer", "who=", "Cookie"))
    lines = next(each for each in copied if each.startswith("{")).splitlines()
    assert json.loads(lines[0])["type"] == "start"
    odd = client.get(f"/console/runs/{run_id}/chunks")
    commands = [html.unescape(each) for each in re.findall(r'data-copy="(curl[^"]*)"', odd.text)]
    assert all(len(shlex.split(each)) in (3, 9) for each in commands)
    client.close()
    ann.post(f"/runs/{run_id}/abort")


def test_steps_are_linked_to_flower(ann: httpx.Client) -> None:
    run_id = start(ann, "say Hello.")
    until(ann, run_id, "finished")

    page = ann.get(f"/console/runs/{run_id}/steps").text

    assert f'href="https://flower.example/task/{run_id}%3A1%3Amodel%3A1"' in page
    with pytest.raises(ConfigurationError, match="flower_url"):
        create_app(None, dev=True, flower_url="javascript:alert(1)")  # type: ignore[arg-type]


def test_the_attempts_of_a_run_are_drawn_in_time_and_listed(
    ann: httpx.Client, durable: InProcessAgent
) -> None:
    run_id = start(ann, "say Hello.")
    until(ann, run_id, "finished")
    [model, _] = durable.attempts(run_id)

    page = ann.get(f"/console/runs/{run_id}").text

    assert "Widths are times, " in page
    assert "2 attempts of its tasks" in page
    assert f"attempt 1 on worker {model.worker} ended after " in page
    assert page.count(f'href="https://flower.example/task/{run_id}%3A1%3Amodel%3A1"') == 2
    durable.client.ledger.client().delete(durable.client.keys.of(run_id).topic)
    assert "Widths are times, " in ann.get(f"/console/runs/{run_id}").text


def test_where_attempts_are_not_kept_the_log_is_drawn(
    ann: httpx.Client, durable: InProcessAgent
) -> None:
    run_id = start(ann, "say Hello.")
    until(ann, run_id, "finished")
    tasks = durable.client.keys.of(run_id).tasks
    durable.client.ledger.client().hdel(tasks, "attempt:1")

    page = ann.get(f"/console/runs/{run_id}").text

    assert "In the order of the log" in page
    assert "1 attempt of its tasks; 1 before these are no longer kept" in page


def test_a_background_call_is_cancelled_on_its_page(ann: httpx.Client) -> None:
    run_id = start(ann, call("report", name="cancelled"), until_idle=30)
    until(ann, run_id, "running")
    [task] = ann.get(f"/runs/{run_id}/background").json()["tasks"]
    page = ann.get(f"/console/runs/{run_id}/background").text

    assert "report" in page
    cancel = f"/console/runs/{run_id}/background/{task['tool_call_id']}/cancel"
    assert ann.post(cancel).status_code == 303
    until(ann, run_id, "finished")
    assert "cancelled" in ann.get(f"/console/runs/{run_id}/background").text
    GATES["cancelled"].set()


def test_filters_and_searches_find_runs(ann: httpx.Client) -> None:
    run_id = start(ann, "say Find me.", thread_id="needle")
    until(ann, run_id, "finished")

    def finds(query: str) -> bool:
        return f'/console/runs/{run_id}"' in ann.get(f"/console/runs?{query}").text

    assert finds(f"q={run_id}")
    assert finds(f"q={run_id[:6]}")
    assert finds("q=needle")
    assert finds("thread_id=needle&status=finished&agent=talker&since=1h")
    assert finds(f"q={run_id}&status=&agent=")
    assert not finds(f"q={run_id}&status=failed")
    assert not finds("q=needle&agent=other")
    assert not finds("q=no such")
    assert ann.get("/console/runs?status=odd").status_code == 400
    assert ann.get("/console/runs?since=odd").status_code == 400


def message_id_in(page: str) -> str:
    [found] = re.findall(r'name="message_id" value="([0-9a-f]{32})"', page)
    return str(found)


def test_a_run_under_way_is_told_something_once(console: Served, ann: httpx.Client) -> None:
    run_id = start(ann, call("hold", name="told"))
    until(ann, run_id, "running")
    page = ann.get(f"/console/runs/{run_id}").text
    said = {"message": "say And this.", "message_id": message_id_in(page)}

    url = f"/console/runs/{run_id}/messages"
    answer = ann.post(url, data=said, headers={"hx-request": "true"})
    assert (answer.status_code, "It is sent." in answer.headers["hx-trigger"]) == (200, True)
    # The form is empty again, for another message.
    assert message_id_in(answer.text) != said["message_id"]
    assert f'hx-post="{url}"' in answer.text
    assert ann.post(url, data=said).status_code == 303
    assert len(ann.get(f"/runs/{run_id}").json()["inbox"]) == 1
    assert "Messages that wait" in ann.get(f"/console/runs/{run_id}").text
    GATES["told"].set()
    until(ann, run_id, "finished")
    assert ann.get(f"/runs/{run_id}/result").json()["text"] == "And this."

    assert 'name="message"' not in ann.get(f"/console/runs/{run_id}").text
    late = ann.post(url, data={"message": "say Too late."})
    assert late.status_code == 409
    assert "has ended" in html.unescape(late.text)
    empty = ann.post(url, data={"message": " "})
    assert (empty.status_code, "message is missing" in empty.text) == (400, True)
    assert 'name="message"' not in console.as_("viewer").get(f"/console/runs/{run_id}").text


def test_something_is_said_in_a_thread_that_rests_or_speaks(ann: httpx.Client) -> None:
    first = start(ann, "say One.", thread_id="said in")
    until(ann, first, "finished")
    url = "/console/threads/said%20in/messages"

    def say(text: str) -> httpx.Response:
        page = ann.get("/console/threads/said%20in").text
        return ann.post(url, data={"message": text, "message_id": message_id_in(page)})

    assert say(call("hold", name="said")).status_code == 303
    [newest, *_] = ann.get("/runs?thread_id=said%20in").json()["runs"]
    assert newest["run_id"] != first
    until(ann, newest["run_id"], "running")
    say("say And more.")
    GATES["said"].set()
    until(ann, newest["run_id"], "finished")
    assert ann.get(f"/runs/{newest['run_id']}/result").json()["text"] == "And more."
    assert len(ann.get("/runs?thread_id=said%20in").json()["runs"]) == 2


def test_a_thread_is_named_and_forgotten(ann: httpx.Client) -> None:
    thread = "a/b c"
    run_id = start(ann, "say Hello.", thread_id=thread)
    until(ann, run_id, "finished")
    url = f"/console/threads/{quote(thread, safe='')}"

    assert ann.post(f"{url}/title", data={"title": "Called so"}).headers["location"] == (
        f"{url}?resource_id=ann"
    )
    page = ann.get(url).text
    assert "Called so" in page
    assert 'dir="auto">Hello.</p>' in page
    assert run_id in page
    assert ann.post(f"{url}/title", data={"title": "x" * 201}).status_code == 400
    assert ann.post(f"{url}/forget").headers["location"] == "/console/threads"
    assert 'dir="auto">Hello.</p>' not in ann.get(url).text


def test_the_playground_starts_a_run_of_ones_own(console: Served) -> None:
    ann, admin = console.as_("ann"), console.as_("admin")
    form = {"agent": "talker", "input": "say Played.", "resource_id": "bob", "metadata": '{"a": 1}'}

    sent = ann.post("/console/playground", data=form)
    run_id = sent.headers["location"].rpartition("=")[2]
    found = until(ann, run_id, "finished")

    assert (found["resource_id"], found["metadata"]) == ("ann", {"a": 1})
    assert "say Played." in ann.get(sent.headers["location"]).text
    theirs = admin.post("/console/playground", data={**form, "thread_id": "t"})
    run_id = theirs.headers["location"].rpartition("=")[2]
    assert until(admin, run_id, "finished")["resource_id"] == "bob"
    assert ann.post("/console/playground", data={**form, "agent": "none"}).status_code == 404


def test_pages_say_what_runs_cost_and_what_is_unknown(console: Served, ann: httpx.Client) -> None:
    run_id = start(ann, "say Hi.", thread_id="costs")
    until(ann, run_id, "finished")

    # Nobody knows the price of a model of the tests.
    cost = '<span class="cost" title="0 calls priced, 1 of unknown price">unknown</span>'
    for page in ("runs?thread_id=costs", f"runs/{run_id}", "threads/costs?resource_id=ann"):
        assert cost in ann.get(f"/console/{page}").text, page
    admin = console.as_("admin")
    wait_until(lambda: "Cost, last hour" in admin.get("/console").text, "it was counted")
    assert cost in ann.get("/console/threads/costs/cost").text
    # To somebody else it is a thread without runs.
    assert "unknown" not in console.as_("bob").get("/console/threads/costs/cost").text
    steps = ann.get(f"/console/runs/{run_id}/steps").text
    assert '<span title="the model is not among the prices">price unknown</span>' in steps


def test_the_overview_draws_what_was_done_over_time(console: Served, ann: httpx.Client) -> None:
    until(ann, start(ann, "say Count me."), "finished")
    until(ann, start(ann, "fail"), "failed")
    admin = console.as_("admin")

    def drawn(over: str) -> bool:
        return 'class="failed" x="' in admin.get(f"/console?over={over}").text

    for over in ("hour", "day", "odd"):
        wait_until(partial(drawn, over), "ends are counted")
        page = admin.get(f"/console?over={over}").text
        assert page.count("<svg role=") == 6
        assert "<h3>Waited in the queue" in page
        assert "The same as a table" in page
    # What others have done is nothing to who sees one resource.
    assert "is not shown to who sees one alone" in ann.get("/console").text
    assert "<h3>Tokens" not in ann.get("/console").text


def test_a_deployment_without_runs_and_workers_has_an_overview(redis_server: RedisServer) -> None:
    runs = Runs(redis_server.url, settings=Settings(prefix="nothing-here"))
    with serving(create_app(runs, authorize=known_operator)) as served:
        page = served.as_("admin").get("/console").text
    assert "No worker is alive" in page
    assert "Workers have counted nothing in the last hour." in page
    assert "No runs yet" in page
    runs.close()


def test_children_are_listed_with_their_run_and_have_pages_of_their_own(
    ann: httpx.Client, durable: InProcessAgent
) -> None:
    run_id = start(ann, call("helper", input=call("erase", name="notes")))
    until(ann, run_id, "suspended")
    child = f"{run_id}~1"
    whole = ann.get(f"/console/runs/{run_id}").text
    assert f'href="/console/runs/{child}"' in whole
    assert "erase" in whole
    for path in ("", "/steps", "/chunks", "/background"):
        page = ann.get(f"/console/runs/{child}{path}")
        assert page.status_code == 200, path
        assert f'href="/console/runs/{run_id}"' in page.text
    waits = ann.get(f"/console/runs/{child}").text
    assert "Widths are times" in waits
    assert 'class="people live"' in waits
    ann.post(f"/runs/{run_id}/approve", json={"number": number_of(ann, run_id)})
    until(ann, run_id, "finished")
    ended = ann.get(f"/console/runs/{child}").text
    assert "Widths are times" in ended
    assert 'class="people"' in ended
    assert f"{run_id}:~1/1:tool:" in html.unescape(ann.get(f"/console/runs/{child}/steps").text)
    runs = durable.client
    place = ("--redis", runs.redis_url, "--prefix", runs.settings.prefix)
    told = cli_runner().invoke(main, [*place, "runs", "show", run_id]).stdout
    assert f"{child}  helper  finished" in told
