"""The routes of the AI SDK, as plain requests; its own clients are driven in tests/web."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from evented_agent import InProcessAgent
from evented_agent.web import Principal, create_app
from tests.http.agents import GATES
from tests.http.conftest import Serve, Served
from tests.http.requests import call, until
from tests.http.test_authorisation import expired_token
from tests.support.workers import wait_until

Event = dict[str, Any]


def message(text: str, **more: Any) -> Event:
    return {"id": uuid4().hex, "role": "user", "parts": [{"type": "text", "text": text}], **more}


def post(client: httpx.Client, *messages: Event, chat: str | None, **body: Any) -> httpx.Response:
    named = {} if chat is None else {"id": chat}
    return client.post("/ai/talker", json={**named, "messages": messages, **body})


def events_in(reply: httpx.Response) -> list[Event]:
    """The events of a reply that is complete."""
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-vercel-ai-ui-message-stream"] == "v1"
    blocks = [block for block in reply.text.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block[6:]) for block in blocks[:-1]]


def types(events: Sequence[Event]) -> list[str]:
    return [event["type"] for event in events]


def text(events: Sequence[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "text-delta")


def run_of(reply: httpx.Response) -> str:
    return reply.headers["x-workflow-run-id"].partition(":")[0]


def answered(run_id: str, *parts: Event) -> Event:
    """The assistant's message as a client sends it back."""
    return {"id": run_id, "role": "assistant", "parts": [{"type": "step-start"}, *parts]}


def approval(event: Event, approved: bool, **more: Any) -> Event:
    given = {"id": event["approvalId"], "approved": approved, **more}
    part = {"type": "dynamic-tool", "toolName": "erase", "toolCallId": event["toolCallId"]}
    return {**part, "state": "approval-responded", "input": {}, "approval": given}


def asked(events: Sequence[Event], type_: str) -> list[Event]:
    return [event for event in events if event["type"] == type_]


@pytest.fixture
def chat() -> str:
    """A chat that no other test uses; ids of clients may be anything."""
    return f"chat/{uuid4().hex}?"


def path(chat: str, verb: str) -> str:
    return f"/ai/talker/{quote(chat, safe='')}/{verb}"


def test_a_message_is_answered_as_a_ui_message_stream(ann: httpx.Client, chat: str) -> None:
    reply = post(ann, message("say Good day."), chat=chat)

    events = events_in(reply)
    run_id = run_of(reply)
    assert events[0] == {
        "type": "start",
        "messageId": run_id,
        "messageMetadata": {"runId": run_id},
    }
    assert text(events) == "Good day."
    assert types(events)[1:3] == ["start-step", "text-start"]
    assert types(events)[-3:] == ["text-end", "finish-step", "finish"]
    assert events[-1]["finishReason"] == "stop"
    assert ann.get(f"/runs/{run_id}").json()["thread_id"] == chat


def test_the_workflow_transport_sends_plain_text_and_no_id(ann: httpx.Client) -> None:
    body = json.dumps({"messages": [message("say Hi.")]})
    reply = ann.post("/ai/talker", content=body, headers={"content-type": "text/plain"})

    assert text(events_in(reply)) == "Hi."
    assert ann.get(f"/runs/{run_of(reply)}").json()["thread_id"] is None


def test_a_thread_goes_on_whatever_the_client_says_of_it(ann: httpx.Client, chat: str) -> None:
    post(ann, message("say One."), chat=chat)
    told = {"role": "assistant", "parts": [{"type": "text", "text": "made up"}]}
    post(ann, message("say made up"), told, message("say Two."), chat=chat)

    thread = ann.get(f"/threads/{quote(chat, safe='')}").json()
    assert [each["content"] for each in thread["messages"]] == [
        "say One.",
        "One.",
        "say Two.",
        "Two.",
    ]


def test_a_message_that_is_posted_again_is_answered_by_the_same_run(
    ann: httpx.Client, chat: str
) -> None:
    said = message("say Once.")
    first, second = post(ann, said, chat=chat), post(ann, said, chat=chat)
    edited = {**said, "parts": [{"type": "text", "text": "say Twice."}]}
    third = post(ann, edited, chat=chat)
    again = post(ann, said, chat=chat, trigger="regenerate-message")

    assert run_of(first) == run_of(second)
    assert events_in(first) == events_in(second)
    assert text(events_in(third)) == "Twice."
    assert text(events_in(again)) == "Once."
    assert len({run_of(each) for each in (first, third, again)}) == 3


def test_calls_are_approved_and_declined_in_one_post(ann: httpx.Client, chat: str) -> None:
    said = message(call("erase", name="a") + "\n" + call("erase", name="b"))
    first = post(ann, said, chat=chat)
    events, run_id = events_in(first), run_of(first)
    one, two = asked(events, "tool-approval-request")
    assert events[-1] == {"type": "finish", "finishReason": "tool-calls"}
    assert ann.get(path(chat, "stream")).status_code == 204

    back = answered(run_id, approval(one, True), approval(two, False, reason="keep b"))
    second = post(ann, said, back, chat=chat, messageId=run_id)
    third = post(ann, said, back, chat=chat, messageId=run_id)

    events = events_in(second)
    assert events[0]["messageId"] == run_id
    assert events == events_in(third)
    assert second.headers["x-workflow-run-id"] == third.headers["x-workflow-run-id"] != run_id
    [output] = asked(events, "tool-output-available")
    [denied] = asked(events, "tool-output-denied")
    assert (output["toolCallId"], output["output"]) == (one["toolCallId"], "erased a")
    assert denied["toolCallId"] == two["toolCallId"]
    assert events[-1]["finishReason"] == "stop"
    decisions = ann.get(f"/runs/{run_id}").json()["decisions"]
    assert [(each["by"], each["reason"]) for each in decisions] == [
        ("Ann", None),
        ("Ann", "keep b"),
    ]

    otherwise = post(ann, said, answered(run_id, approval(one, False)), chat=chat)
    assert otherwise.status_code == 409


def test_who_answers_late_gets_what_came_of_the_answer_before(ann: httpx.Client, chat: str) -> None:
    """Somebody else decides one of two calls; the page then decides both."""
    said = message(call("erase", name="a") + "\n" + call("erase", name="b"))
    first = post(ann, said, chat=chat)
    run_id = run_of(first)
    one, two = asked(events_in(first), "tool-approval-request")
    number = int(one["approvalId"].partition(":")[2])
    ann.post(f"/runs/{run_id}/approve", json={"number": number})
    wait_until(
        lambda: (
            len(ann.get(f"/runs/{run_id}").json()["pending"]) == 1
            and ann.get(f"/runs/{run_id}").json()["status"] == "suspended"
        ),
        "the run waits for the other call",
    )

    reply = post(ann, said, answered(run_id, approval(one, True), approval(two, True)), chat=chat)

    outputs = asked(events_in(reply), "tool-output-available")
    assert [each["output"] for each in outputs] == ["erased a", "erased b"]
    assert types(events_in(reply)).count("start") == types(events_in(reply)).count("finish") == 1
    reply_id = reply.headers["x-workflow-run-id"]
    again = ann.get(path(reply_id, "stream"), params={"startIndex": 3})
    assert events_in(again) == events_in(reply)[3:]


def test_a_tool_that_asks_is_answered_by_the_output_of_its_call(
    ann: httpx.Client, chat: str
) -> None:
    said = message(call("ask", question="Tea?"))
    first = post(ann, said, chat=chat)
    run_id = run_of(first)
    [question] = asked(events_in(first), "data-suspended")
    data = question["data"]
    assert (data["payload"], data["toolName"]) == ({"question": "Tea?"}, "ask")
    assert question["id"].startswith(f"{run_id}:")

    part = {"type": "dynamic-tool", "toolName": "ask", "toolCallId": data["toolCallId"]}
    given = {**part, "state": "output-available", "input": {}, "output": "yes"}
    back = answered(run_id, given, question)
    second, third = post(ann, said, back, chat=chat), post(ann, said, back, chat=chat)

    [output] = asked(events_in(second), "tool-output-available")
    assert (output["toolCallId"], output["output"]) == (data["toolCallId"], "They say yes.")
    assert events_in(third) == events_in(second)


def test_a_reply_is_followed_from_any_event(ann: httpx.Client, chat: str) -> None:
    reply = post(ann, message("say Good day to all of you."), chat=chat)
    events, leg = events_in(reply), reply.headers["x-workflow-run-id"]

    for at in range(len(events)):
        rest = ann.get(path(leg, "stream"), params={"startIndex": at})
        assert events_in(rest) == events[at:]
        assert rest.headers["x-workflow-run-id"] == leg
    tail = ann.get(path(leg, "stream"), params={"startIndex": -2})
    assert events_in(tail) == events[-2:]
    assert tail.headers["x-workflow-stream-tail-index"] == str(len(events) - 1)
    all_of_it = ann.get(path(leg, "stream"), params={"startIndex": -1000})
    assert events_in(all_of_it) == events
    # Otherwise the workflow transport would ask for ever.
    assert ann.get(path(leg, "stream"), params={"startIndex": len(events)}).status_code == 204
    assert ann.get(path(leg, "stream"), params={"startIndex": "x"}).status_code == 400
    assert ann.get(path(f"{leg}:999", "stream")).status_code == 204


def test_a_chat_that_is_opened_again_gets_its_whole_message(ann: httpx.Client, chat: str) -> None:
    gate = uuid4().hex
    said = message(call("erase", name="a") + "\n" + call("hold", name=gate))
    assert ann.get(path(chat, "stream")).status_code == 204
    with ann.stream("POST", "/ai/talker", json={"id": chat, "messages": [said]}) as first:
        run_id = run_of(first)
    wait_until(lambda: bool(ann.get(f"/runs/{run_id}").json()["pending"]), "the run asks")
    ann.post(f"/runs/{run_id}/approve")

    with ann.stream("GET", path(chat, "stream")) as reply:
        lines = (line for line in reply.iter_lines() if line.startswith("data: "))
        events: list[Event] = []
        while "tool-approval-response" not in types(events):
            events.append(json.loads(next(lines)[6:]))
        GATES[gate].set()
        events += [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]

    assert types(events).count("start") == 1
    [answer] = asked(events, "tool-approval-response")
    [request] = asked(events, "tool-approval-request")
    assert (answer["approvalId"], answer["approved"]) == (request["approvalId"], True)
    outputs = {event["output"] for event in asked(events, "tool-output-available")}
    assert outputs == {"erased a", f"{gate} is open"}
    assert events[-1] == {"type": "finish", "finishReason": "stop"}
    assert ann.get(path(chat, "stream")).status_code == 204
    assert events_in(ann.get(path(chat, "stream"), params={"ended": "true"})) == events
    # A reader that had lost its connection gets the rest, even after the end.
    rest = ann.get(path(chat, "stream"), params={"startIndex": 5})
    assert events_in(rest) == events[5:]


def test_a_failed_run_ends_its_reply(ann: httpx.Client, chat: str) -> None:
    events = events_in(post(ann, message("fail"), chat=chat))
    assert events[-2:] == [
        {"type": "error", "errorText": "no such luck"},
        {"type": "finish", "finishReason": "error"},
    ]


def test_a_chat_is_stopped(ann: httpx.Client, chat: str) -> None:
    gate = uuid4().hex
    body = {"id": chat, "messages": [message(call("hold", name=gate))]}
    with ann.stream("POST", "/ai/talker", json=body) as reply:
        lines = (line for line in reply.iter_lines() if line.startswith("data: "))
        stopped = ann.post(path(chat, "stop"))
        events = [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]

    assert (stopped.status_code, stopped.json()) == (202, {"aborted": True})
    # Something behind the calls, so that no client posts by itself.
    assert types(events)[-5:] == ["text-start", "text-end", "finish-step", "abort", "finish"]
    assert ann.post(path(chat, "stop")).json() == {"aborted": False}
    assert ann.post(path("nobody's", "stop")).status_code == 404
    GATES[gate].set()


def test_a_message_that_does_not_wait_for_an_answer_interrupts_its_run(
    ann: httpx.Client, chat: str
) -> None:
    first = post(ann, message(call("erase", name="it")), chat=chat)
    second = post(ann, message("say Never mind."), chat=chat, when_busy="interrupt")

    assert text(events_in(second)) == "Never mind."
    assert until(ann, run_of(first), "aborted")


def test_a_background_call_is_told_and_the_reply_waits_for_it(ann: httpx.Client, chat: str) -> None:
    gate = uuid4().hex
    GATES[gate].set()
    body = {"until_idle": True}
    events = events_in(post(ann, message(call("report", name=gate)), chat=chat, **body))

    told = asked(events, "data-background")
    assert len({event["id"] for event in told}) == 1
    assert told[0]["data"]["status"] == "started"
    assert told[-1]["data"]["status"] == "completed"
    [output] = asked(events, "tool-output-available")
    assert output["output"] == f"report {gate}"
    assert output["toolCallId"] == told[0]["data"]["toolCallId"]


def test_images_of_a_user_reach_the_run(ann: httpx.Client, chat: str) -> None:
    image = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}
    linked = {**image, "url": "https://pictures.example/cat.png"}
    words = {"type": "text", "text": "What is this?"}
    reply = post(ann, message("", parts=[image, linked, words]), chat=chat)

    [given] = ann.get(f"/runs/{run_of(reply)}").json()["input"]
    assert [(each["type"], each.get("url", each.get("text"))) for each in given["content"]] == [
        ("image", "data:image/png;base64,AA=="),
        ("image", "https://pictures.example/cat.png"),
        ("text", "What is this?"),
    ]


NO_PARTS = {"role": "user", "parts": []}
ODD: Mapping[str, tuple[Any, str]] = {
    "no messages": ({}, "messages"),
    "an empty list": ({"messages": []}, "messages"),
    "no objects": ({"messages": ["hi"]}, "role"),
    "no role": ({"messages": [{"parts": []}]}, "role"),
    "no parts": ({"messages": [{"role": "user"}]}, "parts"),
    "empty parts": ({"messages": [NO_PARTS]}, "no parts"),
    "a system message": ({"messages": [{**NO_PARTS, "role": "system"}]}, "role 'user'"),
    "a trigger": ({"messages": [message("x")], "trigger": "resume-stream"}, "trigger"),
    "an id": ({"messages": [message("x")], "id": 7}, "id is no text"),
    "a field": ({"messages": [message("x")], "model": "gpt", "tools": []}, "'tools'"),
    "a pdf": (
        {"messages": [message("", parts=[{"type": "file", "mediaType": "application/pdf"}])]},
        "'file'",
    ),
    "a pdf's url": (
        {
            "messages": [
                message("", parts=[{"type": "file", "mediaType": "text/pdf", "url": "data:,"}])
            ]
        },
        "images",
    ),
    "a tool's part": (
        {"messages": [message("", parts=[{"type": "dynamic-tool"}])]},
        "dynamic-tool",
    ),
    "nothing to go on with": ({"messages": [answered("r")]}, "no answers"),
    "an approval of nobody": (
        {"messages": [answered("r", approval({"approvalId": "x", "toolCallId": "c"}, True))]},
        "nobody asked",
    ),
    "an approval that says nothing": (
        {
            "messages": [
                answered("r", {"type": "tool-x", "state": "approval-responded", "approval": {}})
            ]
        },
        "approved",
    ),
    "a reason that is none": (
        {
            "messages": [
                answered("r", approval({"approvalId": "r:1", "toolCallId": "c"}, True, reason=[]))
            ]
        },
        "reason",
    ),
    "two runs": (
        {
            "messages": [
                answered(
                    "r",
                    approval({"approvalId": "r:1", "toolCallId": "c"}, True),
                    approval({"approvalId": "s:1", "toolCallId": "d"}, True),
                )
            ]
        },
        "several runs",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_bodies_are_refused_with_a_sentence(ann: httpx.Client, name: str) -> None:
    body, word = ODD[name]
    reply = ann.post("/ai/talker", json=body)

    assert reply.status_code == 400
    assert reply.headers["content-type"].startswith("text/plain")
    assert word in reply.text


def test_a_client_chooses_no_instructions(ann: httpx.Client, chat: str) -> None:
    reply = post(ann, message("say x"), chat=chat, instructions="Be rude.")
    assert reply.status_code == 403
    assert "instructions" in reply.text
    assert post(ann, message("say x"), chat=chat, deadline=60).status_code == 200


def test_unknown_agents_are_404(ann: httpx.Client) -> None:
    reply = ann.post("/ai/nobody", json={"messages": [message("x")]})
    assert (reply.status_code, reply.text) == (404, "There is no such agent.")


def test_others_cannot_read_answer_or_stop(served: Served, ann: httpx.Client, chat: str) -> None:
    said = message(call("erase", name="hers"))
    first = post(ann, said, chat=chat)
    run_id = run_of(first)
    [request] = asked(events_in(first), "tool-approval-request")
    back = answered(run_id, approval(request, True))

    bob = served.as_("bob")
    assert post(bob, said, back, chat=chat).status_code == 404
    made_up = answered("r", approval({"approvalId": "r:1", "toolCallId": "c"}, True))
    assert post(bob, made_up, chat=chat).text == post(bob, back, chat=chat).text
    for name in (chat, run_id, f"{run_id}:99"):
        assert bob.get(path(name, "stream")).status_code == 204
        assert bob.post(path(name, "stop")).status_code == 404
    # The same chat and message of somebody else is another run.
    his = post(bob, said, chat=chat)
    assert run_of(his) != run_id
    bob.post(path(chat, "stop"))

    nobody = served.as_("")
    assert post(nobody, said, chat=chat).status_code == 401
    assert post(nobody, back, chat=chat).status_code == 401
    assert nobody.get(path(chat, "stream")).status_code == 401
    assert nobody.get(path(run_id, "stream")).status_code == 401
    assert nobody.post(path(chat, "stop")).status_code == 401

    reader = served.as_("reader")
    assert post(reader, said, chat=chat).status_code == 403
    assert post(reader, back, chat=chat).status_code == 403
    assert reader.post(path(chat, "stop")).status_code == 403
    assert reader.get(path(run_id, "stream")).status_code == 200

    foreign = {"origin": "https://evil.example", "content-type": "text/plain"}
    body = json.dumps({"id": chat, "messages": [said, back]})
    assert ann.post("/ai/talker", content=body, headers=foreign).status_code == 403
    assert ann.post(path(chat, "stop"), headers=foreign).status_code == 403
    assert until(ann, run_id, "suspended")["pending"]
    ann.post(path(chat, "stop"))


def test_who_may_not_read_starts_nothing_to_read(
    durable: InProcessAgent, serve: Serve, ann: httpx.Client, chat: str
) -> None:
    starts = Principal("Ann", "ann", scopes=frozenset({"start", "decide"}))
    app = create_app(durable.client, authorize=lambda *_: starts)
    assert post(serve(app).as_("ann"), message("say Hi."), chat=chat).status_code == 403
    assert ann.get("/runs", params={"thread_id": chat}).json()["runs"] == []


def test_the_run_of_another_agent_is_none_of_this_one(ann: httpx.Client, chat: str) -> None:
    reply = post(ann, message("say Hi."), chat=chat)
    elsewhere = path(run_of(reply), "stream").replace("/talker/", "/other/")
    assert ann.get(elsewhere).status_code == 204


def test_stream_tokens_open_a_chat_and_start_nothing(served: Served, ann: httpx.Client) -> None:
    chat = uuid4().hex
    reply = post(ann, message(call("erase", name="it")), chat=chat)
    run_id = run_of(reply)
    nobody = served.as_("")
    reading = {"token": ann.post(f"/threads/{chat}/token").json()["token"]}
    acting = {"token": ann.post(f"/threads/{chat}/token", json={"may": "act"}).json()["token"]}

    assert nobody.get(path(run_id, "stream"), params=reading).status_code == 200
    assert nobody.get(path(chat, "stream"), params=reading).status_code == 204
    assert nobody.get(path("another", "stream"), params=reading).status_code == 401
    for token in ("x", expired_token(run_id)):
        assert nobody.get(path(chat, "stream"), params={"token": token}).status_code == 401
        assert nobody.get(path(run_id, "stream"), params={"token": token}).status_code == 401
        assert nobody.post(path(run_id, "stop"), params={"token": token}).status_code == 401
    assert nobody.post(path(run_id, "stop"), params=reading).status_code == 401
    start = nobody.post("/ai/talker", params=acting, json={"messages": [message("say x")]})
    assert start.status_code == 401
    assert nobody.post(path(run_id, "stop"), params=acting).status_code == 202
