"""Runs with children over HTTP: natively, and in the protocols of clients that know no children."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from openai import OpenAI

from evented_agent import InProcessAgent
from evented_agent.web import create_app
from tests.http.conftest import KEY, Serve, Served, authorize
from tests.http.openai_client import client_of
from tests.http.requests import call, read, start, until
from tests.http.test_ai_sdk import answered, approval, asked, events_in, message, post, run_of, text
from tests.http.test_openai_responses import decision, items_of
from tests.support.workers import wait_until

Event = dict[str, Any]


def through_helper(said: str) -> str:
    return call("helper", input=said)


@pytest.fixture
def openai(served: Served) -> Iterator[OpenAI]:
    with client_of(served) as client:
        yield client


def test_a_child_is_in_the_stream_of_its_run_and_readable_by_its_owner(
    served: Served, ann: httpx.Client
) -> None:
    run_id = start(ann, through_helper("say Hello."), run_id=uuid4().hex)
    info = until(ann, run_id, "finished")
    [child] = info["children"]
    assert (child["agent"], child["status"]) == ("helper", "finished")
    inside = [data["payload"] for _, data in read(ann, run_id) if data["type"] == "child"]
    assert {each["runId"] for each in inside} == {child["run_id"]}

    stored = f"{ann.get('/runs').json()['runs'][0]['run_id']}~1"
    # Under the name that the client gave the run, too.
    for name in (stored, child["run_id"]):
        assert ann.get(f"/runs/{name}").json()["parent_id"] == name.removesuffix("~1")
        assert ann.get(f"/runs/{name}/result").json()["text"] == "Hello."
        assert read(ann, name)[-1][1]["type"] == "finish"
        refused = ann.post(f"/runs/{name}/abort")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "child_run")
        for verb in ("", "/result", "/stream"):
            assert served.as_("bob").get(f"/runs/{name}{verb}").status_code == 404
    assert ann.get(f"/runs/{run_id}~9").status_code == 404


def test_an_application_for_one_agent_shows_the_children_of_its_runs_alone(
    durable: InProcessAgent, serve: Serve
) -> None:
    served = serve(create_app(durable, authorize=authorize, token_keys=[KEY]))
    run_id = until(
        served.as_("ann"), start(served.as_("ann"), through_helper("say Hi.")), "finished"
    )["run_id"]
    assert served.as_("ann").get(f"/runs/{run_id}~1").json()["agent"] == "helper"


def test_a_question_in_a_child_is_decided_over_http(ann: httpx.Client) -> None:
    run_id = start(ann, through_helper(call("erase", name="notes")))
    [pending] = until(ann, run_id, "suspended")["pending"]
    assert pending["agent"] == "helper"
    reply = ann.post(f"/runs/{run_id}/approve", json={"tool_call_id": pending["tool_call_id"]})
    assert reply.status_code == 200
    until(ann, run_id, "finished")
    assert ann.get(f"/runs/{run_id}/result").json()["text"] == "erased notes"


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_a_background_call_of_a_child_is_cancelled_over_http(ann: httpx.Client, slash: str) -> None:
    """Its id has a slash, which proxies and WSGI servers hand on as one."""
    run_id = start(ann, through_helper(call("report", name=f"never {slash}")))

    def calls() -> list[dict[str, Any]]:
        reply = ann.get(f"/runs/{run_id}~1/background").json()
        found: list[dict[str, Any]] = reply.get("tasks", [])
        return found

    [task] = wait_until(calls, "it is under way")
    path = task["tool_call_id"].replace("/", slash)
    reply = ann.post(f"/runs/{run_id}/background/{path}/cancel", json={"reason": "enough"})
    assert reply.json() == {"cancelled": True}
    assert until(ann, run_id, "finished")


def test_the_ai_sdk_shows_a_call_of_a_child_that_is_asked_about(ann: httpx.Client) -> None:
    chat = f"chat/{uuid4().hex}?"
    said = message(through_helper(call("erase", name="a")))
    first = post(ann, said, chat=chat)
    [request] = asked(events_in(first), "tool-approval-request")
    assert "~1/call_1_0" in request["toolCallId"]
    shown = [event.get("toolName") for event in asked(events_in(first), "tool-input-available")]
    assert list(dict.fromkeys(shown)) == ["helper", "erase"]

    back = answered(run_of(first), approval(request, True))
    events = events_in(post(ann, said, back, chat=chat, messageId=run_of(first)))
    outputs = {
        each["toolCallId"]: each["output"] for each in asked(events, "tool-output-available")
    }
    assert outputs[request["toolCallId"]] == "erased a"
    assert len(outputs) == 2
    assert text(events) == "erased a"


def test_openai_s_clients_decide_about_a_call_of_a_child(openai: OpenAI) -> None:
    first = openai.responses.create(model="talker", input=through_helper(call("erase", name="b")))
    [request] = [item for item in first.output if item.type == "mcp_approval_request"]
    second = openai.responses.create(
        model="talker",
        previous_response_id=first.id,
        input=[decision(request.id, approve=True)],
    )
    assert [kind for kind, _ in items_of(second)].count("mcp_call") == 2
    assert second.output_text == "erased b"
