"""What a conversation looks like in a Responses request."""

from typing import Any

import pytest

from evented_agent.models import ModelRequest, ToolSpec
from evented_agent.models.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from evented_agent.models.openai.profiles import profile_of
from evented_agent.models.openai.responses import responses_body, responses_input

ORIGIN = "gpt-5.5 at api.openai.com"
SCHEMA = {"type": "object", "properties": {}}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}


def body(model: str = "gpt-5.5", **request: Any) -> dict[str, Any]:
    asked = ModelRequest([UserMessage(content="Hi")], **request)
    return responses_body(model, asked, profile_of(model, "api.openai.com"), ORIGIN)


def items(*messages: Message) -> list[dict[str, Any]]:
    return responses_input(messages, ORIGIN)


def thought(*kept: dict[str, Any], origin: str = ORIGIN) -> dict[str, Any]:
    return {"openai": {"origin": origin, "items": list(kept)}}


def test_a_plain_call_stores_nothing_and_wants_its_reasoning_back() -> None:
    assert body(instructions="Be brief.") == {
        "model": "gpt-5.5",
        "input": [{"role": "user", "content": "Hi"}],
        "instructions": "Be brief.",
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


@pytest.mark.parametrize("model", ["gpt-4.1-mini", "gpt-4o", "ft:gpt-4o:us", "gpt-5-chat-latest"])
def test_models_without_reasoning_are_not_asked_for_it(model: str) -> None:
    assert "include" not in body(model)


def test_every_message_becomes_the_apis_items() -> None:
    call = ToolCall(id="c1", name="weather", arguments={"city": "Rome"})
    parts: list[TextPart | ImagePart] = [
        TextPart(text="And this?"),
        ImagePart(url="data:image/png;base64,AA=="),
    ]

    assert items(
        SystemMessage(content="In French."),
        UserMessage(content="Weather?"),
        AssistantMessage(content="I look.", tool_calls=[call]),
        ToolMessage(tool_call_id="c1", name="weather", result=[21]),
        ToolMessage(tool_call_id="c2", name="weather", result="broken", is_error=True),
        UserMessage(content=parts),
    ) == [
        {"role": "system", "content": "In French."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "I look."},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "weather",
            "arguments": '{"city":"Rome"}',
        },
        {"type": "function_call_output", "call_id": "c1", "output": "[21]"},
        {"type": "function_call_output", "call_id": "c2", "output": '{"error":"broken"}'},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "And this?"},
                {
                    "type": "input_image",
                    "image_url": "data:image/png;base64,AA==",
                    "detail": "auto",
                },
            ],
        },
    ]


def test_reasoning_goes_back_to_the_place_it_had() -> None:
    second = {**REASONING, "id": "rs_2"}
    kept = (
        REASONING,
        {"type": "message", "phase": "commentary"},
        second,
        {"type": "function_call"},
        {"type": "function_call"},
    )
    calls = [ToolCall(id="c1", name="a"), ToolCall(id="c2", name="b")]

    sent = items(AssistantMessage(content="Hm.", tool_calls=calls, provider=thought(*kept)))

    assert sent == [
        REASONING,
        {"role": "assistant", "content": "Hm.", "phase": "commentary"},
        second,
        {"type": "function_call", "call_id": "c1", "name": "a", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "b", "arguments": "{}"},
    ]


def test_reasoning_of_another_model_or_server_stays_away() -> None:
    provider = thought(REASONING, {"type": "message"}, origin="gpt-5.5 at elsewhere.example")

    sent = items(AssistantMessage(content="Hm.", provider=provider))

    assert sent == [{"role": "assistant", "content": "Hm."}]


def test_reasoning_that_no_longer_fits_its_message_stays_away() -> None:
    provider = thought(REASONING, {"type": "message"}, {"type": "function_call"})

    sent = items(AssistantMessage(content="Hm.", provider=provider))

    assert sent == [{"role": "assistant", "content": "Hm."}]


def test_tools_and_the_choice_of_one_are_flat() -> None:
    sent = body(tools=[ToolSpec("look", "Look.", SCHEMA)], tool_choice={"tool": "look"})

    assert sent["tools"] == [
        {
            "type": "function",
            "name": "look",
            "description": "Look.",
            "parameters": SCHEMA,
            "strict": False,
        }
    ]
    assert sent["tool_choice"] == {"type": "function", "name": "look"}


def test_settings_move_to_where_the_api_keeps_them() -> None:
    sent = body(
        settings={
            "temperature": 0.2,
            "max_output_tokens": 50,
            "reasoning_effort": "high",
            "reasoning_summary": "auto",
            "verbosity": "low",
            "parallel_tool_calls": False,
            "service_tier": "flex",
        }
    )

    assert sent["reasoning"] == {"effort": "high", "summary": "auto"}
    assert sent["text"] == {"verbosity": "low"}
    kept = {"temperature": 0.2, "max_output_tokens": 50, "parallel_tool_calls": False}
    assert sent.items() >= {**kept, "service_tier": "flex"}.items()
    assert not {"reasoning_effort", "reasoning_summary", "verbosity"} & sent.keys()


def test_a_response_format_is_written_as_the_responses_api_wants_it() -> None:
    schema = {"name": "answer", "schema": SCHEMA, "strict": True}

    sent = body(settings={"response_format": {"type": "json_schema", "json_schema": schema}})

    assert sent["text"] == {"format": {"type": "json_schema", **schema}}
    plain = body(settings={"response_format": {"type": "json_object"}})
    assert plain["text"] == {"format": {"type": "json_object"}}


def test_what_a_caller_includes_is_added() -> None:
    sent = body(settings={"include": ["message.output_text.logprobs"]})

    assert sent["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]
