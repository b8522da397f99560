"""The routes: start a run, look at it, follow it, decide, abort, delete."""

import json
import re
from typing import Any

import httpx
import pytest

from evented_agent import InProcessAgent, Runs
from evented_agent.web import create_app
from tests.http.agents import GATES
from tests.http.conftest import Serve, Served, authorize
from tests.http.requests import call, events_of, read, reading, start, text_of, until, until_type
from tests.support.workers import wait_until

WRONG_CHOICES: list[dict[str, Any]] = [
    {"arguments": []},
    {"number": 0},
    {"number": True},
    {"tool_call_id": 3},
]


def test_a_run_is_started_followed_and_looked_at(ann: httpx.Client) -> None:
    reply = ann.post("/runs", json={"agent": "talker", "input": "say Good day."})
    run_id = reply.json()["run_id"]

    assert reply.status_code == 202
    assert reply.headers["location"] == f"/runs/{run_id}"
    assert text_of(read(ann, run_id)) == "Good day."
    run = ann.get(reply.headers["location"]).json()
    assert (run["run_id"], run["status"], run["agent"]) == (run_id, "finished", "talker")
    assert run["resource_id"] == "ann"


def test_a_run_that_is_under_way_shows_what_it_was_asked(ann: httpx.Client) -> None:
    question = call("hold", name="asked")
    run_id = start(ann, question)
    until(ann, run_id, "running")
    assert ann.get(f"/runs/{run_id}").json()["input"] == [{"role": "user", "content": question}]
    GATES["asked"].set()
    until(ann, run_id, "finished")


def test_events_are_numbered_and_their_ids_are_cursors(ann: httpx.Client) -> None:
    run_id = start(ann, "say One two three.")
    events = read(ann, run_id)

    assert [data["seq"] for _, data in events] == list(range(1, len(events) + 1))
    assert [data["type"] for _, data in events][-1] == "finish"
    for number in (1, 3, len(events) - 1):
        assert read(ann, run_id, after=events[number - 1][0]) == events[number:]
        assert read(ann, run_id, after=str(number)) == events[number:]
        header = {"last-event-id": events[number - 1][0]}
        # A browser that reconnects sends the header with the URL that it began with.
        reply = ann.get(f"/runs/{run_id}/stream", params={"after": "0"}, headers=header)
        assert events_of(reply.text) == events[number:]


def test_metadata_is_kept_with_its_run(ann: httpx.Client) -> None:
    order = {"order": {"number": 17}}
    run_id = start(ann, "say Hello.", run_id="about-17", metadata=order)
    assert start(ann, "say Hello.", run_id="about-17", metadata=order) == run_id
    other = {"agent": "talker", "input": "say Hello.", "run_id": "about-17", "metadata": {}}
    assert ann.post("/runs", json=other).status_code == 409

    assert ann.get(f"/runs/{run_id}").json()["metadata"] == {"order": {"number": 17}}
    reply = ann.post("/runs", json={"agent": "talker", "input": "say Hello.", "metadata": 3})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")


def test_who_has_all_of_an_ended_run_is_told_that_nothing_follows(ann: httpx.Client) -> None:
    run_id = start(ann, "say Bye.")
    last = read(ann, run_id)[-1][0]

    for after in (last, last.partition("-")[0]):
        reply = ann.get(f"/runs/{run_id}/stream", params={"after": after})
        assert (reply.status_code, reply.content) == (204, b"")


def test_a_stream_begins_at_once_and_shows_that_it_is_alive(
    durable: InProcessAgent, serve: Serve
) -> None:
    import dataclasses

    app = create_app(durable.client, authorize=authorize)
    app._site = dataclasses.replace(app._site, heartbeat=0.05)
    client = serve(app).as_("ann")
    run_id = start(client, call("hold", name="beats"))

    with reading(client, run_id) as lines:
        assert next(lines) == ": hb"
        until_type(lines, "tool-call")
        beats = [line for line, _ in zip(lines, range(5), strict=False)]
        GATES["beats"].set()
        until_type(lines, "finish")

    # A comment is a block of its own, never in front of an event.
    assert beats.count(": hb") >= 2
    assert "" in beats


def test_a_stream_over_http_has_the_headers_that_proxies_heed(ann: httpx.Client) -> None:
    headers = ann.get(f"/runs/{start(ann, 'say Hi.')}/stream").headers

    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert headers["referrer-policy"] == "no-referrer"
    assert "content-encoding" not in headers


def test_a_stream_stays_open_while_people_decide(ann: httpx.Client) -> None:
    run_id = start(ann, call("erase", name="it"))

    with reading(ann, run_id) as lines:
        until_type(lines, "run-waiting")
        assert ann.post(f"/runs/{run_id}/approve").status_code == 200
        seen = until_type(lines, "finish")

    assert "tool-call-decided" in [each["type"] for each in seen]


def test_a_stream_may_end_where_people_decide(ann: httpx.Client) -> None:
    run_id = start(ann, call("erase", name="it"))
    events = read(ann, run_id, close_on_suspend="true")
    query = {"after": events[-1][0], "close_on_suspend": "true"}

    assert events[-1][1]["type"] == "run-waiting"
    assert ann.get(f"/runs/{run_id}/stream", params=query).status_code == 204
    cursor = ann.post(f"/runs/{run_id}/decline", json={"reason": "No."}).json()["cursor"]
    assert read(ann, run_id, after=cursor)[-1][1]["type"] == "finish"


@pytest.mark.parametrize("cursor", ["yesterday", "-1", "1-x", "²", "9" * 30, "1-2-3"])
def test_what_is_no_cursor_is_refused_over_http(ann: httpx.Client, cursor: str) -> None:
    run_id = start(ann, "say Hi.")

    reply = ann.get(f"/runs/{run_id}/stream", params={"after": cursor})

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_cursor")


def test_expired_chunks_are_gone_over_http_though_the_run_is_not(
    ann: httpx.Client, durable: InProcessAgent
) -> None:
    run_id = start(ann, "say Hi.")
    read(ann, run_id)
    runs = durable.client
    runs.ledger.client().delete(runs.keys.of(run_id).topic)

    reply = ann.get(f"/runs/{run_id}/stream")

    assert (reply.status_code, reply.json()["error"]["code"]) == (410, "run_expired")
    assert ann.get(f"/runs/{run_id}").status_code == 200


def test_head_says_what_a_stream_would_answer_and_opens_none(ann: httpx.Client) -> None:
    run_id = start(ann, "say Hi.")
    last = read(ann, run_id)[-1][0]

    def status(path: str) -> int:
        reply = ann.head(path)
        assert reply.content == b""
        return reply.status_code

    assert status(f"/runs/{run_id}/stream") == 200
    assert status(f"/runs/{run_id}/stream?after={last}") == 204
    assert status(f"/runs/{run_id}/stream?after=x") == 400
    assert status("/runs/nobody/stream") == 404


def test_a_result_has_the_text_and_the_messages(ann: httpx.Client) -> None:
    run_id = start(ann, "say Good day.")
    read(ann, run_id)

    result = ann.get(f"/runs/{run_id}/result").json()

    assert (result["text"], result["status"]) == ("Good day.", "finished")
    assert [each["role"] for each in result["messages"]] == ["user", "assistant"]


def test_lists_over_http_come_page_by_page(served: Served) -> None:
    client = served.as_("bob")
    started = [start(client, f"say {number}.", thread_id="pages") for number in range(3)]

    first = client.get("/runs", params={"thread_id": "pages", "limit": 2}).json()
    second = client.get(
        "/runs", params={"thread_id": "pages", "limit": 2, "page": first["next_page"]}
    ).json()

    found = [run["run_id"] for run in first["runs"] + second["runs"]]
    assert (found, second["next_page"]) == (started[::-1], None)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "many"},
        {"limit": "1000"},
        {"status": "asleep"},
        {"since": "yesterday"},
        {"page": "next"},
    ],
)
def test_a_wrong_query_is_refused(ann: httpx.Client, query: dict[str, str]) -> None:
    assert ann.get("/runs", params=query).status_code == 400


def test_calls_that_wait_are_listed_and_answered(ann: httpx.Client) -> None:
    run_id = start(ann, call("ask", question="Tea?"), thread_id="questions")
    until(ann, run_id, "suspended")

    [pending] = ann.get("/pending", params={"thread_id": "questions"}).json()["pending"]
    assert (pending["run_id"], pending["payload"]) == (run_id, {"question": "Tea?"})
    answer = {"data": "yes", "number": pending["number"]}
    assert ann.post(f"/runs/{run_id}/resume", json=answer).status_code == 200

    assert text_of(read(ann, run_id)) == "They say yes."
    assert ann.get("/pending", params={"thread_id": "questions"}).json() == {"pending": []}


def test_a_decision_is_recorded_under_the_name_of_who_took_it(ann: httpx.Client) -> None:
    run_id = start(ann, call("erase", name="it"))
    until(ann, run_id, "suspended")

    assert ann.post(f"/runs/{run_id}/approve", json={"by": "Nobody"}).status_code == 400
    assert ann.post(f"/runs/{run_id}/approve").status_code == 200
    # The same again changes nothing; another one is told who was first.
    assert ann.post(f"/runs/{run_id}/approve").status_code == 200
    other = ann.post(f"/runs/{run_id}/decline")

    assert (other.status_code, other.json()["error"]["code"]) == (409, "run_conflict")
    assert "Ann" in other.json()["error"]["message"]
    assert until(ann, run_id, "finished")["decisions"][0]["by"] == "Ann"


def test_a_decision_that_does_not_fit_is_refused(ann: httpx.Client) -> None:
    run_id = start(ann, call("erase", name="it"))
    until(ann, run_id, "suspended")

    wrong = ann.post(f"/runs/{run_id}/approve", json={"arguments": {"nome": 1}})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid_decision")
    for body in WRONG_CHOICES:
        assert ann.post(f"/runs/{run_id}/approve", json=body).status_code == 400
    assert ann.post(f"/runs/{run_id}/resume").status_code == 400
    assert ann.post(f"/runs/{run_id}/approve", json={"arguments": {"name": "that"}}).is_success

    assert text_of(read(ann, run_id)) == "erased that"
    late = ann.post(f"/runs/{run_id}/decline", json={"number": 1})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "not_suspended")


def test_a_run_is_aborted_and_deleted(ann: httpx.Client) -> None:
    run_id = start(ann, call("hold", name="never"))
    until(ann, run_id, "running")

    asked = ann.post(f"/runs/{run_id}/abort", json={"reason": "enough"})
    assert (asked.status_code, asked.json()) == (202, {"run_id": run_id, "aborted": True})
    assert read(ann, run_id)[-1][1]["payload"]["reason"] == "enough"
    assert ann.post(f"/runs/{run_id}/abort").json()["aborted"] is False
    assert ann.delete(f"/runs/{run_id}").status_code == 204
    assert ann.get(f"/runs/{run_id}").status_code == 404
    assert ann.delete(f"/runs/{run_id}").status_code == 404


def test_a_failed_run_is_retried(ann: httpx.Client) -> None:
    run_id = start(ann, "fail")
    until(ann, run_id, "failed")

    assert ann.post(f"/runs/{run_id}/retry").status_code == 202
    read(ann, run_id)
    finished = start(ann, "say Hi.")
    read(ann, finished)
    assert ann.post(f"/runs/{finished}/retry").json()["error"]["code"] == "not_failed"


def test_background_calls_are_listed_and_cancelled(ann: httpx.Client) -> None:
    run_id = start(ann, call("report", name="late"), until_idle=20)

    def tasks() -> list[dict[str, object]]:
        found: list[dict[str, object]] = ann.get(f"/runs/{run_id}/background").json()["tasks"]
        return found

    wait_until(lambda: [each["status"] for each in tasks()] == ["running"], "the report runs")
    call_id = tasks()[0]["tool_call_id"]
    reply = ann.post(f"/runs/{run_id}/background/{call_id}/cancel", json={"reason": "enough"})

    assert reply.json() == {"cancelled": True}
    wait_until(lambda: tasks()[0]["status"] == "cancelled", "the report is cancelled")


def test_a_conversation_is_read_and_forgotten(ann: httpx.Client) -> None:
    thread = "Café 7"
    read(ann, start(ann, "say One.", thread_id=thread))
    read(ann, start(ann, "say Two.", thread_id=thread))

    messages = ann.get("/threads/Caf%C3%A9 7").json()["messages"]
    assert [each["content"] for each in messages] == ["say One.", "One.", "say Two.", "Two."]
    assert ann.delete("/threads/Caf%C3%A9 7").status_code == 204
    assert ann.get("/threads/Caf%C3%A9 7").json() == {"messages": []}


def test_a_start_with_the_same_key_is_the_same_run(ann: httpx.Client) -> None:
    body = {"agent": "talker", "input": "say Once."}
    headers = {b"idempotency-key": b"Z\xfcrich / 7"}
    first, again = (ann.post("/runs", json=body, headers=headers) for _ in range(2))
    other = ann.post("/runs", json={**body, "input": "say Twice."}, headers=headers)

    assert first.json() == again.json()
    assert (other.status_code, other.json()["error"]["code"]) == (409, "run_conflict")


def test_a_run_may_be_named_by_its_client(ann: httpx.Client) -> None:
    assert start(ann, "say Named.", run_id="order-7") == "order-7"
    assert start(ann, "say Named.", run_id="order-7") == "order-7"

    events = read(ann, "order-7")
    assert {data["runId"] for _, data in events} == {"order-7"}
    assert ann.get("/runs/order-7").json()["run_id"] == "order-7"
    assert ann.get("/runs/order-7/result").json()["text"] == "Named."
    other = ann.post("/runs", json={"agent": "talker", "input": "say No.", "run_id": "order-7"})
    assert other.status_code == 409
    unfit = ann.post("/runs", json={"agent": "talker", "input": "x", "run_id": "a b"})
    assert unfit.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"agent": "talker"},
        {"agent": "talker", "input": []},
        {"agent": "talker", "input": [{"role": "system", "content": "Obey."}]},
        {"agent": "talker", "input": [{"role": "assistant", "content": "I said."}]},
        {"agent": "talker", "input": [1]},
        {"agent": 7, "input": "Hi."},
        {"input": "Hi."},
        {"agent": "talker", "input": "Hi.", "thread_id": ""},
        {"agent": "talker", "input": "Hi.", "thread_id": 3},
        {"agent": "talker", "input": "Hi.", "when_busy": "wait"},
        {"agent": "talker", "input": "Hi.", "deadline": -1},
        {"agent": "talker", "input": "Hi.", "tools": []},
    ],
    ids=str,
)
def test_what_is_no_start_is_refused(ann: httpx.Client, body: dict[str, object]) -> None:
    reply = ann.post("/runs", json=body)

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'"x"', b"\xff\xfe", b'{"agent": NaN}', b"[" * 5000, b'{"agent": "\\ud800"}'],
    ids=lambda content: str(content[:12]),
)
def test_what_is_no_json_object_is_refused(ann: httpx.Client, content: bytes) -> None:
    assert ann.post("/runs", content=content).status_code == 400


def test_a_service_that_sees_all_may_choose_all_options(served: Served) -> None:
    service = served.as_("service")
    body = {"agent": "talker", "input": "say Hi.", "instructions": "Be kind.", "resource_id": "bob"}
    run_id = service.post("/runs", json=body).json()["run_id"]
    refused = served.as_("ann").post("/runs", json={**body, "resource_id": "ann"})

    assert served.as_("bob").get(f"/runs/{run_id}").json()["resource_id"] == "bob"
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "option_not_allowed")


def test_an_agent_alone_serves_its_own_runs_only(
    durable: InProcessAgent, served: Served, serve: Serve
) -> None:
    both = served.as_("ann")
    body = {"agent": "other", "input": "Hi."}
    run_id = both.post("/runs", json=body).json()["run_id"]
    client = serve(create_app(durable, authorize=authorize)).as_("ann")

    assert both.get(f"/runs/{run_id}").status_code == 200
    assert client.get(f"/runs/{run_id}").status_code == 404
    assert client.post("/runs", json=body).json()["error"]["code"] == "unknown_agent"
    assert client.post("/runs", json={"input": "say Hi."}).status_code == 202
    listed = client.get("/runs", params={"limit": 200}).json()["runs"]
    assert {run["agent"] for run in listed} == {"talker"}


def test_plain_runs_serve_reading_and_deciding(
    durable: InProcessAgent, ann: httpx.Client, serve: Serve
) -> None:
    run_id = start(ann, call("erase", name="it"))
    until(ann, run_id, "suspended")
    runs = Runs(durable.client.redis_url, settings=durable.client.settings)
    client = serve(create_app(runs, authorize=authorize)).as_("ann")

    assert client.post("/runs", json={"agent": "talker", "input": "Hi."}).status_code == 404
    assert client.post(f"/runs/{run_id}/approve").status_code == 200
    assert text_of(read(client, run_id)) == "erased it"


def test_an_application_is_mounted_below_a_prefix(durable: InProcessAgent, serve: Serve) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = create_app(durable.client, authorize=authorize)
    client = serve(Starlette(routes=[Mount("/shop/agents", app)])).as_("ann")
    reply = client.post("/shop/agents/runs", json={"agent": "talker", "input": "say Hi."})

    location = reply.headers["location"]
    assert location.startswith("/shop/agents/runs/")
    assert client.get(location).status_code == 200
    assert client.get("/shop/agents/").status_code == 404
    document = client.get("/shop/agents/openapi.json").json()
    assert document["servers"] == [{"url": "/shop/agents"}]


def test_health_and_readiness_need_no_sign_in(served: Served) -> None:
    nobody = served.as_("")

    assert nobody.get("/health").json() == nobody.get("/ready").json() == {"status": "ok"}


def test_workers_are_for_operators(served: Served, ann: httpx.Client) -> None:
    workers = served.as_("operator").get("/workers").json()["workers"]

    assert all(json.dumps(each) for each in workers)
    assert ann.get("/workers").status_code == 403


def test_metrics_are_for_operators(served: Served, ann: httpx.Client) -> None:
    reply = served.as_("operator").get("/metrics")

    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE evented_agent_runs gauge\n" in reply.text
    assert (ann.get("/metrics").status_code, served.as_("").get("/metrics").status_code) == (
        403,
        401,
    )


def test_metrics_have_the_readers_of_the_process_that_answers(
    serve: Serve, durable: InProcessAgent
) -> None:
    served = serve(create_app(durable.client, authorize=authorize))
    ann = served.as_("ann")
    run_id = start(ann, call("hold", name="readers"), thread_id="readers")

    def readers() -> dict[str, str]:
        text = served.as_("operator").get("/metrics").text
        return dict(re.findall(r'^evented_agent_readers\{reading="(\w+)"\} (\d+)$', text, re.M))

    assert readers() == {"run": "0", "conversation": "0", "answer": "0"}
    with (
        ann.stream("GET", f"/runs/{run_id}/stream"),
        served.as_("service").stream("GET", f"/runs/{run_id}/stream"),
        ann.stream("GET", "/threads/readers/stream"),
    ):
        assert readers() == {"run": "2", "conversation": "1", "answer": "0"}
    GATES["readers"].set()
    wait_until(lambda: set(readers().values()) == {"0"}, "they have left")


def test_an_unknown_path_or_method_is_refused(ann: httpx.Client) -> None:
    assert ann.get("/nowhere").status_code == 404
    assert ann.get("/runs/a/b/c").status_code == 404
    wrong = ann.put("/runs")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, POST")
