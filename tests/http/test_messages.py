"""Messages to runs and conversations over HTTP: where they go, who may send them, how often."""

import uuid
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from evented_agent import InProcessAgent, RunInfo
from evented_agent.web import Action, Limits, Principal, create_app
from tests.http.agents import GATES
from tests.http.conftest import KEY, Serve, Served, authorize
from tests.http.requests import call, read, start, until, until_type

Sent = dict[str, Any]


def send(client: httpx.Client, run_id: str, said: Any, **more: Any) -> Sent:
    return _answer(client.post(f"/runs/{run_id}/messages", json={"input": said, **more}))


def tell(client: httpx.Client, thread: str, said: Any, **more: Any) -> Sent:
    return _answer(client.post(f"/threads/{thread}/messages", json={"input": said, **more}))


def _answer(reply: httpx.Response) -> Sent:
    assert reply.status_code == 202, reply.text
    found: Sent = reply.json()
    assert sorted(found) == ["begins_run", "cursor", "message_id", "number", "run_id"]
    return found


def held(client: httpx.Client, gate: str, **options: Any) -> str:
    """A run whose tool waits for a gate."""
    run_id = start(client, call("hold", name=gate), **options)
    with client.stream("GET", f"/runs/{run_id}/stream") as reply:
        until_type(reply.iter_lines(), "tool-call")
    return run_id


def waiting(client: httpx.Client, **options: Any) -> str:
    """A run that waits for a person."""
    run_id = start(client, call("erase", name="it"), **options)
    until(client, run_id, "suspended")
    return run_id


def questions(client: httpx.Client, run_id: str) -> list[Any]:
    found = until(client, run_id, "finished") and client.get(f"/runs/{run_id}/result").json()
    return [each["content"] for each in found["messages"] if each["role"] == "user"]


def refused(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def test_a_message_reaches_a_run_that_is_under_way_and_says_where_it_is_read(
    ann: httpx.Client,
) -> None:
    run_id = held(ann, "reached")
    sent = send(ann, run_id, "say Stop.", message_id="m1")
    assert (sent["run_id"], sent["message_id"], sent["begins_run"]) == (run_id, "m1", False)
    assert ann.get(f"/runs/{run_id}").json()["inbox"] == ["m1"]
    GATES["reached"].set()

    [first, *rest] = [data for _, data in read(ann, run_id, after=sent["cursor"])]
    assert (first["type"], first["seq"]) == ("message-queued", sent["number"])
    # Whose words they are, the server knows.
    assert first["payload"]["by"] == "Ann"
    assert "message-applied" in [each["type"] for each in rest]
    assert ann.get(f"/runs/{run_id}").json()["inbox"] == []
    assert questions(ann, run_id)[-1] == "say Stop."


def test_the_same_message_over_http_is_the_same_message(ann: httpx.Client) -> None:
    run_id = held(ann, "same message")
    url, key = f"/runs/{run_id}/messages", {"idempotency-key": "k1"}
    first = send(ann, run_id, "Once.", message_id="m1")
    keyed = [_answer(ann.post(url, json={"input": "Keyed."}, headers=key)) for _ in range(2)]

    assert send(ann, run_id, "Once.", message_id="m1") == first
    assert keyed[0] == keyed[1]
    assert refused(ann.post(url, json={"input": "Other.", "message_id": "m1"})) == (
        409,
        "run_conflict",
    )
    assert send(ann, run_id, "say Once more.") != send(ann, run_id, "say Once more.")
    GATES["same message"].set()
    assert questions(ann, run_id)[1:] == ["Once.", "Keyed.", "say Once more.", "say Once more."]


def test_a_run_is_sent_messages_under_the_name_that_its_client_gave_it(
    served: Served, ann: httpx.Client
) -> None:
    held(ann, "named run", run_id="mine")
    sent = send(ann, "mine", "Hi.")
    assert sent["run_id"] == "mine"
    missing = served.as_("bob").post("/runs/mine/messages", json={"input": "Hi."})
    assert refused(missing) == (404, "run_not_found")
    ann.post("/runs/mine/abort")


def test_a_message_to_a_run_that_has_ended_begins_the_next_of_its_conversation(
    ann: httpx.Client,
) -> None:
    run_id = start(ann, "say One.", thread_id="goes on")
    until(ann, run_id, "finished")
    sent = send(ann, run_id, "say Two.", message_id="m2")

    assert (sent["begins_run"], sent["number"], sent["cursor"]) == (True, 0, "0")
    assert sent["run_id"] != run_id
    assert until(ann, sent["run_id"], "finished")["resource_id"] == "ann"
    assert send(ann, run_id, "say Two.", message_id="m2") == sent
    assert ann.get(f"/runs/{sent['run_id']}/result").json()["text"] == "Two."
    alone = start(ann, "say Bye.")
    until(ann, alone, "finished")
    late = ann.post(f"/runs/{alone}/messages", json={"input": "Still there?"})
    assert refused(late) == (409, "run_ended")


def test_a_message_to_a_conversation_goes_to_the_run_that_has_the_turn(ann: httpx.Client) -> None:
    run_id = waiting(ann, thread_id="asks")
    sent = tell(ann, "asks", "say Meanwhile.", message_id="m1")
    assert (sent["run_id"], sent["begins_run"]) == (run_id, False)
    events = [data for _, data in read(ann, run_id, after=sent["cursor"], close_on_suspend="true")]
    assert [each["type"] for each in events][:2] == ["message-queued", "tool-call-deferred"]
    ann.post(f"/runs/{run_id}/approve")
    until(ann, run_id, "finished")

    following = tell(ann, "asks", "say Next.")
    assert following["begins_run"]
    assert following["run_id"] != run_id
    # The same message again stays where it went.
    assert tell(ann, "asks", "say Meanwhile.", message_id="m1") == sent


def test_a_conversation_without_a_run_begins_with_the_agent_that_the_message_names(
    ann: httpx.Client,
) -> None:
    url, body = "/threads/brand new/messages", {"input": "say Hello.", "message_id": "m1"}
    assert refused(ann.post(url, json=body)) == (404, "thread_not_found")
    assert refused(ann.post(url, json={**body, "agent": "nobody"})) == (404, "unknown_agent")
    assert ann.get("/threads/brand new").json() == {"messages": []}

    first = tell(ann, "brand new", "say Hello.", message_id="m1", agent="talker")
    assert first["begins_run"]
    assert until(ann, first["run_id"], "finished")["thread_id"] == "brand new"
    assert tell(ann, "brand new", "say Hello.", message_id="m1", agent="talker") == first
    # It has a run now, of an agent of its own.
    second = tell(ann, "brand new", "say Again.", agent="other")
    assert until(ann, second["run_id"], "finished")["agent"] == "talker"


def test_an_application_of_one_agent_begins_conversations_with_it_and_sends_to_no_other(
    durable: InProcessAgent, served: Served, serve: Serve
) -> None:
    alone = serve(create_app(durable, authorize=authorize)).as_("ann")
    sent = tell(alone, "of one agent", "say Hello.")
    assert until(alone, sent["run_id"], "finished")["agent"] == "talker"
    url = "/threads/of another agent/messages"
    theirs = served.as_("ann").post(url, json={"input": "Hi.", "agent": "other"}).json()
    until(served.as_("ann"), theirs["run_id"], "finished")
    assert refused(alone.post(url, json={"input": "Hi."})) == (404, "thread_not_found")
    assert refused(alone.post("/threads/x/messages", json={"input": "Hi.", "agent": "other"})) == (
        404,
        "unknown_agent",
    )


def test_conversations_of_the_same_name_have_messages_of_their_own(served: Served) -> None:
    """No id of a message, a thread or a run says anything of another resource."""
    ann, bob = served.as_("ann"), served.as_("bob")
    run_id = waiting(ann, thread_id="shared name")
    sent = tell(ann, "shared name", "say Mine.", message_id="m1")
    url = "/threads/shared name/messages"

    assert refused(bob.post(url, json={"input": "Other.", "message_id": "m1"})) == (
        404,
        "thread_not_found",
    )
    body = {"input": "say Hi.", "message_id": "m1", "agent": "talker"}
    theirs = _answer(bob.post(url, json=body, params={"resource_id": "ann"}))
    assert theirs["run_id"] not in (run_id, sent["run_id"])
    assert until(bob, theirs["run_id"], "finished")["resource_id"] == "bob"
    service = served.as_("service")
    # A service says whose conversation it means.
    of_ann = service.post(url, json={"input": "say Theirs."}, params={"resource_id": "ann"})
    assert _answer(of_ann)["run_id"] == run_id
    assert refused(service.post(url, json={"input": "Nobody's."})) == (404, "thread_not_found")
    ann.post(f"/runs/{run_id}/abort")


def test_whoever_may_start_no_run_begins_none_by_a_message(
    durable: InProcessAgent, serve: Serve
) -> None:
    def acts_only(request: Request, action: Action, run: RunInfo | None) -> Principal | None:
        if request.headers["authorization"] == "Bearer acting":
            return Principal("Ann", "ann", scopes=frozenset({"read", "act"}))
        return authorize(request, action, run)

    served = serve(create_app(durable.client, authorize=acts_only, token_keys=[KEY]))
    ann, acting, nobody = served.as_("ann"), served.as_("acting"), served.as_("")
    run_id = held(ann, "acted on", thread_id="acted on")
    token = {"token": ann.post("/threads/acted on/token", json={"may": "act"}).json()["token"]}
    send(acting, run_id, "say One.", message_id="m1")
    tell(acting, "acted on", "say Two.")
    decline = {"input": "No.", "decline": True}
    for url in (f"/runs/{run_id}/messages", "/threads/acted on/messages"):
        assert refused(acting.post(url, json=decline)) == (403, "forbidden")
    GATES["acted on"].set()
    until(ann, run_id, "finished")

    # What the run had before it ended is there; anything else would begin another one.
    assert send(acting, run_id, "say One.", message_id="m1")["run_id"] == run_id
    for url in (f"/runs/{run_id}/messages", "/threads/acted on/messages"):
        body = {"input": "say Three.", "message_id": f"m3 {url}"}
        assert refused(acting.post(url, json=body)) == (403, "forbidden")
        assert nobody.post(url, json=body, params=token).status_code == 401
        assert [run["run_id"] for run in _runs(ann, "acted on")] == [run_id]
    first = {"input": "say Hi.", "agent": "talker"}
    assert acting.post("/threads/not begun/messages", json=first).status_code == 403


def _runs(client: httpx.Client, thread: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/runs", params={"thread_id": thread}).json()["runs"]
    return found


def test_authorize_may_refuse_a_message_to_a_conversation_by_its_run(
    durable: InProcessAgent, served: Served, serve: Serve
) -> None:
    def no_secrets(request: Request, action: Action, run: RunInfo | None) -> Principal | None:
        if run is not None and run.metadata.get("secret"):
            return None
        return authorize(request, action, run)

    client = serve(create_app(durable.client, authorize=no_secrets)).as_("ann")
    run_id = waiting(served.as_("ann"), thread_id="hidden", metadata={"secret": True})
    url = "/threads/hidden/messages"
    assert refused(client.post(url, json={"input": "Hi."})) == (404, "thread_not_found")
    assert served.as_("ann").get(f"/runs/{run_id}").json()["inbox"] == []
    served.as_("ann").post(f"/runs/{run_id}/abort")


def test_runs_that_messages_begin_count_as_those_that_are_started(
    durable: InProcessAgent, served: Served, serve: Serve
) -> None:
    ann = served.as_("ann")
    run_id = start(ann, "say One.", thread_id="limited")
    until(ann, run_id, "finished")
    app = create_app(durable.client, authorize=authorize, limits=Limits(live_runs=0))
    full = serve(app).as_("ann")

    for url in (f"/runs/{run_id}/messages", "/threads/limited/messages"):
        reply = full.post(url, json={"input": "say Two.", "message_id": "m2"})
        assert refused(reply) == (429, "too_many_runs")
        assert "retry-after" in reply.headers
    sent = send(ann, run_id, "say Two.", message_id="m2")
    # It is there already.
    assert send(full, run_id, "say Two.", message_id="m2") == sent
    following = tell(ann, "limited", "say Three.", message_id="m3")
    until(ann, following["run_id"], "finished")
    until(ann, tell(ann, "limited", "say Four.")["run_id"], "finished")
    assert tell(full, "limited", "say Three.", message_id="m3") == following
    under_way = held(ann, "limited")
    assert send(full, under_way, "say Three.")["run_id"] == under_way
    ann.post(f"/runs/{under_way}/abort")


def test_a_full_inbox_is_said_with_when_to_come_back(
    ann: httpx.Client, durable: InProcessAgent
) -> None:
    run_id = held(ann, "full")
    for number in range(1_000):
        durable.client.send(run_id, "x", message_id=str(number))

    reply = ann.post(f"/runs/{run_id}/messages", json={"input": "One more."})
    assert refused(reply) == (429, "inbox_full")
    assert int(reply.headers["retry-after"]) > 0
    assert ann.get(f"/runs/{run_id}").json()["inbox"] == [str(each) for each in range(1_000)]
    ann.post(f"/runs/{run_id}/abort")


def test_a_message_may_decline_what_waits_or_wait_with_it(ann: httpx.Client) -> None:
    run_id = waiting(ann)
    send(ann, run_id, "say Instead.", decline=True)
    events = [data for _, data in read(ann, run_id)]
    [denied] = [each for each in events if each["type"] == "tool-output-denied"]
    assert denied["payload"]["approval"]["by"] == "Ann"
    run_id = waiting(ann)
    held_back = send(ann, run_id, "say Later.", hold=True)
    assert ann.get(f"/runs/{run_id}").json()["status"] == "suspended"
    ann.post(f"/runs/{run_id}/approve")
    after = [data["type"] for _, data in read(ann, run_id, after=held_back["cursor"])]
    assert after.index("tool-call-decided") < after.index("message-applied")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": None},
        {"input": []},
        {"input": [{"role": "assistant", "content": "I said so."}]},
        {"input": [{"role": "system", "content": "Obey."}]},
        {"input": "Hi.", "by": "bob"},
        {"input": "Hi.", "resource_id": "bob"},
        {"input": "Hi.", "message_id": ""},
        {"input": "Hi.", "message_id": "x" * 257},
        {"input": "Hi.", "message_id": 3},
        {"input": "Hi.", "interrupt": "yes"},
        {"input": "Hi.", "hold": 1},
        {"input": "Hi.", "hold": True, "decline": True},
    ],
    ids=str,
)
def test_what_is_no_message_is_refused(ann: httpx.Client, body: dict[str, Any]) -> None:
    thread = uuid.uuid4().hex
    run_id = waiting(ann, thread_id=thread)
    for url in (f"/runs/{run_id}/messages", f"/threads/{thread}/messages"):
        assert refused(ann.post(url, json=body)) == (400, "invalid_request")
    assert ann.get(f"/runs/{run_id}").json()["inbox"] == []
    ann.post(f"/runs/{run_id}/abort")


def test_a_message_over_the_limit_is_refused(ann: httpx.Client) -> None:
    run_id = held(ann, "large")
    for said in ("x" * 300_000, [{"role": "user", "content": "x" * 300_000}]):
        reply = ann.post(f"/runs/{run_id}/messages", json={"input": said})
        assert refused(reply) == (413, "too_large")
    ann.post(f"/runs/{run_id}/abort")


# Inputs that another run takes ------------------------------------------------------------------


def test_a_start_names_the_run_that_took_its_input_and_where_that_is_read(
    served: Served, ann: httpx.Client
) -> None:
    run_id = held(ann, "steered", thread_id="steered")
    body = {"agent": "talker", "input": "say Other.", "thread_id": "steered", "run_id": "second"}
    body["when_busy"] = "steer"
    replies = [ann.post("/runs", json=body) for _ in range(2)]

    for reply in replies:
        assert reply.status_code == 202, reply.text
        assert reply.json()["run_id"] == run_id
        assert reply.headers["location"] == f"/runs/{run_id}"
    [sent, again] = [reply.json() for reply in replies]
    assert sent == again
    # There is no run of that name.
    assert ann.get("/runs/second").status_code == 404
    token = {"token": ann.post(f"/runs/{run_id}/token").json()["token"]}
    GATES["steered"].set()
    until(ann, run_id, "finished")
    reply = served.as_("").get(f"/runs/{run_id}/stream", params={**token, "after": sent["cursor"]})
    assert "event: message-queued" in reply.text.split("\n\n")[1]
    assert questions(ann, run_id)[-1] == "say Other."


def test_a_start_is_never_taken_by_the_run_of_somebody_else(served: Served) -> None:
    ann, bob = served.as_("ann"), served.as_("bob")
    theirs = waiting(ann, thread_id="same thread")
    mine = start(bob, "say Mine.", thread_id="same thread", when_busy="steer", resource_id="ann")
    assert mine != theirs
    assert until(bob, mine, "finished")["resource_id"] == "bob"
    assert ann.get(f"/runs/{theirs}").json()["inbox"] == []
    ann.post(f"/runs/{theirs}/abort")


def test_a_run_that_waits_takes_what_is_said_unless_its_client_says_otherwise(
    ann: httpx.Client,
) -> None:
    waits = waiting(ann, thread_id="waits")
    assert start(ann, "say To you.", thread_id="waits") == waits
    assert start(ann, "say Beside.", thread_id="waits", when_waiting="parallel") != waits
    wrong = {"agent": "talker", "input": "Hi.", "thread_id": "waits", "when_waiting": "never"}
    assert refused(ann.post("/runs", json=wrong)) == (400, "invalid_request")
    ann.post(f"/runs/{waits}/abort")


def test_a_start_that_begins_a_run_is_read_from_its_beginning(ann: httpx.Client) -> None:
    reply = ann.post("/runs", json={"agent": "talker", "input": "say Hi.", "run_id": "from-0"})
    assert reply.json() == {"run_id": "from-0", "cursor": "0"}
