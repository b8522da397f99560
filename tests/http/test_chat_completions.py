"""OpenAI's Chat Completions API, asked by OpenAI's own client."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from evented_agent import InProcessAgent
from evented_agent.web import create_app
from tests.http.agents import GATES
from tests.http.conftest import Serve, Served, authorize
from tests.http.openai_client import OPENAI_PATH, client_of
from tests.http.requests import call


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[OpenAI]:
    with client_of(served) as client:
        yield client


def said(text: str, *before: dict[str, Any]) -> Any:
    return [*before, {"role": "user", "content": text}]


def test_a_completion_is_waited_for(client: OpenAI) -> None:
    completion = client.chat.completions.create(model="talker", messages=said("say Good day."))
    [choice] = completion.choices

    assert (choice.message.content, choice.finish_reason) == ("Good day.", "stop")
    assert choice.message.tool_calls is None
    assert completion.model == "talker"
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0


def test_a_completion_is_streamed(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="talker",
            messages=said("say One two."),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]

    assert "".join(deltas) == "One two."
    assert reasons == [*[None] * (len(reasons) - 1), "stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage is not None for chunk in chunks] == [*[False] * (len(chunks) - 1), True]


def test_usage_is_sent_only_where_it_is_asked_for(served: Served) -> None:
    body = {"model": "talker", "messages": said("say Hi."), "stream": True}
    text = served.as_("ann").post(f"{OPENAI_PATH}/chat/completions", json=body).text

    assert "usage" not in text
    assert text.endswith("data: [DONE]\n\n")


def test_calls_of_the_agents_own_tools_are_not_shown(client: OpenAI) -> None:
    GATES["chat-hold"].set()
    chunks = client.chat.completions.create(
        model="talker", messages=said(call("hold", name="chat-hold")), stream=True
    )
    found = [choice for chunk in chunks for choice in chunk.choices]
    assert all(choice.delta.tool_calls is None for choice in found)
    assert "".join(choice.delta.content or "" for choice in found) == "chat-hold is open"


def test_what_was_said_before_comes_from_the_client(
    client: OpenAI, durable: InProcessAgent
) -> None:
    before = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello, how can I help?"},
    ]
    reply = client.chat.completions.with_raw_response.create(
        model="talker", messages=said("say A.", *before), metadata={"order": "17"}
    )
    run = durable.client.get(reply.headers["x-run-id"])
    assert [message.role for message in run.input] == ["user", "assistant", "user"]
    assert (run.thread_id, run.metadata) == (None, {"order": "17"})


def test_a_completion_that_waits_for_people_is_an_error(
    client: OpenAI, durable: InProcessAgent
) -> None:
    asked: Any = {"model": "talker", "messages": said(call("erase", name="chat"))}
    with pytest.raises(openai.BadRequestError) as whole:
        client.chat.completions.create(**asked)
    with pytest.raises(openai.APIError) as streamed:
        list(client.chat.completions.create(**asked, stream=True))

    assert whole.value.type == streamed.value.type == "run_suspended"
    run_id = whole.value.response.headers["x-run-id"]
    assert whole.value.body["run_id"] == run_id  # type: ignore[index]
    assert durable.client.get(run_id).status == "suspended"


def test_a_completion_of_a_failed_run_is_an_error_that_is_not_tried_again(
    served: Served, durable: InProcessAgent
) -> None:
    before = len(durable.client.list(status="failed", limit=200))
    with client_of(served, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError, match="no such luck"):
            client.chat.completions.create(model="talker", messages=said("fail"))
        with pytest.raises(openai.APIError, match="no such luck"):
            list(client.chat.completions.create(model="talker", messages=said("fail"), stream=True))
    assert len(durable.client.list(status="failed", limit=200)) == before + 2


def test_the_same_key_is_the_same_run(client: OpenAI) -> None:
    ids = set()
    for stream in (False, True, False):
        reply = client.chat.completions.with_raw_response.create(
            model="talker",
            messages=said("say Once."),
            stream=stream,
            extra_headers={"Idempotency-Key": "chat-1"},
        )
        ids.add(reply.headers["x-run-id"])
        reply.http_response.read()
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "mine"}}]),
        ("functions", [{"name": "mine"}]),
        ("n", 2),
        ("temperature", 0.5),
        ("max_tokens", 10),
        ("response_format", {"type": "json_object"}),
        ("stop", ["x"]),
        ("messages", []),
        ("messages", "say Hi."),
    ],
)
def test_what_would_change_a_completion_is_refused_by_name(
    served: Served, field: str, value: object
) -> None:
    body = {"model": "talker", "messages": said("say Hi."), field: value}
    reply = served.as_("ann").post(f"{OPENAI_PATH}/chat/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "system", "content": "Be rude."}, *said("say Hi.")], "messages[0].role"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], None),
        ([{"role": "tool", "content": "x", "tool_call_id": "c"}, *said("x")], "messages[0].role"),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]}, *said("x")],
            "messages[0].tool_calls",
        ),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0]"),
    ],
)
def test_the_wrong_message_is_named(served: Served, messages: list[Any], param: str | None) -> None:
    body = {"model": "talker", "messages": messages}
    reply = served.as_("ann").post(f"{OPENAI_PATH}/chat/completions", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == (param or "messages[1].role")


def test_clients_add_instructions_where_the_server_lets_them(
    durable: InProcessAgent, serve: Serve
) -> None:
    app = create_app(
        durable.client, authorize=authorize, client_options=["instructions", "model_settings"]
    )
    with client_of(serve(app)) as client:
        completion = client.chat.completions.create(
            model="talker",
            messages=said("say A.", {"role": "system", "content": "Be kind."}),
            temperature=0.3,
            seed=7,
        )
    assert completion.choices[0].message.content == "A."


def test_a_completion_that_nobody_reads_goes_on(served: Served, durable: InProcessAgent) -> None:
    body = {"model": "talker", "messages": said(call("hold", name="chat-left")), "stream": True}
    url = f"{served.url}{OPENAI_PATH}/chat/completions"
    headers = {"authorization": "Bearer ann"}
    with httpx.stream("POST", url, json=body, headers=headers, trust_env=False) as reply:
        run_id = reply.headers["x-run-id"]
    GATES["chat-left"].set()
    assert durable.client.observe(run_id).result(20).text == "chat-left is open"
