"""The console where names are shared, fields are empty, and values differ by little."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from evented_agent import Agent, InProcessAgent, Settings, create_durable_agent, tool
from evented_agent.cli import main
from evented_agent.testing import ScriptedModel, tool_call
from evented_agent.web import create_app
from tests.http.conftest import Served, serving
from tests.http.requests import call, start, until
from tests.support.command_line import cli_runner
from tests.support.operators import known_operator
from tests.support.servers import RedisServer
from tests.support.stories import shown
from tests.support.workers import wait_until


@pytest.fixture(scope="module")
def console(durable: InProcessAgent) -> Iterator[Served]:
    app = create_app(durable.client, authorize=known_operator, flower_url="https://flower.example")
    with serving(app) as served:
        yield served


@pytest.fixture
def ann(console: Served) -> httpx.Client:
    return console.as_("ann")


@pytest.fixture
def admin(console: Served) -> httpx.Client:
    return console.as_("admin")


def test_a_step_names_its_own_celery_task_beside_those_of_a_child(ann: httpx.Client) -> None:
    run_id = start(ann, call("helper", input="say Hi."))
    until(ann, run_id, "finished")

    def task_of(name: str) -> str:
        page = ann.get(f"/console/runs/{name}/steps").text
        step = page.partition('id="step-1"')[2].partition("</header>")[0]
        [found] = re.findall(r'data-copy="([^"]*)" data-said="The id of the Celery task', step)
        return str(found)

    assert task_of(run_id) == f"{run_id}:1:model:1"
    assert task_of(f"{run_id}~1") == f"{run_id}:~1/1:model:1"


def test_a_thread_of_nobody_is_not_one_of_the_same_name_that_somebody_has(
    ann: httpx.Client, admin: httpx.Client, durable: InProcessAgent
) -> None:
    theirs = start(ann, "say Mine.", thread_id="main")
    until(ann, theirs, "finished")
    nobodys = start(admin, "say Nobody's.", thread_id="main")
    until(admin, nobodys, "finished")
    one_call = 'title="0 calls priced, 1 of unknown price"'

    page = admin.get("/console/threads/main").text
    assert nobodys in page
    assert theirs not in page
    assert one_call in page
    assert one_call in admin.get("/console/threads/main/cost").text
    assert one_call in admin.get("/console/threads/main/cost?resource_id=ann").text
    runs = durable.client
    place = ("--redis", runs.redis_url, "--prefix", runs.settings.prefix)
    told = cli_runner().invoke(main, [*place, "threads", "show", "main"]).stdout
    assert "the price of 1 of 1 calls is unknown" in told


@tool(requires_approval=True)
def switch(level: bool | int) -> str:
    """Switch something on, or to a level."""
    return f"switched to {level!r}"


def test_an_edit_that_python_takes_for_equal_is_an_edit(redis_server: RedisServer) -> None:
    model = ScriptedModel([[tool_call("switch", level=1)], "Done."])
    agent = Agent(id="switcher", model=model, tools=[switch])
    settings = Settings(prefix="http-switch")
    engine = create_durable_agent(agent, redis_url=redis_server.url, settings=settings)
    run_id = engine.stream("Switch it on.").run_id
    with serving(create_app(engine.client, authorize=known_operator)) as served:
        admin = served.as_("admin")
        [pending] = until(admin, run_id, "suspended")["pending"]
        form = {"verdict": "approve", "number": pending["number"], "arguments": '{"level": true}'}
        assert admin.post(f"/console/runs/{run_id}/decide", data=form).status_code == 303
        until(admin, run_id, "finished")
    [step, _] = engine.result(run_id).steps
    assert step.results[0].result == "switched to True"
    engine.close()


def test_an_empty_id_among_chosen_runs_is_none(ann: httpx.Client) -> None:
    run_id = start(ann, call("hold", name="chosen"))
    until(ann, run_id, "running")

    assert ann.post("/console/bulk", data={"verb": "abort", "run_id": [""]}).status_code == 400
    chosen = {"verb": "abort", "run_id": ["", run_id]}
    reply = ann.post("/console/bulk", data=chosen, headers={"hx-request": "true"})

    assert reply.status_code == 204
    assert reply.headers["hx-trigger"] == '{"said":"1 will end at their next word."}'
    until(ann, run_id, "aborted")


def test_a_call_that_was_decided_meanwhile_hides_not_what_was_approved(
    ann: httpx.Client, durable: InProcessAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [call("erase", name=name) for name in ("first", "second", "third")]
    run_id = start(ann, "\n".join(calls))
    numbers = [each["number"] for each in until(ann, run_id, "suspended")["pending"]]
    runs = durable.client
    approve = runs.aapprove

    async def approve_late(name: str, **options: Any) -> Any:
        if options["number"] == numbers[1]:
            await runs.adecline(name, number=numbers[1], by="Dana")
        return await approve(name, **options)

    monkeypatch.setattr(runs, "aapprove", approve_late)
    chosen = {"verb": "resume", "run_id": [run_id]}
    reply = ann.post("/console/bulk", data=chosen, headers={"hx-request": "true"})

    said = json.loads(reply.headers["hx-trigger"])["said"]
    assert said.startswith(f"2 calls are approved. 1 refused it. {run_id[:12]}: ")
    until(ann, run_id, "finished")
    [step, _] = durable.result(run_id).steps
    assert [each.is_error for each in step.results] == [False, True, False]


def test_the_search_finds_a_whole_id_of_a_thread_that_somebody_has(
    ann: httpx.Client, admin: httpx.Client, console: Served
) -> None:
    until(ann, start(ann, "say Old.", thread_id="sought/1"), "finished")
    last = [start(ann, "say New.", thread_id=f"newer-{number}") for number in range(50)]
    for run_id in last:
        until(ann, run_id, "finished")

    found = admin.get("/console/threads?q=sought/1").text
    assert 'href="/console/threads/sought%2F1?resource_id=ann"' in found
    assert "sought%2F1" in ann.get("/console/threads?q=sought/1").text
    assert "sought%2F1" not in console.as_("bob").get("/console/threads?q=sought/1").text
    assert "sought%2F1" not in admin.get("/console/threads?q=sought/1&resource_id=bob").text


@pytest.mark.parametrize(
    ("field", "damaged"),
    [("inbox", "{garbage"), ("live", "{garbage"), ("messages", "{garbage"), ("messages", "[]")],
)
def test_a_run_with_a_damaged_record_is_shown_and_hides_no_other(
    field: str, damaged: str, ann: httpx.Client, durable: InProcessAgent
) -> None:
    thread = f"damaged-{field}-{len(damaged)}"
    others = start(ann, "say Fine.", thread_id=thread)
    run_id = start(ann, "say Odd.", thread_id=thread)
    until(ann, run_id, "finished")
    runs = durable.client
    runs.ledger.client().hset(runs.keys.of(run_id).run, field, damaged)

    listed = ann.get("/runs", params={"thread_id": thread}).json()["runs"]
    assert [each["run_id"] for each in listed] == [run_id, others]
    for place in ("", "/result", "/attempts", "/background"):
        assert ann.get(f"/runs/{run_id}{place}").status_code == 200
    pages = {
        tab: ann.get(f"/console/runs/{run_id}{tab}").text
        for tab in ("", "/steps", "/chunks", "/background")
    }
    assert all(f"Run {run_id[:12]}" in page for page in pages.values())
    assert "Odd." in pages["/steps"]
    is_input = field == "messages"
    assert ("It cannot be read." in pages["/steps"]) is is_input
    assert ("What the run was asked cannot be read." in pages[""]) is is_input
    assert run_id in ann.get("/console/runs", params={"thread_id": thread}).text
    story = shown(runs, run_id)
    assert "assistant: Odd." in story
    assert ("(what it was asked cannot be read)" in story) is is_input
    assert ann.delete(f"/runs/{run_id}").status_code == 204


def steps_of(page: str) -> list[str]:
    """The addresses of a page in which a browser would take a name for a step up or none."""
    found = re.findall(r'(?:href|action|hx-get|hx-post|data-stream)="([^"?]*)', page)
    return [each for each in found if {".", ".."} & set(unquote(each).split("/"))]


@pytest.mark.parametrize("name", [".", "..", "~.", "~~..", "...", "~", "a/.."])
def test_a_thread_whose_name_is_a_step_of_a_path_has_a_page(name: str, admin: httpx.Client) -> None:
    run_id = start(admin, "say Dots.", thread_id=name)
    until(admin, run_id, "finished")
    title = f"Called {name}"

    listed = admin.get("/console/threads").text
    page = admin.get(f"/console/runs/{run_id}").text
    [link] = set(re.findall(r'href="(/console/threads/[^"]+)"', page))
    assert f'href="{link}"' in listed
    page = admin.get(link).text
    assert f"/console/runs/{run_id}" in page
    for form, fields in (("title", {"title": title}), ("messages", {"message": "say More."})):
        reply = admin.post(f"{link}/{form}", data=fields)
        assert reply.status_code == 303
        assert (reply.headers["location"]) == link
    assert html.escape(title) in admin.get(link).text
    assert admin.get(f"{link}/cost").status_code == 200
    assert [each for shown in (listed, page) for each in steps_of(shown) if name != "a/.."] == []
    assert admin.post(f"{link}/forget").status_code == 303
    for run in admin.get("/runs", params={"thread_id": name}).json()["runs"]:
        until(admin, run["run_id"], "finished")


@pytest.mark.parametrize("name", [".", ".."])
def test_a_run_whose_name_is_a_step_of_a_path_has_its_pages(name: str, admin: httpx.Client) -> None:
    reply = admin.post("/runs", json={"agent": "talker", "input": "say Dots.", "run_id": name})
    place = reply.headers["location"]
    assert not {".", ".."} & set(unquote(place).split("/"))
    wait_until(lambda: admin.get(place).json()["status"] == "finished", "it has finished")
    assert admin.get(place).json()["run_id"] == name

    [link] = set(re.findall(rf'href="(/console/runs/[~.%2E]*{re.escape(name)})"', runs_page(admin)))
    for tab in ("", "/steps", "/chunks", "/background"):
        page = admin.get(link + tab)
        assert page.status_code == 200
        assert steps_of(page.text) == []
    [stream] = re.findall(r'data-stream="([^"]*)"', admin.get(link).text)
    assert "Dots." in admin.get(stream).text
    assert admin.post(f"{link}/delete").status_code == 303


def runs_page(client: httpx.Client) -> str:
    return client.get("/console/runs").text


def test_a_finished_run_with_a_damaged_journal_has_its_pages(
    ann: httpx.Client, durable: InProcessAgent
) -> None:
    run_id = start(ann, "say Odd.")
    until(ann, run_id, "finished")
    runs = durable.client
    runs.ledger.client().rpush(runs.keys.of(run_id).journal, "{garbage")

    for tab, told in (("/steps", "Its steps"), ("/background", "Its background calls")):
        page = ann.get(f"/console/runs/{run_id}{tab}")
        assert page.status_code == 200
        assert f"{told} cannot be read" in page.text
        assert f"Run {run_id[:12]}" in page.text
    # Without what readers would be told, the record is all that there is.
    runs.ledger.client().delete(runs.keys.of(run_id).topic)
    page = ann.get(f"/console/runs/{run_id}")
    assert page.status_code == 200
    assert "say Odd." in page.text
