"""Who may do what by OpenAI's protocols: each route for its owner, for others, for nobody."""

from typing import Any

import openai
import pytest

from evented_agent import InProcessAgent
from evented_agent.web import Limits, Principal, create_app
from tests.http.agents import GATES
from tests.http.conftest import KEY, Serve, Served, authorize
from tests.http.openai_client import OPENAI_PATH, client_of
from tests.http.requests import call, start, until
from tests.http.test_authorisation import FOREIGN, ask, expired_token

#: Each route that is about a response, with a body that fits, and what its owner is answered.
RESPONSE_ROUTES: list[tuple[str, str, Any, int]] = [
    ("GET", "/responses/{id}", None, 200),
    ("GET", "/responses/{id}?stream=true", None, 200),
    ("GET", "/responses/{id}?stream=true&starting_after=3", None, 200),
    ("GET", "/responses/{id}/input_items", None, 200),
    (
        "POST",
        "/responses",
        {"previous_response_id": "{id}", "input": "say X.", "model": "talker"},
        400,
    ),
    (
        "POST",
        "/responses",
        {
            "input": [
                {
                    "type": "mcp_approval_response",
                    "approval_request_id": "{decision}",
                    "approve": True,
                }
            ]
        },
        200,
    ),
    ("POST", "/responses/{id}/cancel", None, 200),
    ("DELETE", "/responses/{id}", None, 200),
]
#: Those that are about none.
OTHER: list[tuple[str, str, Any, int]] = [
    ("POST", "/responses", {"model": "talker", "input": "say Hi."}, 200),
    (
        "POST",
        "/chat/completions",
        {"model": "talker", "messages": [{"role": "user", "content": "say Hi."}]},
        200,
    ),
    ("POST", "/conversations", {}, 200),
    ("GET", "/conversations/conv_" + "0" * 32, None, 200),
    ("DELETE", "/conversations/mine", None, 200),
    ("GET", "/models", None, 200),
    ("GET", "/models/talker", None, 200),
]


def named(path: str, body: Any, run_id: str, decision: str) -> tuple[str, Any]:
    """A route and its body, about a run."""

    def fill(given: Any) -> Any:
        if isinstance(given, dict):
            return {name: fill(value) for name, value in given.items()}
        if isinstance(given, list):
            return [fill(each) for each in given]
        if not isinstance(given, str):
            return given
        return given.replace("{id}", run_id).replace("{decision}", decision)

    return f"{OPENAI_PATH}{fill(path)}", fill(body)


def ids(routes: list[tuple[str, str, Any, int]]) -> list[str]:
    return [f"{method} {path} {at}" for at, (method, path, _, _) in enumerate(routes)]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"), RESPONSE_ROUTES, ids=ids(RESPONSE_ROUTES)
)
def test_a_response_exists_for_its_owner_alone(
    served: Served, method: str, path: str, body: Any, expected: int
) -> None:
    ann, bob, nobody = (served.as_(name) for name in ("ann", "bob", ""))
    run_id = start(ann, call("erase", name="it"))
    number = until(ann, run_id, "suspended")["pending"][0]["number"]
    url, given = named(path, body, run_id, f"{run_id}:{number}")
    missing, other = named(path, body, "f" * 32, f"{'f' * 32}:{number}")
    old = {"token": expired_token(run_id)}

    theirs = bob.request(method, url, json=given)
    none = bob.request(method, missing, json=other)
    assert (theirs.status_code, theirs.content) == (none.status_code, none.content)
    assert theirs.status_code == 404
    assert ask(nobody, method, url, given) == ask(nobody, method, missing, other) == 401
    assert ask(nobody, method, url, given, params=old) == 401
    if method != "GET":
        assert ask(ann, method, url, given, headers=FOREIGN) == 403
        assert ask(served.as_("reader"), method, url, given) == 403
    assert ask(ann, method, url, given) == expected
    ann.post(f"/runs/{run_id}/abort")


@pytest.mark.parametrize(("method", "path", "body", "expected"), OTHER, ids=ids(OTHER))
def test_what_is_about_no_response_needs_a_sign_in(
    served: Served, method: str, path: str, body: Any, expected: int
) -> None:
    url, old = f"{OPENAI_PATH}{path}", {"token": expired_token("r")}
    refused = served.as_("").request(method, url, json=body)

    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"
    assert ask(served.as_(""), method, url, body, params=old) == 401
    if method != "GET":
        assert ask(served.as_("ann"), method, url, body, headers=FOREIGN) == 403
        assert ask(served.as_("reader"), method, url, body) == 403
    assert ask(served.as_("ann"), method, url, body) == expected


def test_a_token_of_a_run_reads_its_response(served: Served) -> None:
    ann, nobody = served.as_("ann"), served.as_("")
    run_id = start(ann, "say Hello.")
    until(ann, run_id, "finished")
    token = {"token": ann.post(f"/runs/{run_id}/token").json()["token"]}
    url = f"{OPENAI_PATH}/responses/{run_id}"

    assert nobody.get(url, params=token).json()["status"] == "completed"
    assert nobody.delete(url, params=token).status_code == 401
    assert nobody.get(f"{OPENAI_PATH}/responses/other", params=token).status_code in (401, 404)


def test_keys_and_conversations_count_within_a_resource(
    served: Served, durable: InProcessAgent
) -> None:
    found = {}
    for name in ("ann", "bob"):
        with client_of(served, name) as client:
            found[name] = client.responses.create(
                model="talker",
                input=f"say I am {name}.",
                conversation="ours",
                extra_headers={"Idempotency-Key": "ours"},
            )
    assert found["ann"].id != found["bob"].id
    assert found["bob"].output_text == "I am bob."
    said = [each.content for each in durable.client.thread("ours", resource_id="bob")]  # type: ignore[union-attr]
    assert said == ["say I am bob.", "I am bob."]


def test_a_service_goes_on_with_the_conversation_of_a_person(
    served: Served, durable: InProcessAgent
) -> None:
    with client_of(served, "ann") as ann, client_of(served, "service") as service:
        first = ann.responses.create(model="talker", input="say One.")
        second = service.responses.create(
            model="talker", input="say Two.", previous_response_id=first.id
        )
        assert durable.client.get(second.id).resource_id == "ann"
        assert ann.responses.retrieve(second.id).output_text == "Two."
        own = service.responses.create(
            model="talker", input="say X.", extra_query={"resource_id": "bob"}
        )
        assert durable.client.get(own.id).resource_id == "bob"


def test_an_application_of_one_agent_serves_that_one(durable: InProcessAgent, serve: Serve) -> None:
    app = create_app(durable, authorize=authorize, token_keys=[KEY])
    served = serve(app)
    with client_of(served) as client:
        assert [model.id for model in client.models.list()] == ["talker"]
    reply = served.as_("ann").post(f"{OPENAI_PATH}/responses", json={"input": "say Hi."})
    assert reply.json()["model"] == "talker"
    body = {"model": "other", "input": "Hi."}
    assert served.as_("ann").post(f"{OPENAI_PATH}/responses", json=body).status_code == 404


def test_faces_are_told_of_unknown_paths_in_their_own_form(served: Served) -> None:
    reply = served.as_("ann").get(f"{OPENAI_PATH}/files")
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "invalid_request_error")
    reply = served.as_("ann").put(f"{OPENAI_PATH}/models")
    assert reply.status_code == 405


def test_more_open_streams_than_allowed_start_nothing(
    durable: InProcessAgent, serve: Serve
) -> None:
    served = serve(create_app(durable.client, authorize=authorize, limits=Limits(streams=1)))
    ann = served.as_("ann")
    url = f"{OPENAI_PATH}/responses"
    held: dict[str, Any] = {"model": "talker", "input": call("hold", name="openai-limit")}
    with ann.stream("POST", url, json={**held, "stream": True}) as reply:
        assert reply.status_code == 200
        before = len(durable.client.list(limit=200))
        for more in ({}, {"stream": True}):
            refused = ann.post(url, json={**held, **more})
            assert refused.status_code == 429
            assert refused.headers["x-should-retry"] == "false"
        assert len(durable.client.list(limit=200)) == before
        # One in the background takes no stream, and each can be cancelled.
        begun = ann.post(url, json={**held, "background": True})
        assert begun.status_code == 200
        cancelled = ann.post(f"{url}/{begun.json()['id']}/cancel")
        assert cancelled.json()["status"] == "cancelled"
    GATES["openai-limit"].set()


def test_who_may_not_read_starts_nothing(durable: InProcessAgent, serve: Serve) -> None:
    starter = Principal("Writer", "writer", scopes=frozenset({"start", "decide", "list"}))
    served = serve(create_app(durable.client, authorize=lambda *_: starter))
    with client_of(served) as client:
        with pytest.raises(openai.PermissionDeniedError):
            client.responses.create(model="talker", input="say Hi.", background=True)
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(
                model="talker", messages=[{"role": "user", "content": "say Hi."}]
            )
    assert durable.client.list(resource_id="writer") == []
