"""Whatever is given or found, the answer is a value or a clear error of ours, never a surprise."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evented_agent import EventedAgentError, LedgerUnavailable, RunNotFound, Runs, tool
from evented_agent.agents.run_options import RunOptions
from evented_agent.agents.tools.tool import InvalidArguments
from evented_agent.chunks import Chunk
from evented_agent.chunks.codec import decode
from evented_agent.client.follow import start_of
from evented_agent.ledger.keys import is_run_id
from evented_agent.models.messages import Message, UserMessage, parse_messages
from evented_agent.state.fold import fold
from evented_agent.state.journal import load_entry

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
def test_a_chunk_is_read_or_refused_as_a_value(stored: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode(1, "1-1", "r", stored), Chunk)


@given(st.sampled_from(["text-delta", "step-reset", "tool-call", "finish", "new"]), json_like)
def test_a_chunk_with_a_foreign_payload_is_read_or_refused(type_: str, payload: Any) -> None:
    stored = json.dumps([type_, None, payload])
    try:
        chunk = decode(1, "1-1", "r", stored)
    except ValueError:
        return
    assert chunk.type == type_
    assert json.loads(chunk.sse().split("data: ", 1)[1])["seq"] == 1


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
