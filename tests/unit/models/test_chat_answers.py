"""What a Chat Completions stream says, from OpenAI and from servers that differ."""

from typing import Any

import pytest

from evented_agent.chunks import Usage
from evented_agent.models import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    ModelEvent,
    ModelRequest,
    OpenAIChat,
    ReasoningPiece,
    TextPiece,
)
from evented_agent.models.messages import UserMessage
from tests.unit.models.conftest import KEY
from tests.unit.models.peer import END, STREAM, Peer, answer, ask, drop, events, failure


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def call(index: int | None, **function: Any) -> dict[str, Any]:
    call_id = function.pop("id", None)
    entry = {"index": index, "id": call_id, "function": function}
    return {name: value for name, value in entry.items() if value is not None}


def said(peer: Peer, *chunks: Any) -> list[ModelEvent]:
    peer.reply(answer(*chunks, "[DONE]"))
    return ask(OpenAIChat("m", base_url=peer.url))


def test_the_request_is_streamed_and_signed_with_the_key_of_the_moment(peer: Peer) -> None:
    said(peer, delta("stop", content="Hi"))

    (asked,) = peer.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body["stream"] is True
    assert asked.body["messages"] == [{"role": "user", "content": "Hello"}]


def test_text_is_followed_by_the_end_with_all_tokens_counted(peer: Peer) -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }

    assert said(
        peer,
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(content="lo"),
        delta("stop"),
        {"choices": [], "usage": usage},
    ) == [
        TextPiece("Hel"),
        TextPiece("lo"),
        AnswerEnded(
            "stop",
            Usage(
                input_tokens=10,
                output_tokens=20,
                total_tokens=30,
                reasoning_tokens=5,
                cached_input_tokens=4,
            ),
        ),
    ]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_told_apart_from_text(peer: Peer, field: str) -> None:
    thought = delta(**{field: "Hm."})

    *pieces, end = said(peer, thought, delta("stop", content="Yes"))

    assert pieces == [ReasoningPiece("Hm."), TextPiece("Yes")]
    assert isinstance(end, AnswerEnded)
    assert end.provider["openai-chat"]["reasoning"] == [field]


def test_a_refusal_is_text(peer: Peer) -> None:
    assert said(peer, delta("stop", refusal="I can't."))[0] == TextPiece("I can't.")


def test_parallel_calls_are_told_apart_by_their_index(peer: Peer) -> None:
    assert said(
        peer,
        delta(tool_calls=[call(0, id="c1", name="a", arguments="")]),
        delta(tool_calls=[call(0, arguments='{"x"')]),
        delta(tool_calls=[call(1, id="c2", name="b", arguments="")]),
        delta(tool_calls=[call(1, arguments="{}"), call(0, arguments=":1}")]),
        delta("tool_calls"),
    ) == [
        CallStarted(0, "c1", "a"),
        CallPiece(0, '{"x"'),
        CallStarted(1, "c2", "b"),
        CallPiece(1, "{}"),
        CallPiece(0, ":1}"),
        AnswerEnded("tool-calls"),
    ]


@pytest.mark.parametrize("index", [0, None])
def test_whole_calls_that_share_an_index_are_told_apart_by_their_ids(
    peer: Peer, index: int | None
) -> None:
    assert said(
        peer,
        delta(tool_calls=[call(index, id="c1", name="a", arguments={"x": 1})]),
        delta("stop", tool_calls=[call(index, id="c2", name="a", arguments="{}")]),
    ) == [
        CallStarted(0, "c1", "a"),
        CallPiece(0, '{"x": 1}'),
        CallStarted(1, "c2", "a"),
        CallPiece(1, "{}"),
        AnswerEnded("tool-calls"),
    ]


def test_a_call_whose_name_is_repeated_is_one_call(peer: Peer) -> None:
    assert said(
        peer,
        delta(tool_calls=[call(0, id="c1", name="a", arguments="{")]),
        delta("tool_calls", tool_calls=[call(0, id="", name="a", arguments="}")]),
    ) == [
        CallStarted(0, "c1", "a"),
        CallPiece(0, "{"),
        CallPiece(0, "}"),
        AnswerEnded("tool-calls"),
    ]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content-filter"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("tool_use", "tool-calls"),
        ("max_tokens", "length"),
        ("SAFETY", "content-filter"),
        ("abort", "other"),
    ],
)
def test_each_finish_reason_has_our_name(peer: Peer, theirs: str, ours: str) -> None:
    assert said(peer, delta(theirs)) == [AnswerEnded(ours)]  # type: ignore[arg-type]


def test_a_stream_that_ends_without_a_finish_reason_was_cut_off(peer: Peer) -> None:
    peer.reply(answer(delta(content="Hel"), "[DONE]"))

    error = failure(OpenAIChat("m", base_url=peer.url))

    assert error.retryable
    assert "ended its stream before the answer was complete" in str(error)


def test_a_connection_lost_after_the_finish_reason_costs_nothing(peer: Peer) -> None:
    peer.reply(STREAM, events(delta(content="Hi"), delta("stop")), drop)

    assert ask(OpenAIChat("m", base_url=peer.url)) == [TextPiece("Hi"), AnswerEnded("stop")]


def test_a_server_that_forgets_to_end_the_stream_does_not_hold_up_the_answer(peer: Peer) -> None:
    peer.reply(STREAM, events(delta(content="Hi"), delta("stop")), peer.wait_for_end)

    assert ask(OpenAIChat("m", base_url=peer.url)) == [TextPiece("Hi"), AnswerEnded("stop")]


@pytest.mark.parametrize(
    "broken",
    ["{not json", "17", '{"choices": [{"delta": {"content": [1]}}]}', '{"choices": {"a": 1}}'],
)
def test_a_chunk_that_cannot_be_read_is_worth_another_try(peer: Peer, broken: str) -> None:
    peer.reply(answer(delta(content="Hel"), broken))

    error = failure(OpenAIChat("m", base_url=peer.url))

    assert error.retryable
    assert "sent a chunk that cannot be read" in str(error)


def test_bytes_that_are_no_text_are_worth_another_try(peer: Peer) -> None:
    peer.reply(STREAM, b"9\r\ndata: \xff\n\n\r\n", END)

    assert failure(OpenAIChat("m", base_url=peer.url)).retryable


@pytest.mark.parametrize(
    "told",
    [
        {"error": {"message": "overloaded", "code": 503}},
        {"object": "error", "message": "overloaded", "code": 503},
    ],
)
def test_an_error_told_inside_the_stream_is_raised(peer: Peer, told: dict[str, Any]) -> None:
    peer.reply(answer(delta(content="Hel"), told))

    error = failure(OpenAIChat("m", base_url=peer.url))

    assert error.retryable
    assert str(error).endswith("reported 503: overloaded")


def test_a_setting_that_would_break_the_call_is_refused_by_name(peer: Peer) -> None:
    request = ModelRequest([UserMessage(content="Hi")], settings={"stream": False, "n": 2})

    error = failure(OpenAIChat("m", base_url=peer.url), request)

    assert str(error).startswith("openai-chat/m: the library itself sets n, stream.")
    assert not error.retryable
