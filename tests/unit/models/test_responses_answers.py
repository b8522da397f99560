"""What a Responses stream says."""

from typing import Any

import pytest

from evented_agent.chunks import Usage
from evented_agent.models import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    ModelEvent,
    ModelRequest,
    OpenAIResponses,
    ReasoningPiece,
    TextPiece,
)
from evented_agent.models.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tests.unit.models.peer import END, STREAM, Peer, answer, ask, events, failure

COMPLETED = {"type": "response.completed", "response": {"status": "completed"}}


def event(kind: str, output: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": output, **fields}


def text(delta: str, output: int = 0, content: int = 0) -> dict[str, Any]:
    return event("output_text.delta", output, content_index=content, delta=delta)


def added(output: int, call_id: str, name: str) -> dict[str, Any]:
    item = {"type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
    return event("output_item.added", output, item=item)


def done(output: int, **item: Any) -> dict[str, Any]:
    return event("output_item.done", output, item=item)


def reasoning(item_id: str, encrypted: str | None = "gAAA") -> dict[str, Any]:
    return {
        "type": "reasoning",
        "id": item_id,
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": encrypted,
    }


def message(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}], **fields}


def model(peer: Peer) -> OpenAIResponses:
    return OpenAIResponses("gpt-5.5", base_url=peer.url)


def said(peer: Peer, *told: Any) -> list[ModelEvent]:
    peer.reply(answer(*told))
    return ask(model(peer))


def ended(peer: Peer, *told: Any) -> AnswerEnded:
    last = said(peer, *told)[-1]
    assert isinstance(last, AnswerEnded)
    return last


def test_text_of_a_response_is_followed_by_the_end_with_all_tokens_counted(peer: Peer) -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 20,
        "total_tokens": 30,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 5},
    }

    assert said(
        peer,
        event("created", response={"status": "in_progress"}),
        event("output_item.added", item={"type": "message", "content": []}),
        text("Hel"),
        text("lo"),
        {"type": "response.completed", "response": {"usage": usage}},
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
    assert (peer.asked[0].path, peer.asked[0].body["stream"]) == ("/v1/responses", True)


def test_each_part_of_text_and_of_reasoning_has_its_own_number(peer: Peer) -> None:
    def summary(delta: str, index: int) -> dict[str, Any]:
        return event("reasoning_summary_text.delta", summary_index=index, delta=delta)

    assert said(
        peer,
        summary("Hm. ", 0),
        summary("So.", 1),
        text("One", 1, 0),
        text("Two", 1, 1),
        event("reasoning_text.delta", 2, content_index=0, delta="Raw."),
        text("Three", 3, 0),
        text("!", 3, 0),
        event("refusal.delta", 4, content_index=0, delta="No."),
        COMPLETED,
    )[:-1] == [
        ReasoningPiece("Hm. ", 0),
        ReasoningPiece("So.", 1),
        TextPiece("One", 0),
        TextPiece("Two", 1),
        ReasoningPiece("Raw.", 2),
        TextPiece("Three", 2),
        TextPiece("!", 2),
        TextPiece("No.", 3),
    ]


def test_parallel_calls_are_told_apart(peer: Peer) -> None:
    def arguments(output: int, delta: str) -> dict[str, Any]:
        return event("function_call_arguments.delta", output, delta=delta)

    assert said(
        peer,
        added(1, "c1", "a"),
        arguments(1, '{"x"'),
        added(2, "c2", "b"),
        arguments(2, "{}"),
        arguments(1, ":1}"),
        done(1, type="function_call", call_id="c1", name="a", arguments='{"x":1}'),
        COMPLETED,
    ) == [
        CallStarted(0, "c1", "a"),
        CallPiece(0, '{"x"'),
        CallStarted(1, "c2", "b"),
        CallPiece(1, "{}"),
        CallPiece(0, ":1}"),
        AnswerEnded("tool-calls"),
    ]


def test_arguments_that_are_told_only_at_the_end_are_not_lost(peer: Peer) -> None:
    whole = {"type": "function_call", "name": "a", "arguments": "{}"}

    assert said(
        peer,
        added(0, "c1", "a"),
        done(0, call_id="c1", **whole),
        done(1, call_id="c2", **whole),
        COMPLETED,
    )[:-1] == [
        CallStarted(0, "c1", "a"),
        CallPiece(0, "{}"),
        CallStarted(1, "c2", "a"),
        CallPiece(1, "{}"),
    ]


def test_reasoning_travels_through_the_conversation_to_the_next_call(peer: Peer) -> None:
    end = ended(
        peer,
        done(0, **reasoning("rs_1")),
        done(1, **message("First.", phase="commentary")),
        done(2, **reasoning("rs_2")),
        done(3, type="function_call", call_id="c1", name="a", arguments="{}"),
        COMPLETED,
    )
    conversation: list[Message] = [
        UserMessage(content="Hi"),
        AssistantMessage(
            content="First.",
            tool_calls=[ToolCall(id="c1", name="a")],
            provider=dict(end.provider),
        ),
        ToolMessage(tool_call_id="c1", name="a", result=1),
    ]
    peer.reply(answer(COMPLETED))
    ask(model(peer), ModelRequest(conversation))

    assert peer.asked[-1].body["input"][1:] == [
        reasoning("rs_1"),
        {"role": "assistant", "content": "First.", "phase": "commentary"},
        reasoning("rs_2"),
        {"type": "function_call", "call_id": "c1", "name": "a", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
    ]


def test_only_reasoning_that_the_api_takes_back_is_kept(peer: Peer) -> None:
    end = ended(
        peer,
        done(0, **reasoning("rs_1", encrypted=None)),
        done(1, **message("")),
        done(2, **message("One")),
        done(3, **reasoning("rs_3")),
        done(4, **message("Two")),
        done(5, **reasoning("rs_5")),
        COMPLETED,
    )

    assert end.provider["openai"]["items"] == [reasoning("rs_3"), {"type": "message"}]


def test_an_answer_without_reasoning_keeps_nothing(peer: Peer) -> None:
    assert ended(peer, done(0, **message("One")), COMPLETED).provider == {}
    assert ended(peer, done(0, **reasoning("rs_1")), COMPLETED).provider == {}


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content-filter"),
        (None, "other"),
    ],
)
def test_an_incomplete_response_is_an_answer_with_its_reason(
    peer: Peer, details: dict[str, str] | None, reason: str
) -> None:
    end = ended(
        peer,
        text("Hel"),
        {"type": "response.incomplete", "response": {"incomplete_details": details}},
    )

    assert end.reason == reason


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        ("server_error", True),
        ("rate_limit_exceeded", True),
        ("vector_store_timeout", True),
        ("invalid_prompt", False),
        ("insufficient_quota", False),
    ],
)
def test_a_failed_response_is_raised_by_its_code(peer: Peer, code: str, retryable: bool) -> None:
    error = {"code": code, "message": "Please try again in 1.5s."}
    peer.reply(answer(text("Hel"), {"type": "response.failed", "response": {"error": error}}))

    raised = failure(model(peer))

    assert (raised.retryable, raised.retry_after) == (retryable, 1.5 if retryable else None)
    assert str(raised).endswith(f"reported {code}: Please try again in 1.5s.")


@pytest.mark.parametrize(
    "told",
    [
        {"type": "error", "code": "server_error", "message": "Oh."},
        {"type": "error", "error": {"type": "server_error", "code": None, "message": "Oh."}},
    ],
)
def test_an_error_event_is_raised_in_both_its_shapes(peer: Peer, told: dict[str, Any]) -> None:
    peer.reply(answer(told))

    error = failure(model(peer))

    assert error.retryable
    assert str(error).endswith("reported server_error: Oh.")


def test_a_failed_response_without_a_reason_is_worth_another_try(peer: Peer) -> None:
    peer.reply(answer({"type": "response.failed", "response": {"error": None}}))

    error = failure(model(peer))

    assert error.retryable
    assert str(error).endswith("reported an error.")


def test_a_stream_without_response_completed_was_cut_off(peer: Peer) -> None:
    peer.reply(answer(text("Hel")))

    error = failure(model(peer))

    assert error.retryable
    assert "ended its stream before the answer was complete" in str(error)


def test_arguments_of_a_call_that_never_began_are_malformed(peer: Peer) -> None:
    peer.reply(STREAM, events(event("function_call_arguments.delta", 7, delta="{}")), END)

    assert "cannot be read (KeyError: 7)" in str(failure(model(peer)))
