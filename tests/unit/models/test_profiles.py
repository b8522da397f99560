"""What is known of models and their hosts, and what a model may be declared with."""

import asyncio
import json
from typing import Any

import openai
import pytest

from evented_agent.agents.run_options import RunOptions
from evented_agent.errors import DeclarationError, ModelError
from evented_agent.models import (
    AnswerEnded,
    Model,
    ModelRequest,
    OpenAIChat,
    OpenAIResponses,
    Profile,
    TextPiece,
    ToolSpec,
    UserMessage,
    profile_of,
    resolve,
)
from evented_agent.models.openai.chat import chat_body
from evented_agent.models.openai.responses import responses_body
from evented_agent.models.openai.schemas import adapted_schema
from evented_agent.models.openai.servers import SERVERS
from tests.unit.models.peer import Peer, answer, ask, failure, refusal

HI = answer({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}, "[DONE]")
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"$ref": "#/$defs/City"},
        "default": {"type": "string", "default": "x"},
        "kind": {"const": "a"},
    },
    "additionalProperties": False,
    "$defs": {
        "City": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "near": {"$ref": "#/$defs/City"}},
        }
    },
}
TOOL = ToolSpec("look", "Look.", SCHEMA)
FORMAT = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "City", "schema": {"type": "object"}, "strict": True},
    }
}


def body(host: str, model: str = "m", **request: Any) -> dict[str, Any]:
    asked = ModelRequest([UserMessage(content="Hi")], **request)
    return chat_body(model, asked, profile_of(model, host))


def test_a_server_that_nobody_knows_gets_what_all_take() -> None:
    sent = body("127.0.0.1:8000", tools=[TOOL])
    assert "strict" not in sent["tools"][0]["function"]
    assert sent["stream_options"] == {"include_usage": True}


def test_mistral_is_asked_in_its_own_words() -> None:
    sent = body("api.mistral.ai", tools=[TOOL], tool_choice="required")
    assert "stream_options" not in sent
    assert sent["tool_choice"] == "any"


@pytest.mark.parametrize(
    ("model", "host", "choice", "sent"),
    [
        ("deepseek-reasoner", "api.deepseek.com", "required", "auto"),
        ("deepseek-chat", "api.deepseek.com", "required", "required"),
        ("glm-4.7", "api.z.ai", {"tool": "look"}, "auto"),
        ("sonar", "api.perplexity.ai", "auto", None),
    ],
)
def test_a_tool_choice_that_a_model_lacks_becomes_the_next_weaker(
    model: str, host: str, choice: Any, sent: str | None
) -> None:
    assert body(host, model, tools=[TOOL], tool_choice=choice).get("tool_choice") == sent


def test_schemas_lose_what_a_model_refuses_and_no_more() -> None:
    profile = profile_of("gemini-3-pro", "generativelanguage.googleapis.com")
    assert adapted_schema(SCHEMA, profile) == {
        "type": "object",
        "properties": {
            "city": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "near": {"type": "object"}},
            },
            "default": {"type": "string"},
            "kind": {"enum": ["a"]},
        },
    }
    assert adapted_schema(SCHEMA, Profile()) == SCHEMA


@pytest.mark.parametrize("name", ["definitions", "$defs", "default", "required", "enum", "$ref"])
def test_a_field_may_be_called_as_a_keyword_is(name: str) -> None:
    """Nothing refers to anything any more, and no field is gone."""
    city = {"type": "object", "properties": {"name": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {name: {"$ref": "#/$defs/City"}},
        "required": [name],
        "$defs": {"City": city},
    }

    adapted = adapted_schema(schema, profile_of("gemini-3", "generativelanguage.googleapis.com"))

    assert adapted == {"type": "object", "properties": {name: city}, "required": [name]}


@pytest.mark.parametrize(
    ("model", "host", "included"),
    [
        ("gpt-5.5", "api.openai.com", True),
        ("gpt-4.1", "api.openai.com", False),
        ("my-deployment", "x.openai.azure.com", False),
        ("gpt-5-mini", "x.openai.azure.com", True),
        ("gpt-oss-120b", "127.0.0.1:8000", False),
        ("grok-4", "api.x.ai", True),
    ],
)
def test_encrypted_reasoning_is_asked_of_those_that_have_it(
    model: str, host: str, included: bool
) -> None:
    asked = ModelRequest([UserMessage(content="Hi")])
    assert ("include" in responses_body(model, asked, profile_of(model, host), "")) is included


def test_azure_s_url_keeps_its_version_and_its_key_header(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{peer.url}/deployments/d?api-version=2025-01")
    peer.reply(HI)
    profile = profile_of("d", "x.openai.azure.com")
    server = SERVERS["azure"]
    model = OpenAIChat("d", api_key_env=server.key_env, server=server, profile=profile)
    assert ask(model)[0] == TextPiece("Hi")
    [asked] = peer.asked
    assert asked.path == "/v1/deployments/d/chat/completions?api-version=2025-01"
    assert asked.headers["api-key"] == "azure-key-1"


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_s_name_stands_for_its_url_and_its_key(
    name: str, monkeypatch: pytest.MonkeyPatch, peer: Peer
) -> None:
    server = SERVERS[name]
    model = resolve(f"{name}/some/model")
    assert isinstance(model, OpenAIChat)
    assert (model.name, model.model) == (f"{name}/some/model", "some/model")
    monkeypatch.setenv(server.url_env, peer.url)
    monkeypatch.delenv(server.key_env, raising=False)
    if server.needs_key:
        assert server.key_env in str(failure(model))
        monkeypatch.setenv(server.key_env, "its-own-key")
    peer.reply(HI)
    ask(model)
    key = "its-own-key" if server.needs_key else "local"
    assert peer.asked[0].headers["authorization"] == f"Bearer {key}"


def test_a_customer_s_own_server_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key-of-azure")
    assert "set the environment variable AZURE_OPENAI_ENDPOINT" in str(failure(resolve("azure/d")))
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://x.openai.azure.com")
    assert resolve("azure/d")._server_url() == "https://x.openai.azure.com/openai/v1"  # type: ignore[attr-defined]


def test_headers_query_and_body_are_sent_with_each_call(peer: Peer) -> None:
    peer.reply(HI)
    model = OpenAIChat(
        "m",
        base_url=peer.url,
        headers={"X-Title": "mine", "User-Agent": None},
        query={"v": "1"},
        body={"provider": {"order": ["x"]}, "stream_options": None},
    )
    settings = {
        "extra_headers": {"X-More": "1"},
        "extra_query": {"w": "2"},
        "extra_body": {"top_k": 5},
        "timeout": 5,
    }
    ask(model, ModelRequest([UserMessage(content="Hi")], settings=settings))
    [asked] = peer.asked
    assert asked.path == "/v1/chat/completions?v=1&w=2"
    assert (asked.headers["x-title"], asked.headers["x-more"]) == ("mine", "1")
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "provider": {"order": ["x"]},
        "top_k": 5,
        "stream": True,
    }


def test_a_credential_does_not_belong_into_settings(peer: Peer) -> None:
    settings = {"extra_headers": {"Authorization": "Bearer secret-of-mine"}}
    error = failure(
        OpenAIChat("m", base_url=peer.url),
        ModelRequest([UserMessage(content="Hi")], settings=settings),
    )
    assert "model settings may not hold Authorization" in str(error)
    assert "secret-of-mine" not in str(error)
    with pytest.raises(DeclarationError, match="model_settings holds Authorization") as refused:
        RunOptions.parse({"model_settings": settings})
    assert "secret-of-mine" not in str(refused.value)
    RunOptions.parse({"model_settings": {"extra_headers": {"X-Title": "mine"}}})


def test_credentials_in_headers_and_queries_are_in_no_error(peer: Peer) -> None:
    told = "No: hidden-header-1, hidden-query-2, hidden-url-3 and visible-4."
    peer.reply(refusal(401, {"error": {"message": told}}))
    model = OpenAIChat(
        "m",
        base_url=f"{peer.url}?key=hidden-url-3",
        headers={"X-Gateway-Token": "hidden-header-1", "X-Title": "visible-4"},
        query={"api_key": "hidden-query-2"},
    )
    error = failure(model)
    assert "hidden" not in str(error) + repr(model)
    assert "visible-4" in str(error)


def test_a_token_is_asked_for_at_each_call(peer: Peer) -> None:
    tokens = iter(["token-number-1", "token-number-2"])

    async def token() -> str:
        return next(tokens)

    model = OpenAIChat("m", base_url=peer.url, token=token)
    for _ in range(2):
        peer.reply(HI)
        ask(model)
    signed = [asked.headers["authorization"] for asked in peer.asked]
    assert signed == ["Bearer token-number-1", "Bearer token-number-2"]
    assert "token-number" not in repr(model)


def test_a_token_that_cannot_be_had_is_an_error_without_what_it_said(peer: Peer) -> None:
    def token() -> str:
        raise RuntimeError("client_secret=abc123")

    error = failure(OpenAIChat("m", base_url=peer.url, token=token))
    assert error.retryable
    assert "token= failed with RuntimeError." in str(error)
    assert "abc123" not in str(error)


def test_an_http_client_of_one_s_own_is_used_and_left_open(peer: Peer) -> None:
    async def call() -> None:
        client = openai.DefaultAsyncHttpxClient(headers={"X-Mine": "1"})
        for own in (client, lambda: openai.DefaultAsyncHttpxClient(headers={"X-Mine": "2"})):
            peer.reply(HI)
            model = OpenAIChat("m", base_url=peer.url, http_client=own)
            assert [e async for e in model.stream(ModelRequest([UserMessage(content="Hi")]))]
        assert not client.is_closed
        await client.aclose()

    asyncio.run(call())
    assert [asked.headers["x-mine"] for asked in peer.asked] == ["1", "2"]


def test_tools_of_the_provider_stand_beside_ours() -> None:
    hosted = {"type": "web_search"}
    asked = ModelRequest(
        [UserMessage(content="Hi")], tools=[TOOL], settings={"tools": [hosted], "temperature": 0}
    )
    sent = responses_body("gpt-5.5", asked, profile_of("gpt-5.5", "api.openai.com"), "")
    assert [tool["type"] for tool in sent["tools"]] == ["web_search", "function"]
    alone = ModelRequest([UserMessage(content="Hi")], settings={"tools": [hosted]})
    assert chat_body("m", alone, Profile())["tools"] == [hosted]


def test_a_wrong_profile_is_refused() -> None:
    with pytest.raises(DeclarationError, match="Pass a Profile"):
        OpenAIChat("m", profile={"strict": True})  # type: ignore[arg-type]


# Typed answers


@pytest.mark.parametrize(
    ("model", "host", "alone", "beside"),
    [
        ("gpt-5.5", "api.openai.com", "schema", "schema"),
        ("gemini-3-pro", "generativelanguage.googleapis.com", "schema", "tool"),
        ("deepseek-chat", "api.deepseek.com", "prompt", "prompt"),
        ("llama-3.3-70b", "api.groq.com", "prompt", "tool"),
        ("m", "127.0.0.1:8000", "schema", "tool"),
    ],
)
def test_a_typed_answer_is_asked_for_as_the_model_takes_it(
    model: str, host: str, alone: str, beside: str
) -> None:
    assert _mode(body(host, model, settings=FORMAT)) == alone
    assert _mode(body(host, model, settings=FORMAT, tools=[TOOL])) == beside


def _mode(sent: dict[str, Any]) -> str:
    if sent.get("response_format", {}).get("type") == "json_schema":
        return "schema"
    named = [tool["function"]["name"] for tool in sent.get("tools", ())]
    if "City" in named:
        return "tool"
    assert "JSON schema" in sent["messages"][0]["content"]
    return "prompt"


def test_a_typed_answer_by_tool_is_text_and_no_call(peer: Peer) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "City", "arguments": '{"name":'}}
    more = {"index": 0, "function": {"arguments": '"Rome"}'}}
    peer.reply(
        answer(
            {"choices": [{"delta": {"tool_calls": [call]}}]},
            {"choices": [{"delta": {"tool_calls": [more]}, "finish_reason": "tool_calls"}]},
            "[DONE]",
        )
    )
    request = ModelRequest([UserMessage(content="Hi")], tools=[TOOL], settings=FORMAT)
    *pieces, end = ask(OpenAIChat("m", base_url=peer.url), request)
    text = "".join(piece.text for piece in pieces if isinstance(piece, TextPiece))
    assert json.loads(text) == {"name": "Rome"}
    assert isinstance(end, AnswerEnded)
    assert (end.reason, len(pieces)) == ("stop", 2)
    assert peer.asked[0].body["tool_choice"] == "required"


def test_a_typed_answer_by_tool_of_responses_is_text_too(peer: Peer) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "City", "arguments": '{"a":1}'}
    whole = {"status": "completed", "output": [call]}
    peer.reply(answer({"type": "response.completed", "response": whole}))
    request = ModelRequest([UserMessage(content="Hi")], tools=[TOOL], settings=FORMAT)
    said = ask(OpenAIResponses("m", base_url=peer.url), request)
    assert said == [TextPiece('{"a":1}', 0), AnswerEnded("stop")]


def test_a_tool_of_the_type_s_name_leaves_the_answer_to_the_prompt() -> None:
    named = ToolSpec("City", "Look.", {"type": "object"})
    assert "JSON schema" in str(body("127.0.0.1", settings=FORMAT, tools=[named])["messages"])


def test_errors_of_a_model_are_of_a_type() -> None:
    assert issubclass(DeclarationError, TypeError)
    assert isinstance(resolve("vllm/m"), Model)
    assert ModelError("x").status is None
