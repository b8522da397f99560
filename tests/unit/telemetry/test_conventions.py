"""Names and values as the GenAI conventions have them."""

import json

import pytest

from evented_agent.chunks import Usage
from evented_agent.errors import ModelError
from evented_agent.models.messages import (
    AssistantMessage,
    ImagePart,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from evented_agent.models.protocol import ModelRequest, ToolSpec
from evented_agent.state.journal import Turn
from evented_agent.telemetry import content, conventions
from evented_agent.telemetry.measuring import by_modality


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("openai/gpt-5.5", "openai", "gpt-5.5"),
        ("openai-chat/gpt-5.5", "openai", "gpt-5.5"),
        ("azure/gpt-5.5", "azure.ai.openai", "gpt-5.5"),
        ("openrouter/anthropic/claude", "openrouter", "anthropic/claude"),
        ("mine", "mine", "mine"),
    ],
)
def test_a_model_is_named_by_its_provider_and_its_own_name(
    name: str, provider: str, model: str
) -> None:
    assert conventions.model_attributes(name, ("api.example", 443)) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "server.address": "api.example",
        "server.port": 443,
    }


def test_settings_have_the_names_of_the_conventions() -> None:
    settings = {
        "temperature": 0,
        "max_output_tokens": 100,
        "seed": 7,
        "reasoning": {"effort": "low"},
        "stop": "END",
        "response_format": {"type": "json_schema"},
        "top_p": [1],
        "presence_penalty": True,
        "extra_headers": {"x": "secret"},
    }
    assert conventions.request_attributes(ModelRequest([], settings=settings)) == {
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.seed": 7,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.output.type": "json",
    }


def test_tokens_are_told_apart_as_the_provider_did() -> None:
    usage = Usage(
        input_tokens=100,
        output_tokens=50,
        total_tokens=150,
        reasoning_tokens=30,
        cached_input_tokens=40,
        input_audio_tokens=10,
    )
    named = conventions.usage_attributes(usage)
    assert named == {
        "input_tokens": 100,
        "output_tokens": 50,
        "cache_read.input_tokens": 40,
        "reasoning.output_tokens": 30,
        "audio.input_tokens": 10,
    }
    assert by_modality(named) == [
        (("input_tokens", "audio"), 10),
        (("input_tokens", "unknown"), 90),
        (("output_tokens", "unknown"), 50),
        (("cache_read.input_tokens", "unknown"), 40),
        (("reasoning.output_tokens", "unknown"), 30),
    ]
    nothing = [(("input_tokens", "unknown"), 0), (("output_tokens", "unknown"), 0)]
    assert by_modality({}) == nothing


@pytest.mark.parametrize(
    ("reason", "said"),
    [("tool-calls", "tool_call"), ("stop", "stop"), ("abort", "error"), ("other", "other")],
)
def test_reasons_have_the_names_of_the_conventions(reason: str, said: str) -> None:
    assert conventions.finish_reason(reason) == said


def test_an_error_is_a_status_or_a_class() -> None:
    assert conventions.error_type(ModelError("no", status=429)) == "429"
    assert conventions.error_type(KeyError("x")) == "KeyError"


def test_messages_have_the_form_of_the_conventions() -> None:
    call = ToolCall(id="c", name="add", arguments={"a": 1})
    request = ModelRequest(
        [
            SystemMessage(content="Be kind."),
            UserMessage(content="Hi"),
            UserMessage(
                content=[
                    TextPart(text="See"),
                    ImagePart(url="https://x/a,b.png"),
                    ImagePart(url="data:image/png;base64,AAAA"),
                ]
            ),
            AssistantMessage(content="Sure.", reasoning="Hm.", tool_calls=[call]),
            ToolMessage(tool_call_id="c", name="add", result=[1]),
        ],
        instructions="Be brief.",
        tools=[ToolSpec("add", "Adds.", {"type": "object"})],
    )
    found = {name: json.loads(str(v)) for name, v in content.request_content(request).items()}
    assert found["gen_ai.system_instructions"] == [{"type": "text", "content": "Be brief."}]
    assert found["gen_ai.tool.definitions"][0]["name"] == "add"
    assert [message["role"] for message in found["gen_ai.input.messages"]] == [
        *("system", "user", "user", "assistant", "tool"),
    ]
    parts = [part for message in found["gen_ai.input.messages"] for part in message["parts"]]
    assert [part["type"] for part in parts] == [
        *("text", "text", "text", "uri", "uri", "reasoning", "text", "tool_call"),
        "tool_call_response",
    ]
    assert [p["uri"] for p in parts if "uri" in p] == ["https://x/a,b.png", "data:image/png;base64"]
    assert parts[-2:] == [
        {"type": "tool_call", "id": "c", "name": "add", "arguments": {"a": 1}},
        {"type": "tool_call_response", "id": "c", "response": [1]},
    ]
    turn = Turn(step=1, texts=["Hello."], calls=[], reason="stop")
    [answer] = json.loads(str(content.answer_content(turn)["gen_ai.output.messages"]))
    assert answer == {
        "role": "assistant",
        "parts": [{"type": "text", "content": "Hello."}],
        "finish_reason": "stop",
    }


@pytest.mark.parametrize(
    ("value", "is_wanted"),
    [
        ("", False),
        ("no_content", False),
        ("event_only", False),
        ("false", False),
        ("yes", False),
        ("true", True),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
    ],
)
def test_content_is_recorded_where_the_variable_says_so(
    value: str, is_wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(content.VARIABLE, value)
    assert content.is_wanted() is is_wanted
