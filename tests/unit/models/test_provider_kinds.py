"""One small case for each kind in which servers differ: what they say is understood."""

from collections.abc import Sequence
from typing import Any

import pytest

from evented_agent.chunks import ReasoningDelta, TextDelta, ToolCallDelta
from evented_agent.execution.tasks.answer import AnswerBuilder, Delta
from evented_agent.models import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    ItemFound,
    Model,
    ModelEvent,
    OpenAIChat,
    OpenAIResponses,
    ReasoningPiece,
    SourceFound,
    TextPiece,
)
from evented_agent.state.journal import Turn
from tests.unit.models.peer import END, STREAM, Peer, answer, ask, events, failure


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def piece(name: str | None = None, arguments: str | None = None, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    given = {key: value for key, value in function.items() if value is not None}
    return {**more, "function": given}


def heard(peer: Peer, *chunks: Any) -> Turn:
    """The turn that a stream of Chat Completions becomes."""
    peer.reply(answer(*chunks, "[DONE]"))
    return turn_of(ask(OpenAIChat("m", base_url=peer.url)))


def turn_of(said: Sequence[ModelEvent]) -> Turn:
    built = AnswerBuilder(step=1, attempt=1, used_call_ids=set())
    for event in said:
        list(built.take(event))
    return built.turn(model="m")


def calls(turn: Turn) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments if call.invalid is None else None) for call in turn.calls]


PARALLEL = [("a", {"x": 1}), ("b", {"y": 2})]


@pytest.mark.parametrize(
    "entries",
    [
        # A new name begins a new call.
        [piece("a", '{"x":1}'), piece("b", '{"y"'), piece(None, ":2}")],
        # A new id does, also where the index stays the same.
        [piece("a", '{"x":', id="c1"), piece(None, "1}"), piece("b", '{"y":2}', id="c2")],
        [piece("a", '{"x":1}', index=0), piece("b", '{"y":2}', index=0)],
    ],
)
def test_parallel_calls_without_an_index_are_told_apart(
    peer: Peer, entries: list[dict[str, Any]]
) -> None:
    chunks = [delta(tool_calls=[entry]) for entry in entries]
    assert calls(heard(peer, *chunks, delta("tool_calls"))) == PARALLEL


def test_two_calls_of_one_tool_without_index_and_id_are_two(peer: Peer) -> None:
    entries = [piece("a", '{"x":1}'), piece("a", '{"x"'), piece("a", ":2}")]
    turn = heard(peer, *(delta(tool_calls=[each]) for each in entries), delta("stop"))
    assert calls(turn) == [("a", {"x": 1}), ("a", {"x": 2})]


@pytest.mark.parametrize(
    ("pieces", "meant"),
    [
        (["null"], {}),
        ([""], {}),
        (["{}", '{"x":', "1}"], {"x": 1}),
        (['"{\\"x\\": 1}"'], {"x": 1}),
        (['{"x":1}', '{"x":1}'], {"x": 1}),
        (['{"x":1}', '{"x":2}'], None),
        (['"Rome"'], None),
        (["[1]"], None),
    ],
)
def test_arguments_are_understood_in_the_forms_of_servers(
    peer: Peer, pieces: list[str], meant: Any
) -> None:
    entries = [piece("a", "", index=0, id="c1"), *(piece(None, each, index=0) for each in pieces)]
    turn = heard(peer, *(delta(tool_calls=[each]) for each in entries), delta("tool_calls"))
    assert calls(turn) == [("a", meant)]


def test_content_in_parts_is_text_and_reasoning(peer: Peer) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    turn = heard(
        peer,
        delta(content=[thinking]),
        delta(content=[{"type": "text", "text": "Yes"}]),
        delta("stop", content="."),
    )
    assert (turn.reasoning, turn.text) == ("Hm.", "Yes.")


@pytest.mark.parametrize(
    "chunks",
    [
        # Nothing between two events.
        [delta(content="Yes"), "", delta("stop")],
        # No finish reason, but a count and the last word.
        [delta(content="Yes"), {"choices": [], "usage": {"total_tokens": 3}}],
        # A count with each piece, and fractions in it.
        [
            {**delta(content="Ye"), "usage": {"completion_tokens": 1.5}},
            {**delta("stop", content="s"), "usage": {"completion_tokens": 2.5}},
        ],
        # An end that is said under another name, twice.
        [delta("eos", content="Yes"), delta("eos", content="")],
    ],
)
def test_an_answer_is_whole_where_nothing_is_lost(peer: Peer, chunks: list[Any]) -> None:
    turn = heard(peer, *chunks)
    assert (turn.text, turn.reason) == ("Yes", "stop")


def test_a_body_that_breaks_off_is_cut_off_whatever_was_counted(peer: Peer) -> None:
    peer.reply(STREAM, events({**delta(content="Hal"), "usage": {"total_tokens": 1}}), END)
    assert failure(OpenAIChat("m", base_url=peer.url)).retryable


def test_half_a_call_is_cut_off_also_where_the_stream_has_ended(peer: Peer) -> None:
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    peer.reply(answer(delta(tool_calls=[piece("a", '{"x"', index=0)]), usage, "[DONE]"))
    assert failure(OpenAIChat("m", base_url=peer.url)).retryable


@pytest.mark.parametrize("reason", ["error", "insufficient_system_resource", "network_error"])
def test_an_answer_that_its_server_could_not_finish_is_tried_again(peer: Peer, reason: str) -> None:
    peer.reply(answer(delta(content="Hal"), delta(reason), "[DONE]"))
    error = failure(OpenAIChat("m", base_url=peer.url))
    assert error.retryable
    assert f"reported {reason}" in str(error)


def test_the_reason_of_a_broken_answer_is_told(peer: Peer) -> None:
    broken = delta("error")
    broken["choices"][0]["error"] = {"code": 502, "message": "The engine is gone."}
    peer.reply(answer(delta(content="Hal"), broken, "[DONE]"))
    assert str(failure(OpenAIChat("m", base_url=peer.url))).endswith("The engine is gone.")


HALVES = ("\\ud83d", "\\ude00")


def test_a_character_in_two_pieces_is_one_in_text_reasoning_and_arguments(peer: Peer) -> None:
    def halved(field: str) -> list[str]:
        return [
            f'{{"choices": [{{"index": 0, "delta": {{"{field}": "{half}"}}}}]}}' for half in HALVES
        ]

    entry = '{{"index": 0, "function": {{"name": "a", "arguments": "{}"}}}}'
    arguments = [
        f'{{"choices": [{{"index": 0, "delta": {{"tool_calls": [{entry.format(half)}]}}}}]}}'
        for half in (f'{{\\"x\\":\\"{HALVES[0]}', f'{HALVES[1]}\\"}}')
    ]
    chunks = [*halved("reasoning"), *halved("content"), *arguments, delta("tool_calls")]
    turn = heard(peer, *chunks)
    assert (turn.reasoning, turn.text, calls(turn)) == ("😀", "😀", [("a", {"x": "😀"})])


def test_half_a_character_that_stays_half_is_replaced() -> None:
    built = AnswerBuilder(step=1, attempt=1, used_call_ids=set())
    told: list[ModelEvent] = [
        ReasoningPiece("a\ud83d"),
        TextPiece("b\ud83d"),
        CallStarted(0, "c1", "a"),
        CallPiece(0, "{}\ud83d"),
        AnswerEnded("stop"),
    ]
    deltas = [new for event in told for new in built.take(event) if isinstance(new, Delta)]
    assert [(new.chunk, new.text) for new in deltas] == [
        (ReasoningDelta, "a"),
        (ReasoningDelta, "\ufffd"),
        (TextDelta, "b"),
        (TextDelta, "\ufffd"),
        (ToolCallDelta, "{}"),
        (ToolCallDelta, "\ufffd"),
    ]
    assert (built.turn(model="m").text, built.turn(model="m").calls[0].invalid) == (
        "b\ufffd",
        "{}\ufffd",
    )


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4},
            {"input": 9, "output": 2, "total": 11, "cached": 4},
        ),
        (
            {"input_tokens": 9, "output_tokens": 2, "cache_creation_input_tokens": 5},
            {"input": 9, "output": 2, "total": 11, "written": 5},
        ),
        (
            {
                "prompt_tokens": 9,
                "prompt_tokens_details": {"cache_write_tokens": 3, "audio_tokens": 2},
                "completion_tokens_details": {"audio_tokens": 1, "reasoning_tokens": 7},
                "total_tokens": 20,
            },
            {"input": 9, "total": 20, "written": 3, "heard": 2, "spoken": 1, "reasoning": 7},
        ),
    ],
)
def test_tokens_are_counted_under_every_name(
    peer: Peer, usage: dict[str, Any], counted: dict[str, int]
) -> None:
    found = heard(peer, delta("stop", content="Yes"), {"choices": [], "usage": usage}).usage
    ours = {
        "input": found.input_tokens,
        "output": found.output_tokens,
        "total": found.total_tokens,
        "reasoning": found.reasoning_tokens,
        "cached": found.cached_input_tokens,
        "written": found.cache_write_tokens,
        "heard": found.input_audio_tokens,
        "spoken": found.output_audio_tokens,
    }
    assert {name: count for name, count in ours.items() if count} == counted


def test_a_count_inside_the_choice_counts(peer: Peer) -> None:
    last = delta("stop", content="Yes")
    last["choices"][0]["usage"] = {"prompt_tokens": 9}
    assert heard(peer, last).usage.input_tokens == 9


def test_citations_are_sources_each_of_them_once(peer: Peer) -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://x/1", "title": "One"}}
    peer.reply(
        answer(
            {**delta(content="Yes"), "citations": ["https://x/1", "https://x/2"]},
            {**delta("stop", annotations=[cited]), "citations": ["https://x/1", "https://x/2"]},
            "[DONE]",
        )
    )
    said = ask(OpenAIChat("m", base_url=peer.url))
    sources = [each.url for each in said if isinstance(each, SourceFound)]
    assert sources == ["https://x/1", "https://x/2"]


# Responses


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def message(text: Any, **fields: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}] if isinstance(text, str) else text
    return {"type": "message", "content": content, **fields}


def completed(*output: dict[str, Any]) -> dict[str, Any]:
    return event("completed", response={"status": "completed", "output": list(output)})


def responses(peer: Peer) -> Model:
    return OpenAIResponses("gpt-5.5", base_url=peer.url)


CALL = {"type": "function_call", "call_id": "c1", "name": "a", "arguments": '{"x":1}'}
THOUGHT = {
    "type": "reasoning",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm."}],
}


@pytest.mark.parametrize(
    "told",
    [
        [event("output_text.done", output_index=0, content_index=0, text="Yes"), completed()],
        [event("output_item.done", output_index=0, item=message("Yes")), completed()],
        [completed(message("Yes"))],
        [event("output_text.delta", delta="Ye"), completed(message("Yes"))],
        [
            event("output_text.delta", delta="Ye"),
            event("output_text.done", text="Yes"),
            completed(),
        ],
        [
            event("output_item.added", item=message(None, id="m1")),
            event("output_text.delta", item_id="m1", delta="Yes"),
            event("output_item.done", item=message("Yes", id="other")),
            completed(message("Yes", id="third")),
        ],
        [
            event("output_item.added", output_index=0, item=message([], id="m1")),
            event("output_text.delta", output_index=0, content_index=0, delta="Yes"),
            event("output_text.done", output_index=0, content_index=0, text="Yes"),
            event("output_item.done", output_index=0, item=message("Yes", id="m1")),
            completed(message("Yes", id="m1")),
        ],
    ],
)
def test_what_one_event_lacks_another_gives(peer: Peer, told: list[dict[str, Any]]) -> None:
    peer.reply(answer(*told))
    turn = turn_of(ask(responses(peer)))
    assert (turn.texts, turn.reason) == (("Yes",), "stop")


@pytest.mark.parametrize(
    "told",
    [
        [completed(CALL)],
        [event("output_item.added", item={**CALL, "arguments": ""}), completed(CALL)],
        [
            event("output_item.added", item={**CALL, "arguments": "", "id": "f1"}),
            event("function_call_arguments.delta", item_id="f1", delta='{"x"'),
            event("function_call_arguments.done", item_id="f1", arguments='{"x":1}'),
            event("output_item.done", item={**CALL, "id": "f1"}),
            completed({**CALL, "id": "f1"}),
        ],
        [
            event("output_item.added", item={**CALL, "arguments": ""}),
            event("function_call_arguments.delta", delta='{"x":1}'),
            completed(CALL),
        ],
    ],
)
def test_a_call_is_one_call_however_it_is_told(peer: Peer, told: list[dict[str, Any]]) -> None:
    peer.reply(answer(*told))
    turn = turn_of(ask(responses(peer)))
    assert (calls(turn), turn.reason) == ([("a", {"x": 1})], "tool-calls")


def test_reasoning_is_told_once_wherever_it_stands(peer: Peer) -> None:
    peer.reply(
        answer(
            event("reasoning_text.delta", delta="Hm"),
            event("output_item.done", output_index=0, item=THOUGHT),
            completed(THOUGHT, message("Yes")),
        )
    )
    turn = turn_of(ask(responses(peer)))
    assert (turn.reasoning, turn.text) == ("Hm.", "Yes")


def test_items_that_the_provider_made_itself_are_shown(peer: Peer) -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    cited = {"type": "url_citation", "url": "https://x/1", "title": "One"}
    part = {"type": "output_text", "text": "Yes", "annotations": [cited]}
    peer.reply(answer(completed(search, message([part]))))
    assert ask(responses(peer))[:-1] == [
        ItemFound("web_search_call", search),
        TextPiece("Yes"),
        SourceFound("https://x/1", "One", cited),
    ]


def test_a_response_that_failed_under_another_name_is_raised(peer: Peer) -> None:
    failed = {"status": "failed", "error": {"code": "server_error", "message": "Oh."}}
    peer.reply(answer(event("completed", response=failed)))
    assert str(failure(responses(peer))).endswith("reported server_error: Oh.")


def test_an_old_function_call_and_a_whole_message_are_understood(peer: Peer) -> None:
    old = {"name": "a", "arguments": '{"x":1}'}
    whole = {"choices": [{"index": 0, "message": {"function_call": old}, "finish_reason": "stop"}]}
    assert calls(heard(peer, whole)) == [("a", {"x": 1})]


def test_parts_that_are_neither_text_nor_thought_are_items(peer: Peer) -> None:
    reference = {"type": "reference", "reference_ids": [1]}
    peer.reply(answer(delta("stop", content=["Yes", reference, {"type": "text", "text": ""}])))
    said = ask(OpenAIChat("m", base_url=peer.url))
    assert said[:-1] == [TextPiece("Yes"), ItemFound("reference", reference)]


def test_a_thought_may_be_an_object_and_a_part_a_plain_text(peer: Peer) -> None:
    part = {"type": "thinking", "thinking": "Hm."}
    turn = heard(peer, delta(thinking={"content": "So. "}), delta("stop", content=[part]))
    assert turn.reasoning == "So. Hm."
    empty = {"type": "thinking", "signature": "AA"}
    assert heard(peer, delta("stop", content=[empty])).reasoning == ""


def test_a_file_is_a_source_without_a_page(peer: Peer) -> None:
    cited = [{"type": "file_citation", "filename": "a.pdf"}, {"type": "odd"}, 3]
    peer.reply(answer(delta("stop", content="Yes", annotations=cited)))
    said = ask(OpenAIChat("m", base_url=peer.url))
    assert [each for each in said if isinstance(each, SourceFound)] == [
        SourceFound(None, "a.pdf", cited[0])
    ]


def test_a_piece_of_no_call_is_malformed_unless_it_says_nothing(peer: Peer) -> None:
    assert calls(heard(peer, delta(tool_calls=[{"index": 0}]), delta("stop"))) == []
    peer.reply(answer(delta(tool_calls=[piece(None, "{}", index=0)]), "[DONE]"))
    assert "cannot be read" in str(failure(OpenAIChat("m", base_url=peer.url)))
