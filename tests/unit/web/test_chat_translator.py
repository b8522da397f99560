"""The chunks of chat completions: the text they add up to, and what becomes of withdrawn text."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given

from evented_agent.chunks import AnyChunk, Transcript
from evented_agent.web.faces.chat_completions.routes import frame_of, is_error
from evented_agent.web.faces.chat_completions.translator import (
    DONE,
    CompletionFacts,
    CompletionStream,
    WholeCompletion,
)
from evented_agent.web.faces.legs import Leg, LegCutter
from evented_agent.web.faces.replies import LegRequest, _LegEvents
from tests.support.chunk_logs import USAGE, LogBuilder, chunk_logs
from tests.support.replayed import Replayed

FACTS = CompletionFacts("run", "agent", 1_700_000_000, has_usage=True)


def first_leg(translator: Any, chunks: Sequence[AnyChunk]) -> list[Any]:
    cutter = LegCutter("run", translator)
    return [event for chunk in chunks for leg, event in cutter.feed(chunk) if leg == Leg("run")]


def text_of(events: Sequence[Any]) -> str:
    choices = [choice for event in events for choice in event.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@given(chunk_logs())
def test_a_stream_that_is_complete_has_the_text_of_the_first_answer(
    log: Sequence[AnyChunk],
) -> None:
    sent: list[Any] = []
    for event in first_leg(CompletionStream(FACTS), log):
        sent.append(event)
        if "error" in event:
            # Nothing is sent behind it.
            return
    if DONE in sent:
        transcript = Transcript()
        cutter = LegCutter("run", CompletionStream(FACTS))
        for chunk in log:
            cutter.feed(chunk)
            if cutter.leg == Leg("run"):
                transcript.feed(chunk)
        assert sent.pop() == DONE
        assert text_of(sent) == transcript.text
        [whole] = first_leg(WholeCompletion(FACTS), log)
        assert whole["choices"][0]["message"]["content"] == transcript.text
        assert whole["usage"] == sent[-1]["usage"]


def test_text_that_is_taken_back_ends_the_stream_with_an_error() -> None:
    log = LogBuilder()
    log.add("start", id="agent")
    first = log.add("text-start", "1:model", id="t1")
    log.add("text-delta", "1:model", id="t1", text="Half")
    log.add("step-reset", "1:model", step=1, fromSeq=first, attempt=1, reason="crash")
    events = first_leg(CompletionStream(FACTS), log.chunks)

    assert events[-1]["error"]["type"] == "text_withdrawn"
    assert text_of(events[:-1]) == "Half"


def test_a_stream_is_over_with_an_error_although_its_run_goes_on() -> None:
    log = LogBuilder()
    log.add("start", id="agent")
    first = log.add("text-delta", "1:model", id="t1", text="Half")
    log.add("step-reset", "1:model", step=1, fromSeq=first, attempt=1, reason="crash")
    log.add("text-delta", "1:model", id="t2", text="Whole")
    log.add("finish", stepResult={"reason": "stop"})
    for size in (1, 5):
        request = LegRequest(Leg("run"), CompletionStream(FACTS), frame_of, is_last=is_error)
        sent = "".join(_LegEvents(Replayed(log.chunks, size), request, 12))
        assert "text_withdrawn" in sent
        assert "Whole" not in sent
        assert "[DONE]" not in sent


def test_nothing_that_was_said_needs_to_be_taken_back() -> None:
    log = LogBuilder()
    log.add("start", id="agent")
    first = log.add("text-start", "1:model", id="t1")
    log.add("step-reset", "1:model", step=1, fromSeq=first, attempt=1, reason="crash")
    log.add("text-delta", "1:model", id="t2", text="Whole")
    log.add("finish", stepResult={"reason": "length"}, output={"usage": USAGE})
    events = first_leg(CompletionStream(FACTS), log.chunks)

    assert events[-1] == DONE
    assert text_of(events[:-1]) == "Whole"
    assert events[-3]["choices"][0]["finish_reason"] == "length"
