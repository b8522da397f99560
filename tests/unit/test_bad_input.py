"""Whatever is given or found, the answer is a value or a clear error of ours, never a surprise."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evented_agent import (
    Agent,
    DeclarationError,
    EventedAgentError,
    InvalidDecision,
    LedgerUnavailable,
    RunNotFound,
    Runs,
    tool,
)
from evented_agent.agents.run_options import RunOptions
from evented_agent.agents.tools.tool import InvalidArguments
from evented_agent.chunks import Chunk
from evented_agent.chunks.codec import decode
from evented_agent.client.decisions import decision_of
from evented_agent.client.follow import start_of
from evented_agent.ledger.keys import is_run_id
from evented_agent.ledger.records import Record
from evented_agent.models.messages import Message, ToolMessage, UserMessage, parse_messages
from evented_agent.state.fold import fold
from evented_agent.state.journal import load_entry
from evented_agent.testing import ScriptedModel

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@tool
def move(source: str, count: int = 1, where: dict[str, list[float]] | None = None) -> str:
    """Move something."""
    return source * count


@given(st.binary() | json_like.map(lambda value: json.dumps(value).encode()))
def test_a_chunk_is_read_or_stands_there_unreadable(stored: bytes) -> None:
    chunk = decode(1, "1-1", "r", stored)

    assert isinstance(chunk, Chunk)
    assert json.loads(chunk.json_line())["seq"] == 1


@given(st.sampled_from(["text-delta", "step-reset", "tool-call", "finish", "new"]), json_like)
def test_a_chunk_with_a_foreign_payload_is_read_or_unreadable(type_: str, payload: Any) -> None:
    stored = json.dumps([type_, None, payload])

    chunk: Any = decode(1, "1-1", "r", stored)

    kept = chunk.payload["type"] if str(chunk.type) == "unreadable" else chunk.type
    assert kept == type_
    assert json.loads(chunk.sse().split("data: ", 1)[1])["seq"] == 1


def test_what_cannot_be_read_is_kept_as_it_was_stored() -> None:
    deep = json.dumps(["tool-output", "1:tool:a", {"toolCallId": "a", "output": nested(300)}])

    chunk: Any = decode(7, "7-1", "r", deep)

    assert (chunk.seq, str(chunk.type), chunk.ends_topic) == (7, "unreadable", False)
    assert chunk.payload["raw"] == deep
    assert "recursion" in chunk.payload["reason"]
    for stored in (None, b"", b"\xff", "[]", '["text-delta",7,{}]', '["finish",null,{}]'):
        assert str(decode(1, "1-1", "r", stored).type) == "unreadable"


def nested(depth: int) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "refused",
    [nested(70), float("nan"), {1: "a"}, {"a": {3}}, "\ud800", 10**400, object()],
    ids=["deep", "nan", "int-key", "set", "surrogate", "huge", "object"],
)
def test_each_way_in_refuses_what_would_not_come_back(refused: Any) -> None:
    for option in ("context", "model_settings"):
        with pytest.raises(DeclarationError, match=f"The option {option}"):
            RunOptions.parse({option: {"value": refused}})
    call = {"id": "c", "name": "n", "arguments": {"value": refused}}
    for message in (
        {"role": "tool", "tool_call_id": "c", "name": "n", "result": refused},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "assistant", "provider": {"p": refused}},
    ):
        with pytest.raises(DeclarationError, match="The messages are not valid"):
            parse_messages([message])
    with pytest.raises(DeclarationError, match="model_settings is not a JSON object"):
        Agent(id="a", model=ScriptedModel(["Hi."]), model_settings={"value": refused})
    with pytest.raises(InvalidDecision, match="The decision is not JSON"):
        decision_of(Record("r", 0, {}, (), "", ()), None, refused, by=None, most_bytes=1000)


def test_what_is_at_the_limit_of_depth_comes_in_everywhere() -> None:
    value = nested(64)

    [message] = parse_messages(
        [{"role": "tool", "tool_call_id": "c", "name": "n", "result": value}]
    )
    assert isinstance(message, ToolMessage)
    assert message.result == value
    assert RunOptions.load(RunOptions.parse({"context": value}).json()).context == value


@given(st.binary() | json_like.map(lambda value: json.dumps(value).encode()))
def test_a_journal_entry_is_read_or_refused_as_a_value(stored: bytes) -> None:
    with pytest.raises(ValueError, match="A journal entry cannot be read"):
        load_entry(stored)
    with pytest.raises(ValueError, match="A journal entry cannot be read"):
        fold([stored])


@given(st.sampled_from(["turn", "result", "decision"]), st.dictionaries(st.text(), json_like))
def test_a_journal_entry_with_foreign_fields_is_read_or_refused(kind: str, rest: Any) -> None:
    stored = json.dumps({"step": 1, "call": "c", "name": "n", "follows": "step", **rest, "k": kind})
    try:
        load_entry(stored)
    except ValueError as error:
        assert "A journal entry cannot be read" in str(error)  # noqa: PT017 - or none at all


@given(anything)
def test_messages_are_taken_or_refused_with_what_is_wrong(given_messages: Any) -> None:
    try:
        messages: Any = parse_messages(given_messages)
    except EventedAgentError as error:
        assert "messages" in str(error)  # noqa: PT017 - or none at all
        return
    assert all(isinstance(message, Message.__args__[0].__args__) for message in messages)


@given(st.dictionaries(st.sampled_from([*RunOptions.model_fields, "no_such_option"]), anything))
def test_options_are_taken_or_refused_by_name(options: dict[str, Any]) -> None:
    try:
        parsed = RunOptions.parse(options)
    except EventedAgentError as error:
        assert "option" in str(error)  # noqa: PT017 - or none at all
        return
    assert RunOptions.load(parsed.json()) == RunOptions.load(parsed.json())


@given(anything)
def test_arguments_are_taken_or_refused_for_the_model_to_see(arguments: Any) -> None:
    try:
        assert isinstance(move.validate(arguments)["source"], str)
    except InvalidArguments as error:
        assert str(error)  # noqa: PT017 - or none at all


@given(anything)
def test_a_cursor_is_taken_or_refused(after: Any) -> None:
    try:
        start_of(after)
    except ValueError as error:
        assert "is no cursor" in str(error)  # noqa: PT017 - or none at all


@settings(max_examples=30)
@given(anything)
def test_an_id_is_refused_before_anything_connects(run_id: Any) -> None:
    runs = Runs("redis://127.0.0.1:1/0")
    with pytest.raises(RunNotFound if not is_run_id(run_id) else LedgerUnavailable):
        runs.get(run_id)


def test_deep_nesting_is_refused_and_not_followed() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(EventedAgentError):
        RunOptions.parse({"context": deep})
    circular: list[Any] = []
    circular.append(circular)
    with pytest.raises(EventedAgentError):
        RunOptions.parse({"context": circular})
    with pytest.raises(EventedAgentError):
        parse_messages([{"role": "user", "content": deep}])


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "\uffff", "x" * 100_000])
def test_odd_text_is_kept_or_refused(text: str) -> None:
    try:
        [message] = parse_messages(text)
    except EventedAgentError:
        return
    assert message == UserMessage(content=text)
