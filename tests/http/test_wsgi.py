"""The same routes under WSGI, where each stream holds a thread."""

import json
import threading
from collections.abc import Iterator

import httpx
import openai
import pytest
from starlette.requests import Request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from evented_agent import InProcessAgent, RunInfo
from evented_agent.web import Action, Limits, Principal, create_wsgi_app
from tests.http.agents import GATES
from tests.http.conftest import KEY, Served, authorize
from tests.http.openai_client import client_of
from tests.http.requests import call, read, reading, start, text_of, until, until_type
from tests.support.workers import wait_until


async def authorize_later(
    request: Request, action: Action, run: RunInfo | None
) -> Principal | None:
    """Under WSGI an async function is run to its end in the request's thread."""
    assert request.scope["wsgi.environ"]["REQUEST_METHOD"] == request.method
    return authorize(request, action, run)


@pytest.fixture(scope="module")
def threaded(durable: InProcessAgent) -> Iterator[Served]:
    """Mounted below a prefix, in a server with a thread for each request."""
    app = create_wsgi_app(
        durable.client, authorize=authorize_later, token_keys=[KEY], limits=Limits(streams=2)
    )
    mounted = DispatcherMiddleware(Response("not here", 404), {"/agents": app})
    server = make_server("127.0.0.1", 0, mounted, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served = Served(f"http://127.0.0.1:{server.server_port}/agents")
    yield served
    served.close()
    server.shutdown()
    thread.join(20)
    server.server_close()


@pytest.fixture
def client(threaded: Served) -> httpx.Client:
    return threaded.as_("ann")


def test_a_run_is_started_followed_and_deleted_under_wsgi(client: httpx.Client) -> None:
    reply = client.post("/runs", json={"agent": "talker", "input": "say Good day."})
    run_id = reply.json()["run_id"]

    assert reply.status_code == 202
    assert reply.headers["location"] == f"/agents/runs/{run_id}"
    events = read(client, run_id)
    assert text_of(events) == "Good day."
    assert read(client, run_id, after=events[2][0]) == events[3:]
    last = {"after": events[-1][0]}
    assert client.get(f"/runs/{run_id}/stream", params=last).status_code == 204
    assert client.head(f"/runs/{run_id}/stream").status_code == 200
    assert client.delete(f"/runs/{run_id}").status_code == 204
    assert client.get(f"/runs/{run_id}").status_code == 404


def test_text_comes_at_once_and_people_decide_under_wsgi(client: httpx.Client) -> None:
    run_id = start(client, call("erase", name="it"))

    with reading(client, run_id) as lines:
        assert next(lines) == ": hb"
        until_type(lines, "run-waiting")
        assert client.post(f"/runs/{run_id}/approve").status_code == 200
        until_type(lines, "finish")

    assert client.get(f"/runs/{run_id}").json()["decisions"][0]["by"] == "Ann"


def test_others_find_nothing_under_wsgi(threaded: Served, client: httpx.Client) -> None:
    run_id = start(client, "say Hi.")
    token = {"token": client.post(f"/runs/{run_id}/token").json()["token"]}

    assert threaded.as_("bob").get(f"/runs/{run_id}").status_code == 404
    assert threaded.as_("").get(f"/runs/{run_id}").status_code == 401
    assert threaded.as_("").get(f"/runs/{run_id}/stream", params=token).status_code == 200
    foreign = {"origin": "https://evil.example"}
    assert client.post(f"/runs/{run_id}/abort", headers=foreign).status_code == 403
    assert client.post("/runs", content=b"{").status_code == 400
    assert client.post("/runs", content=b" " * 1_000_001).status_code == 413


def test_a_stream_under_wsgi_gives_its_place_back(client: httpx.Client) -> None:
    run_id = start(client, call("hold", name="threads"))

    with reading(client, run_id) as one, reading(client, run_id) as two:
        until_type(one, "tool-call")
        until_type(two, "tool-call")
        assert client.get(f"/runs/{run_id}/stream").status_code == 429
        GATES["threads"].set()
        until_type(one, "finish")
        until_type(two, "finish")

    until(client, run_id, "finished")
    wait_until(
        lambda: client.head(f"/runs/{run_id}/stream").status_code == 200, "the places are free"
    )


def test_openai_clients_under_wsgi(threaded: Served) -> None:
    with client_of(threaded) as client:
        response = client.responses.create(model="talker", input="say Good day.")
        assert response.output_text == "Good day."
        events = list(client.responses.create(model="talker", input="say One.", stream=True))
        assert events[-1].type == "response.completed"
        asked = client.responses.create(model="talker", input=call("erase", name="wsgi"))
        decision = {
            "type": "mcp_approval_response",
            "approval_request_id": asked.output[-1].id,
            "approve": True,
        }
        approved = client.responses.create(input=[decision])  # type: ignore[list-item]
        assert approved.output_text == "erased wsgi"
        completion = client.chat.completions.create(
            model="talker", messages=[{"role": "user", "content": "say Hi."}]
        )
        assert completion.choices[0].message.content == "Hi."
        with pytest.raises(openai.InternalServerError, match="no such luck"):
            client.chat.completions.create(
                model="talker", messages=[{"role": "user", "content": "fail"}]
            )


def test_mcp_says_under_wsgi_that_it_needs_asgi(client: httpx.Client) -> None:
    reply = client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})

    assert reply.status_code == 501
    assert reply.json()["error"]["code"] == "needs_asgi"


def test_the_ai_sdk_is_served_under_wsgi(client: httpx.Client) -> None:
    said = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "say Good day."}]}
    with client.stream("POST", "/ai/talker", json={"id": "chat", "messages": [said]}) as reply:
        lines = [line[6:] for line in reply.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines[:-1]]

    assert lines[-1] == "[DONE]"
    assert "".join(event.get("delta", "") for event in events) == "Good day."
    path = f"/ai/talker/{reply.headers['x-workflow-run-id']}/stream"
    rest = client.get(path, params={"startIndex": 3}).text
    assert [line[6:] for line in rest.splitlines() if line.startswith("data: ")] == lines[3:]
    assert client.get("/ai/talker/chat/stream").status_code == 204
    refused = client.post("/ai/talker", json={"messages": []})
    assert (refused.status_code, refused.headers["content-type"]) == (
        400,
        "text/plain; charset=utf-8",
    )
