"""Streams that say a thing twice, late, in odd places or under no name: it is heard once."""

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from evented_agent.errors import ContextTooLong
from evented_agent.models import (
    AnswerEnded,
    ModelEvent,
    OpenAIChat,
    OpenAIResponses,
    TextPiece,
)
from tests.unit.models.peer import END, STREAM, Peer, answer, ask, chunk, events, failure, refusal
from tests.unit.models.test_provider_kinds import (
    PARALLEL,
    calls,
    completed,
    delta,
    event,
    heard,
    message,
    piece,
    turn_of,
)


def text_of(said: Sequence[ModelEvent]) -> str:
    return "".join(each.text for each in said if isinstance(each, TextPiece))


def told_in_responses(peer: Peer, *chunks: Any) -> Sequence[ModelEvent]:
    peer.reply(answer(*chunks))
    return ask(OpenAIResponses("m", base_url=peer.url))


# A whole message behind its pieces


@pytest.mark.parametrize("pieces", [["Hel", "lo"], ["Hello"], ["Hel"]])
def test_a_whole_message_behind_its_pieces_adds_what_they_lack(
    peer: Peer, pieces: list[str]
) -> None:
    whole = {"role": "assistant", "content": "Hello", "tool_calls": [piece("a", '{"x":1}')]}
    last = {"index": 0, "delta": {}, "message": whole, "finish_reason": "stop"}

    turn = heard(peer, *(delta(content=each) for each in pieces), {"choices": [last]})

    assert (turn.texts, calls(turn)) == (("Hello",), [("a", {"x": 1})])


def test_calls_of_a_whole_message_behind_its_pieces_are_not_made_twice(peer: Peer) -> None:
    call = piece("a", '{"x":1}', index=0, id="c1")
    whole = {"content": None, "reasoning_content": "Hm.", "tool_calls": [call]}
    last = {"delta": None, "message": whole, "finish_reason": "tool_calls"}

    turn = heard(
        peer, delta(reasoning_content="Hm."), delta(tool_calls=[call]), {"choices": [last]}
    )

    assert (calls(turn), turn.reasoning) == ([("a", {"x": 1})], "Hm.")


# A finish reason with each piece


def test_text_behind_a_finish_reason_is_part_of_the_answer_however_late(peer: Peer) -> None:
    def pause(_: Any) -> None:
        # Longer than a complete answer waits for the end of its stream.
        time.sleep(1.2)

    peer.reply(
        STREAM,
        events(delta("stop", content="Hel")),
        pause,
        events(delta("stop", content="lo")),
        END,
    )

    assert text_of(ask(OpenAIChat("m", base_url=peer.url))) == "Hello"


def test_a_connection_that_is_lost_between_two_finish_reasons_loses_text(peer: Peer) -> None:
    def drop_off(_: Any) -> None:
        raise ConnectionAbortedError

    said = [delta("stop", content="Hel"), delta("stop", content="lo")]
    peer.reply(STREAM, events(*said), drop_off)

    assert failure(OpenAIChat("m", base_url=peer.url)).retryable


# Bodies

TOLD = message("Hello")


@pytest.mark.parametrize("cut", [1, 3, 1000])
@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_first_and_the_last_event_of_a_body_count(
    peer: Peer, mark: str, end: str, cut: int
) -> None:
    said = [delta(content="Hel"), delta("stop", content="lo")]
    lines = "\n\n".join(f"data: {json.dumps(each)}" for each in said)
    body = f"{mark}{lines}{end}".encode()
    peer.reply(STREAM, chunk(body[:cut]), *([chunk(body[cut:])] if body[cut:] else []), END)

    assert text_of(ask(OpenAIChat("m", base_url=peer.url))) == "Hello"


CALLED = {"type": "function", "function": {"name": "a", "arguments": '{"x":1}'}, "id": "c1"}


def test_a_completion_in_place_of_a_stream_is_the_answer(peer: Peer) -> None:
    whole = {"role": "assistant", "content": "Hello", "tool_calls": [CALLED]}
    choice = {"index": 0, "message": whole, "finish_reason": "tool_calls"}
    peer.reply(refusal(200, {"choices": [choice], "usage": {"total_tokens": 7}}))

    turn = turn_of(ask(OpenAIChat("m", base_url=peer.url)))

    assert (turn.texts, calls(turn), turn.reason) == (("Hello",), [("a", {"x": 1})], "tool-calls")
    assert turn.usage.total_tokens == 7


def test_a_response_in_place_of_a_stream_is_the_answer(peer: Peer) -> None:
    peer.reply(refusal(200, {"object": "response", "status": "completed", "output": [TOLD]}))
    assert turn_of(ask(OpenAIResponses("m", base_url=peer.url))).texts == ("Hello",)


@pytest.mark.parametrize("model", [OpenAIChat, OpenAIResponses])
@pytest.mark.parametrize(
    "body", [{}, {"object": "list"}, {"choices": []}, {"status": "queued"}, [1], "{", "null"]
)
def test_what_is_no_answer_in_place_of_a_stream_is_an_error(
    peer: Peer, model: type[OpenAIChat | OpenAIResponses], body: Any
) -> None:
    peer.reply(refusal(200, body))
    error = failure(model("m", base_url=peer.url))
    assert "application/json instead of an event stream" in str(error)
    assert not error.retryable


# Errors that are not said to be one


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b'event: error\ndata: {"message": "overloaded", "code": 503}\n\n', "503: overloaded"),
        (b"event: error\ndata: overloaded\n\n", "an error: overloaded"),
        (b'event: error\ndata: {"error": {"message": "overloaded"}}\n\n', "error: overloaded"),
        (b'data: {"type": "error", "message": "overloaded"}\n\n', "error: overloaded"),
        (b'data: {"code": 503, "message": "overloaded"}\n\n', "503: overloaded"),
        (b'data: {"detail": "overloaded"}\n\n', "an error: overloaded"),
    ],
)
def test_an_error_in_a_stream_is_told_whatever_its_form(
    peer: Peer, told: bytes, words: str
) -> None:
    peer.reply(STREAM + events(delta(content="Hel")) + chunk(told) + END)

    error = failure(OpenAIChat("m", base_url=peer.url))

    assert words in str(error)
    assert error.retryable


def test_an_error_in_a_stream_that_will_come_again_is_not_asked_for_again(peer: Peer) -> None:
    told = {"message": "maximum context length is 4096 tokens", "code": 400}
    peer.reply(STREAM + events(delta(content="Hel"), told) + END)

    error = failure(OpenAIChat("m", base_url=peer.url))

    assert isinstance(error, ContextTooLong)
    assert not error.retryable


def test_an_error_behind_a_complete_answer_costs_nothing(peer: Peer) -> None:
    turn = heard(peer, delta(content="Yes"), delta("stop"), {"detail": "too late"})
    assert turn.texts == ("Yes",)


def test_a_code_of_thousands_of_digits_is_an_error_like_others(peer: Peer) -> None:
    peer.reply(answer({"error": {"message": "no", "code": "9" * 5000}}))
    assert "reported 999" in str(failure(OpenAIChat("m", base_url=peer.url)))


# Calls


@pytest.mark.parametrize(
    "entries",
    [
        [piece(index=0, id="c1"), piece("a", '{"x":1}', index=0)],
        [piece(None, '{"x"', index=0, id="c1"), piece("a", ":1}", index=0)],
        [piece("a", '{"x":', index=0, id="c1"), piece(None, "1}")],
    ],
)
def test_a_call_whose_name_comes_late_or_index_once_is_one_call(
    peer: Peer, entries: list[dict[str, Any]]
) -> None:
    turn = heard(peer, *(delta(tool_calls=[each]) for each in entries), delta("tool_calls"))
    assert calls(turn) == [("a", {"x": 1})]


def test_a_call_that_never_gets_a_name_is_malformed(peer: Peer) -> None:
    unnamed = delta(tool_calls=[piece(None, "{}", index=0, id="c1")])
    peer.reply(answer(unnamed, delta("tool_calls")))
    assert "a call has no name" in str(failure(OpenAIChat("m", base_url=peer.url)))


# Nulls, and counts


def test_null_is_nothing_wherever_it_stands(peer: Peer) -> None:
    nulls = ["null", {"choices": [None]}, delta(tool_calls=[None]), {"choices": None}]
    assert heard(peer, delta(content="Yes"), *nulls, delta("stop")).texts == ("Yes",)


def test_a_count_of_nothing_does_not_replace_one(peer: Peer) -> None:
    counts = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    counted = [{"choices": [], "usage": each} for each in (counts, dict.fromkeys(counts, 0))]
    turn = heard(peer, delta(content="Yes"), delta("stop"), *counted)
    assert turn.usage.total_tokens == 7


# Responses

SAYS = event("output_text.delta", delta="Yes")


def items_told(kind: str, ids: Sequence[str], **more: Any) -> list[dict[str, Any]]:
    """Two items as a server tells them, each from its beginning to its end."""
    told: list[dict[str, Any]] = []
    for at, (id_, (name, arguments)) in enumerate(zip(ids, PARALLEL, strict=True)):
        text = json.dumps(arguments)
        place = {"output_index": at, **more}
        item = {"type": "function_call", "id": id_, "call_id": f"c{at}", "name": name}
        whole: dict[str, Any] = {**item, "arguments": text}
        if kind == "message":
            whole = message(text, id=id_)
            item = message([], id=id_)
        delta_of = "output_text" if kind == "message" else "function_call_arguments"
        told += [
            event("output_item.added", item={**item, "arguments": ""}, **place),
            event(f"{delta_of}.delta", item_id=id_, delta=text, **place),
            event("output_item.done", item=whole, **place),
        ]
    return told


@pytest.mark.parametrize("more", [{}, {"output_index": 0}])
@pytest.mark.parametrize("ids", [["fc", "fc"], ["fc0", "fc1"]])
def test_two_calls_whose_items_have_one_id_are_two(
    peer: Peer, ids: list[str], more: dict[str, Any]
) -> None:
    turn = turn_of(told_in_responses(peer, *items_told("call", ids, **more), completed()))
    assert calls(turn) == PARALLEL


def test_two_messages_whose_items_have_one_id_are_two(peer: Peer) -> None:
    texts = [json.dumps(arguments) for _, arguments in PARALLEL]
    whole = completed(*(message(text, id="msg") for text in texts))
    told = items_told("message", ["msg", "msg"])
    assert turn_of(told_in_responses(peer, *told, whole)).texts == tuple(texts)


def test_arguments_that_are_an_object_are_what_the_tool_is_called_with(peer: Peer) -> None:
    item = {"type": "function_call", "call_id": "c", "name": "a", "arguments": {"x": 1}}
    assert calls(turn_of(told_in_responses(peer, completed(item)))) == [("a", {"x": 1})]


@pytest.mark.parametrize(
    "told",
    [
        [event("content_part.done", part={"type": "output_text", "text": "Yes"}), completed()],
        [event("output_item.done", item={"type": "message", "content": "Yes"}), completed()],
        [SAYS, completed({"type": "message", "content": [None]})],
        [SAYS, "null", {}, event("completed", response={"output": [None]})],
        [event("output_item.added", item=None), event("output_item.done"), SAYS, completed()],
    ],
)
def test_what_stands_in_an_odd_place_or_nowhere_loses_no_text(peer: Peer, told: list[Any]) -> None:
    said = told_in_responses(peer, *told)
    assert (text_of(said), isinstance(said[-1], AnswerEnded)) == ("Yes", True)
