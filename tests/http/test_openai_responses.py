"""OpenAI's Responses API, asked by OpenAI's own client."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

from evented_agent import InProcessAgent, Runs, Settings
from evented_agent.web import Limits, create_app
from tests.http.agents import GATES, talker
from tests.http.conftest import Serve, Served, authorize
from tests.http.openai_client import OPENAI_PATH, client_of
from tests.http.requests import call, until
from tests.support.servers import RedisServer
from tests.support.workers import wait_until


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[OpenAI]:
    with client_of(served) as client:
        yield client


def items_of(response: Response) -> list[tuple[str, str | None]]:
    return [(item.type, getattr(item, "status", None)) for item in response.output]


def decision(id_: str, **what: Any) -> Any:
    return {"type": "mcp_approval_response", "approval_request_id": id_, **what}


def ask_for_approval(client: OpenAI, name: str = "notes") -> tuple[Response, str]:
    response = client.responses.create(model="talker", input=call("erase", name=name))
    [request] = [item for item in response.output if item.type == "mcp_approval_request"]
    return response, request.id


def test_a_response_is_waited_for_and_fetched(client: OpenAI) -> None:
    response = client.responses.create(
        model="talker", input="say Good day.", metadata={"order": "17"}, store=True, user="u"
    )

    assert (response.status, response.output_text, response.model) == (
        "completed",
        "Good day.",
        "talker",
    )
    assert response.metadata == {"order": "17"}
    assert response.usage is not None
    assert response.usage.total_tokens > 0
    assert client.responses.retrieve(response.id) == response


def test_a_stream_is_followed_and_resumed_at_every_number(client: OpenAI) -> None:
    events = [
        each.to_dict()
        for each in client.responses.create(model="talker", input="say One two.", stream=True)
    ]
    id_ = events[0]["response"]["id"]  # type: ignore[index]

    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * (len(events) - 8),
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    for number in range(len(events)):
        rest = client.responses.retrieve(id_, stream=True, starting_after=number)
        assert [each.to_dict() for each in rest] == events[number + 1 :]


def test_the_helper_of_the_client_ends_with_the_text(client: OpenAI) -> None:
    with client.responses.stream(model="talker", input="say Some words.") as stream:
        final = stream.get_final_response()
    assert final.output_text == "Some words."

    with client.responses.stream(response_id=final.id, starting_after=5) as stream:
        numbers = [event.sequence_number for event in stream]
        assert stream.get_final_response().output_text == "Some words."
    assert numbers[0] == 6


def test_a_response_in_the_background_goes_on_by_itself(client: OpenAI) -> None:
    response = client.responses.create(
        model="talker", input=call("hold", name="openai-background"), background=True
    )
    assert response.status in ("queued", "in_progress")

    wait_until(
        lambda: client.responses.retrieve(response.id).output != [], "the call is in the output"
    )
    assert client.responses.retrieve(response.id).status == "in_progress"
    GATES["openai-background"].set()
    with client.responses.stream(response_id=response.id) as stream:
        final = stream.get_final_response()

    assert items_of(final) == [("mcp_call", "completed"), ("message", "completed")]
    [called, _] = final.output
    assert called.type == "mcp_call"
    assert json.loads(called.arguments) == {"name": "openai-background"}
    assert called.output == "openai-background is open"
    assert final.output_text == "openai-background is open"


def test_the_same_key_is_the_same_response(client: OpenAI) -> None:
    def create(text: str) -> Response:
        return client.responses.create(
            model="talker", input=text, extra_headers={"Idempotency-Key": "openai-1"}
        )

    assert create("say Once.") == create("say Once.")
    with pytest.raises(openai.BadRequestError, match="another agent, input or options"):
        create("say Twice.")


def test_an_approval_ends_a_response_and_begins_another(client: OpenAI) -> None:
    first, request = ask_for_approval(client)
    assert (first.status, items_of(first)) == (
        "completed",
        [("mcp_call", "incomplete"), ("mcp_approval_request", None)],
    )

    second = client.responses.create(
        model="talker", previous_response_id=first.id, input=[decision(request, approve=True)]
    )
    assert items_of(second) == [("mcp_call", "completed"), ("message", "completed")]
    called = second.output[0]
    assert called.type == "mcp_call"
    assert (called.output, called.approval_request_id) == ("erased notes", request)
    assert second.output_text == "erased notes"
    assert second.id.partition(":")[0] == first.id
    assert second.previous_response_id == first.id
    # What was, stays.
    assert client.responses.retrieve(first.id) == first
    assert client.responses.retrieve(second.id) == second


def test_the_same_decision_again_is_answered_by_what_followed(client: OpenAI) -> None:
    _, request = ask_for_approval(client, "more")
    again = [
        client.responses.create(model="talker", input=[decision(request, approve=True)])
        for _ in range(2)
    ]
    assert again[0] == again[1]
    with pytest.raises(openai.BadRequestError):
        client.responses.create(input=[decision(request, approve=False)])


def test_each_decision_is_answered_by_the_response_that_followed_it(client: OpenAI) -> None:
    both = "\n".join([call("erase", name="one"), call("erase", name="two")])
    first = client.responses.create(model="talker", input=both)
    requests = [item.id for item in first.output if item.type == "mcp_approval_request"]
    second, third = (
        client.responses.create(input=[decision(each, approve=True)]) for each in requests
    )

    assert items_of(second) == [("mcp_call", "completed")]
    assert third.output_text == "erased two"
    assert (second.previous_response_id, third.previous_response_id) == (first.id, second.id)
    again = client.responses.create(input=[decision(requests[0], approve=True)])
    assert again == second
    with pytest.raises(openai.BadRequestError, match="cancelled no more"):
        client.responses.cancel(second.id)


def test_a_call_that_is_declined_fails(client: OpenAI) -> None:
    _, request = ask_for_approval(client, "declined")
    events = client.responses.create(
        input=[decision(request, approve=False, reason="not today")], stream=True
    )
    [*_, last] = events
    assert last.type == "response.completed"
    called = last.response.output[0]
    assert called.type == "mcp_call"
    assert called.status == "failed"
    assert str(called.error) == "Declined: not today"


def test_several_decisions_of_a_request_are_taken_together(client: OpenAI) -> None:
    both = "\n".join([call("erase", name="a"), call("erase", name="b")])
    first = client.responses.create(model="talker", input=both)
    requests = [item.id for item in first.output if item.type == "mcp_approval_request"]
    assert len(requests) == 2

    wrong = [decision(requests[0], approve=True), decision(f"{first.id}:999", approve=True)]
    with pytest.raises(openai.BadRequestError):
        client.responses.create(input=wrong)
    second = client.responses.create(input=[decision(each, approve=True) for each in requests])
    assert items_of(second)[:2] == [("mcp_call", "completed")] * 2
    assert second.id != f"{first.id}"


def test_a_tool_that_asks_is_answered_as_a_function_is(client: OpenAI) -> None:
    first = client.responses.create(model="talker", input=call("ask", question="Which day?"))
    [asked] = [item for item in first.output if item.type == "function_call"]
    assert (asked.name, json.loads(asked.arguments)) == ("ask", {"question": "Which day?"})

    output: Any = {"type": "function_call_output", "call_id": asked.call_id, "output": "Monday"}
    second = client.responses.create(input=[output], previous_response_id=first.id)
    assert second.output_text == "They say Monday."


def test_a_response_is_cancelled(client: OpenAI) -> None:
    response = client.responses.create(
        model="talker", input=call("hold", name="openai-cancel"), background=True
    )
    cancelled = client.responses.cancel(response.id)

    assert (cancelled.id, cancelled.status) == (response.id, "cancelled")
    assert client.responses.cancel(response.id) == cancelled
    *_, last = client.responses.retrieve(response.id, stream=True)
    assert last.type == "response.incomplete"
    assert last.response.status == "cancelled"
    with client.responses.stream(response_id=response.id) as stream:
        assert [event.type for event in stream][-1] == "response.incomplete"


def test_a_response_that_waits_is_cancelled(client: OpenAI) -> None:
    first, _ = ask_for_approval(client, "never")
    cancelled = client.responses.cancel(first.id)

    assert cancelled.status == "cancelled"
    assert cancelled.previous_response_id == first.id
    with pytest.raises(openai.BadRequestError, match="cancelled no more"):
        client.responses.cancel(first.id)


def test_a_finished_response_is_not_cancelled(client: OpenAI) -> None:
    response = client.responses.create(model="talker", input="say Done.")
    with pytest.raises(openai.BadRequestError, match="is completed"):
        client.responses.cancel(response.id)


def test_a_failed_run_is_a_failed_response(client: OpenAI) -> None:
    response = client.responses.create(model="talker", input="fail")

    assert response.status == "failed"
    assert response.error is not None
    assert response.error.code == "server_error"
    assert "no such luck" in response.error.message
    assert [e.type for e in client.responses.retrieve(response.id, stream=True)][-1] == (
        "response.failed"
    )


def test_a_conversation_goes_on_after_its_newest_response(
    client: OpenAI, durable: InProcessAgent
) -> None:
    first = client.responses.create(model="talker", input="say One.")
    second = client.responses.create(
        model="talker", input="say Two.", previous_response_id=first.id
    )

    assert second.previous_response_id == first.id
    assert client.responses.retrieve(second.id).previous_response_id == first.id
    said = durable.client.thread(f"resp_{first.id}", resource_id="ann")
    assert [message.content for message in said] == ["say One.", "One.", "say Two.", "Two."]  # type: ignore[union-attr]
    with pytest.raises(openai.BadRequestError, match="go on after the newest"):
        client.responses.create(model="talker", input="say 3.", previous_response_id=first.id)


def test_a_repeated_request_with_a_key_is_no_second_branch(client: OpenAI) -> None:
    first = client.responses.create(model="talker", input="say One.")
    again = [
        client.responses.create(
            model="talker",
            input="say Two.",
            previous_response_id=first.id,
            extra_headers={"Idempotency-Key": "openai-branch"},
        )
        for _ in range(2)
    ]
    assert again[0].id == again[1].id


def test_a_conversation_is_named_and_forgotten(client: OpenAI, durable: InProcessAgent) -> None:
    made = client.conversations.create()
    assert client.conversations.retrieve(made.id) == made
    for text in ("One", "Two"):
        response = client.responses.create(
            model="talker", input=f"say {text}", conversation=made.id
        )
        assert response.conversation is not None
        assert response.conversation.id == made.id
    assert len(durable.client.thread(made.id, resource_id="ann")) == 4

    assert client.conversations.delete(made.id).deleted
    assert durable.client.thread(made.id, resource_id="ann") == []
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve("none")
    client.responses.create(model="talker", input="say X", conversation="of-my-own")
    assert client.conversations.retrieve("of-my-own").id == "of-my-own"


def test_what_a_response_was_given_is_listed(client: OpenAI) -> None:
    given: Any = [
        {"role": "user", "content": "say A."},
        {"role": "assistant", "content": [{"type": "output_text", "text": "A."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "say B."}]},
    ]
    response = client.responses.create(model="talker", input=given)
    listed = list(client.responses.input_items.list(response.id, limit=2, order="asc"))

    assert [item.role for item in listed] == ["user", "assistant", "user"]  # type: ignore[union-attr]
    newest_first = list(client.responses.input_items.list(response.id))
    assert newest_first == listed[::-1]
    _, request = ask_for_approval(client, "listed")
    second = client.responses.create(input=[decision(request, approve=True)])
    [item] = client.responses.input_items.list(second.id)
    assert item.type == "mcp_approval_response"
    assert item.approve


def test_a_response_is_deleted_with_its_run(client: OpenAI) -> None:
    response = client.responses.create(model="talker", input="say Bye.")
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_the_agents_are_the_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["helper", "other", "talker"]
    assert client.models.retrieve("talker").id == "talker"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("instructions", "Be a pirate."),
        ("temperature", 0.5),
        ("tool_choice", "required"),
        ("tools", [{"type": "function", "name": "mine", "parameters": {}}]),
        ("text", {"format": {"type": "json_schema", "name": "x", "schema": {}}}),
        ("store", False),
        ("max_steps", 3),
        ("metadata", {"openai.mine": "x"}),
        ("metadata", {"a": 3}),
        ("background", "yes"),
        ("conversation", {"name": "x"}),
        ("previous_response_id", "no:leg:at:all"),
        ("model", 3),
        ("unheard_of", 1),
    ],
)
def test_what_would_change_the_agent_is_refused_by_name(
    served: Served, field: str, value: object
) -> None:
    body = {"model": "talker", "input": "say Hi.", field: value}
    reply = served.as_("ann").post(f"{OPENAI_PATH}/responses", json=body)

    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == field


def test_what_clients_send_by_default_changes_nothing(client: OpenAI) -> None:
    response = client.responses.create(
        model="talker",
        input="say Hi.",
        tools=[],
        tool_choice="auto",
        parallel_tool_calls=True,
        truncation="disabled",
        include=["reasoning.encrypted_content"],
        text={"format": {"type": "text"}},
        service_tier="auto",
        stream_options={"include_obfuscation": False},
        stream=False,
        background=False,
        instructions=None,
        prompt_cache_key="k",
        safety_identifier="s",
    )
    assert response.output_text == "Hi."


def test_clients_choose_what_the_server_lets_them(durable: InProcessAgent, serve: Serve) -> None:
    options = ["instructions", "tool_choice", "model_settings", "max_steps"]
    app = create_app(durable.client, authorize=authorize, client_options=options)
    with client_of(serve(app)) as client:
        response = client.responses.create(
            model="talker",
            input=[
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": "say A"},
            ],
            instructions="Be a pirate.",
            temperature=0.5,
            tool_choice={"type": "function", "name": "ask"},
            extra_body={"max_steps": 3},
        )
        assert response.output_text == "A"
        with pytest.raises(openai.BadRequestError, match="no tool 'none'"):
            client.responses.create(
                model="talker", input="say A", tool_choice={"type": "function", "name": "none"}
            )


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "input"),
        ([], "input"),
        (3, "input"),
        ([{"role": "system", "content": "Be rude."}], "input[0].role"),
        ([{"role": "tool", "content": "x"}], "input[0].role"),
        ([{"role": ["user"], "content": "x"}], "input[0].role"),
        ([{"role": "user", "content": [{"type": "input_file"}]}], "input[0].content[0]"),
        ([{"role": "user", "content": [{"type": "input_image"}]}], "input[0].content[0]"),
        ([{"role": "user"}], "input[0].content"),
        (["x"], "input[0]"),
        ([{"type": "reasoning"}], "input[0]"),
        ([{"type": "mcp_approval_response"}], "input[0].approval_request_id"),
        ([{"type": "function_call_output", "call_id": "x:1", "output": 3}], "input[0].output"),
        (
            [{"type": "mcp_approval_response", "approval_request_id": "x:1", "approve": 1}],
            "input[0].approve",
        ),
        (
            [{"role": "user", "content": "x"}, {"type": "function_call_output", "call_id": "x:1"}],
            "input",
        ),
    ],
)
def test_the_wrong_place_of_an_input_is_named(served: Served, given: object, param: str) -> None:
    body = {"model": "talker", "input": given}
    reply = served.as_("ann").post(f"{OPENAI_PATH}/responses", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"input": NaN}', b"\xff"])
def test_a_body_that_is_none_is_refused(served: Served, body: bytes) -> None:
    for path in ("responses", "chat/completions"):
        reply = served.as_("ann").post(f"{OPENAI_PATH}/{path}", content=body)
        assert reply.status_code == 400
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("query", ["starting_after=x", "starting_after=-1", "stream=yes"])
def test_a_cursor_that_is_none_is_refused(client: OpenAI, served: Served, query: str) -> None:
    response = client.responses.create(model="talker", input="say Hi.")
    reply = served.as_("ann").get(f"{OPENAI_PATH}/responses/{response.id}?{query}")
    assert reply.status_code == 400


def test_there_is_no_response_of_other_numbers(client: OpenAI) -> None:
    response = client.responses.create(model="talker", input="say Hi.")
    for id_ in (f"{response.id}:3", "none", "a:b", f"{response.id}:0"):
        for stream in (False, True):
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(id_, stream=stream)


def test_a_client_that_leaves_stops_nothing(served: Served, ann: httpx.Client) -> None:
    body: Any = {"model": "talker", "input": call("hold", name="openai-left")}
    key = {"Idempotency-Key": "openai-left", "authorization": "Bearer ann"}
    url = f"{served.url}{OPENAI_PATH}/responses"
    with pytest.raises(httpx.ReadTimeout):
        # Long enough to be begun; a request that is not, would be no worse.
        httpx.post(url, json=body, headers=key, timeout=httpx.Timeout(10, read=0.5))
    with client_of(served) as client:
        again = client.responses.create(
            **body, background=True, extra_headers={"Idempotency-Key": "openai-left"}
        )
        assert again.status == "in_progress"
        GATES["openai-left"].set()
        until(ann, again.id, "finished")
        assert client.responses.retrieve(again.id).output_text == "openai-left is open"


def test_who_waits_and_leaves_counts_no_more(durable: InProcessAgent, serve: Serve) -> None:
    served = serve(create_app(durable.client, authorize=authorize, limits=Limits(streams=1)))
    body = {"model": "talker", "input": call("hold", name="openai-counted")}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{served.url}{OPENAI_PATH}/responses",
            json=body,
            headers={"authorization": "Bearer ann"},
            timeout=httpx.Timeout(10, read=0.5),
        )
    with client_of(served) as client:

        def is_answered() -> bool:
            try:
                return client.responses.create(model="talker", input="say Hi.").output_text == "Hi."
            except openai.RateLimitError:
                return False

        wait_until(is_answered, "the one who left is counted no more")


def test_who_waits_where_the_server_stops_is_told_that_the_run_goes_on(
    durable: InProcessAgent, serve: Serve
) -> None:
    app = create_app(durable.client, authorize=authorize)
    with client_of(serve(app)) as client, ThreadPoolExecutor() as threads:
        waiting = threads.submit(
            client.responses.create, model="talker", input=call("hold", name="openai-stopped")
        )
        asked: Any = [{"role": "user", "content": call("hold", name="openai-stopped")}]
        completion = threads.submit(
            lambda: client.chat.completions.create(model="talker", messages=asked)
        )
        wait_until(
            lambda: (
                [run.asked for run in durable.client.list(limit=5)].count(
                    call("hold", name="openai-stopped")
                )
                == 2
            ),
            "both runs exist",
        )
        app.close_streams()
        assert waiting.result(20).status == "in_progress"
        failure = completion.exception(20)
    assert isinstance(failure, openai.InternalServerError)
    assert failure.code == "run_goes_on"
    assert failure.response.headers["x-should-retry"] == "false"
    GATES["openai-stopped"].set()
    run = durable.client.get(failure.response.headers["x-run-id"])
    assert run.asked == call("hold", name="openai-stopped")


@pytest.mark.parametrize(
    "id_", ["{x}", "%00", "a%2Fb", "%F0%9F%98%80", "%0A", "x" * 4000, "a:1:2", "%ED%A0%80", "..%2F"]
)
def test_ids_that_are_none_find_nothing(served: Served, id_: str) -> None:
    ann = served.as_("ann")
    url = f"{OPENAI_PATH}/responses/{id_}"
    for method, path in (("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel"), ("DELETE", "")):
        assert ann.request(method, f"{url}{path}").status_code == 404
    body = f'{{"model": "talker", "input": "x", "previous_response_id": "{id_[:40]}"}}'
    assert ann.post(f"{OPENAI_PATH}/responses", content=body).status_code in (400, 404)
    decision = {
        "type": "mcp_approval_response",
        "approval_request_id": f"{id_[:40]}:1",
        "approve": True,
    }
    reply = ann.post(f"{OPENAI_PATH}/responses", json={"input": [decision]})
    assert reply.status_code in (400, 404)


def test_a_start_whose_outcome_is_unknown_is_repeated_under_a_name_only(
    tmp_path: Path, serve: Serve
) -> None:
    with RedisServer(tmp_path) as server:
        runs = Runs(server.url, settings=Settings(prefix="openai.away", retry_for=0.01))
        runs.add(talker)
        served = serve(create_app(runs, authorize=authorize))
        server.kill()
        completion = {"model": "talker", "messages": [{"role": "user", "content": "say Hi."}]}
        for path, body in (
            ("responses", {"model": "talker", "input": "say Hi."}),
            ("chat/completions", completion),
        ):
            for headers, expected in (({}, "false"), ({"Idempotency-Key": "k"}, None)):
                reply = served.as_("ann").post(f"{OPENAI_PATH}/{path}", json=body, headers=headers)
                assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
                assert reply.json()["error"]["type"] == "server_error"
                assert reply.headers.get("x-should-retry") == expected
        server.start()
        assert runs.list() == []
        runs.close()
