"""Every message that can be passed is read back as it was: laws, and shapes that people have."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.errors import DeclarationError
from evented_agent.models.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    dump_messages,
    load_messages,
    parse_messages,
)
from evented_agent.state.journal import History, dump_entry, load_entry

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
PARTS = st.builds(TextPart, text=TEXT) | st.builds(
    ImagePart, url=TEXT, detail=st.sampled_from([None, "low"])
)
CALLS = st.builds(
    ToolCall,
    id=TEXT,
    name=TEXT,
    arguments=OBJECT,
    invalid=st.none() | TEXT,
    background=st.none() | OBJECT,
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(SystemMessage, content=TEXT),
    st.builds(UserMessage, content=TEXT | st.lists(PARTS, max_size=3)),
    st.builds(
        AssistantMessage,
        content=TEXT,
        reasoning=TEXT,
        tool_calls=st.lists(CALLS, max_size=2),
        provider=OBJECT,
    ),
    st.builds(ToolMessage, tool_call_id=TEXT, name=TEXT, result=JSON, is_error=st.booleans()),
)
#: What is asked last must not be empty.
PASSED = st.builds(
    lambda before, last: [*before, UserMessage(content=f"{last}.")],
    st.lists(MESSAGES, max_size=3),
    TEXT,
)


@given(PASSED)
def test_what_can_be_passed_survives_being_stored_in_a_record_a_thread_and_a_journal(
    messages: list[Message],
) -> None:
    assert parse_messages(messages) == messages
    stored = json.loads(json.dumps(dump_messages(messages)))
    assert load_messages(stored) == messages
    # As `messages()` of a result gives them back to `stream`.
    assert parse_messages(stored) == messages
    assert load_entry(dump_entry(History(messages))) == History(messages)


@given(PASSED)
def test_a_full_dump_of_a_message_is_taken_back(messages: list[Message]) -> None:
    assert parse_messages([message.model_dump() for message in messages]) == messages


def test_parts_that_an_older_version_stored_without_their_type_are_read() -> None:
    stored = [{"role": "user", "content": [{"text": "Look:"}, {"url": "data:image/png;base64,AA"}]}]
    [message] = load_messages(stored)
    text, image = TextPart(text="Look:"), ImagePart(url="data:image/png;base64,AA")
    assert message == UserMessage(content=[text, image])


CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"role": "developer", "content": "Be brief."}, SystemMessage(content="Be brief.")),
        (
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            SystemMessage(content="Be brief."),
        ),
        (
            {"role": "user", "name": "ann", "content": "Hi."},
            UserMessage(content="Hi."),
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Hi."},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                    {"type": "input_image", "image_url": "https://x/z.png"},
                ],
            },
            UserMessage(
                content=[
                    TextPart(text="Hi."),
                    ImagePart(url="https://x/y.png", detail="low"),
                    ImagePart(url="https://x/z.png"),
                ]
            ),
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
            AssistantMessage(tool_calls=[ToolCall(id="c1", name="add", arguments={"a": 1})]),
        ),
        (
            {"role": "assistant", "content": None, "refusal": "No.", "audio": None},
            AssistantMessage(content="No."),
        ),
        (
            {"role": "assistant", "content": "Hm.", "reasoning_content": "Well."},
            AssistantMessage(content="Hm.", reasoning="Well."),
        ),
        (
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
            ToolMessage(tool_call_id="c1", name="tool", result="3"),
        ),
        (
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "not JSON"},
            AssistantMessage(tool_calls=[ToolCall(id="c1", name="add", invalid="not JSON")]),
        ),
        (
            {"type": "function_call_output", "call_id": "c1", "output": "3"},
            ToolMessage(tool_call_id="c1", name="tool", result="3"),
        ),
    ],
)
def test_histories_in_openai_s_own_shape_are_accepted(given: dict[str, Any], read: Message) -> None:
    assert parse_messages([given]) == [read]


def test_a_result_in_openai_s_shape_knows_its_tool_from_the_call() -> None:
    result = {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "3"}]}
    messages = parse_messages(
        [{"role": "assistant", "content": None, "tool_calls": [CALL]}, result]
    )
    assert messages[1] == ToolMessage(tool_call_id="c1", name="add", result="3")


@pytest.mark.parametrize(
    "given",
    [
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": 3},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {}}]},
        {"role": "tool", "content": "3"},
        {"role": "narrator", "content": "Once upon a time."},
        3,
    ],
)
def test_what_is_no_message_is_refused_with_its_place(given: Any) -> None:
    with pytest.raises(DeclarationError, match="at 0"):
        parse_messages([given])


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 20_000 + "1" + "}" * 20_000])
def test_arguments_too_deep_to_be_read_are_kept_as_what_the_model_wrote(deep: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": deep}}

    (message,) = parse_messages([{"role": "assistant", "content": None, "tool_calls": [call]}])

    assert isinstance(message, AssistantMessage)
    assert message.tool_calls == [ToolCall(id="c1", name="add", invalid=deep)]
