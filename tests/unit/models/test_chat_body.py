"""What a conversation looks like in a Chat Completions request."""

import json
from typing import Any

from evented_agent.models import ModelRequest, ToolChoice, ToolSpec
from evented_agent.models.messages import (
    AssistantMessage,
    ImagePart,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from evented_agent.models.openai.chat import chat_body, chat_messages
from evented_agent.models.openai.profiles import profile_of

OPENAI = "api.openai.com"
LOCAL = "127.0.0.1:8000"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = ToolSpec("weather", "Tell the weather.", SCHEMA)


def body(host: str = OPENAI, **request: Any) -> dict[str, Any]:
    return chat_body(
        "m", ModelRequest([UserMessage(content="Hi")], **request), profile_of("m", host)
    )


def test_a_plain_call_asks_for_a_stream_with_usage() -> None:
    assert body() == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream_options": {"include_usage": True},
    }


def test_instructions_come_before_system_messages() -> None:
    assert chat_messages("Be brief.", [SystemMessage(content="In French.")]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "In French."},
    ]


def test_a_user_message_keeps_the_order_of_text_and_images() -> None:
    parts: list[TextPart | ImagePart] = [
        TextPart(text="What is it?"),
        ImagePart(url="https://example.org/a.png"),
    ]

    assert chat_messages("", [UserMessage(content=parts)]) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            ],
        }
    ]


def test_tool_calls_and_their_results_carry_the_same_id() -> None:
    call = ToolCall(id="c1", name="weather", arguments={"city": "Zürich"})

    assert chat_messages(
        "",
        [
            AssistantMessage(tool_calls=[call]),
            ToolMessage(tool_call_id="c1", name="weather", result={"°C": 21}),
        ],
    ) == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Zürich"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"°C":21}'},
    ]


def test_an_assistant_without_calls_has_text_content_even_when_empty() -> None:
    assert chat_messages("", [AssistantMessage()]) == [{"role": "assistant", "content": ""}]


def test_a_text_result_is_not_quoted_and_an_error_is_marked() -> None:
    results = [
        ToolMessage(tool_call_id="c1", name="read", result="line 1\nline 2"),
        ToolMessage(tool_call_id="c2", name="read", result="No such file.", is_error=True),
    ]

    assert [message["content"] for message in chat_messages("", results)] == [
        "line 1\nline 2",
        '{"error":"No such file."}',
    ]


def test_invalid_arguments_are_handed_back_inside_valid_json() -> None:
    call = ToolCall(id="c1", name="weather", invalid='{"city": ')

    (message,) = chat_messages("", [AssistantMessage(tool_calls=[call])])

    arguments = message["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"invalid_json": '{"city": '}


def test_tools_are_offered_without_strictness() -> None:
    assert body(tools=[WEATHER])["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tell the weather.",
                "parameters": SCHEMA,
                "strict": False,
            },
        }
    ]


def test_each_tool_choice_is_written_in_the_apis_words() -> None:
    def written(choice: ToolChoice) -> Any:
        return body(tools=[WEATHER], tool_choice=choice)["tool_choice"]

    assert [written("auto"), written("none"), written("required")] == ["auto", "none", "required"]
    assert written({"tool": "weather"}) == {"type": "function", "function": {"name": "weather"}}


def test_a_call_without_tools_says_nothing_about_tools() -> None:
    sent = body(tool_choice="required", settings={"parallel_tool_calls": False})

    assert not {"tools", "tool_choice", "parallel_tool_calls"} & sent.keys()


def test_settings_keep_their_names_and_unknown_ones_pass_through() -> None:
    settings = {
        "temperature": 0.2,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n"],
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False},
    }

    assert body(settings=settings).items() >= settings.items()


def test_the_limit_of_output_has_the_name_that_the_server_knows() -> None:
    settings = {"max_output_tokens": 50}

    assert body(OPENAI, settings=settings)["max_completion_tokens"] == 50
    assert body(LOCAL, settings=settings)["max_tokens"] == 50
    assert "max_output_tokens" not in body(LOCAL, settings=settings)


def test_a_setting_of_none_removes_what_the_library_sends() -> None:
    assert "stream_options" not in body(settings={"stream_options": None})
