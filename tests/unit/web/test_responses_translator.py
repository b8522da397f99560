"""The events of OpenAI's responses: their grammar, their text, and resuming at every number."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given

from evented_agent.chunks import AnyChunk, Chunk, StepReset, TextDelta, TextStart
from evented_agent.web.faces.legs import Leg, LegCutter, Translator, is_ending
from evented_agent.web.faces.replies import LegRequest, _LegEvents
from evented_agent.web.faces.responses.objects import RunFacts
from evented_agent.web.faces.responses.translator import ResponsesTranslator
from tests.support.chunk_logs import USAGE, LogBuilder, chunk_logs
from tests.support.replayed import Replayed

Events = list[dict[str, Any]]
FACTS = RunFacts("run", "agent", 1_700_000_000, {"order": "17"}, previous="before")
OPENS = {"message": "content", "reasoning": "summary", "mcp_call": "arguments"}


def responses(chunks: Sequence[AnyChunk]) -> dict[Leg, Events]:
    """The events of each leg, as they would be read from the wire."""
    cutter = LegCutter("run", ResponsesTranslator(FACTS))
    legs: dict[Leg, Events] = {}
    for chunk in chunks:
        for leg, event in cutter.feed(chunk):
            legs.setdefault(leg, []).append(json.loads(json.dumps(event)))
    return legs


def check_grammar(events: Events, leg: Leg, *, has_ended: bool) -> None:
    """What OpenAI's clients rely on, event by event."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    types = [event["type"].removeprefix("response.") for event in events]
    assert types[:2] == ["created", "in_progress"]
    assert all(event["response"]["id"] == leg.id for event in events if "response" in event)
    ends = {"completed", "failed", "incomplete"}
    assert (types[-1] in ends) == has_ended
    assert not ends & set(types[:-1])
    items: list[dict[str, Any]] = []
    open_: set[int] = set()
    for event, type_ in zip(events[2:], types[2:], strict=True):
        if type_ in ends:
            continue
        index = event["output_index"]
        if type_ == "output_item.added":
            assert index == len(items)
            items.append(event["item"])
            open_.add(index)
            continue
        if type_ == "output_item.done":
            assert identity(items[index]) == identity(event["item"])
            # Once more only to be withdrawn.
            assert index in open_ or is_withdrawn(event["item"])
            open_.discard(index)
            items[index] = event["item"]
            continue
        assert index in open_, type_
        assert event["item_id"] == items[index]["id"]
        assert type_ in TYPES[items[index]["type"]]
    if has_ended:
        assert not open_
        assert events[-1]["response"]["output"] == items
        assert events[-1]["response"]["usage"] is not None
        check_items(events, items)


TYPES = {
    "message": {
        "content_part.added",
        "content_part.done",
        "output_text.delta",
        "output_text.done",
    },
    "reasoning": {
        "reasoning_summary_part.added",
        "reasoning_summary_part.done",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
    },
    "mcp_call": {
        "mcp_call.in_progress",
        "mcp_call.completed",
        "mcp_call.failed",
        "mcp_call_arguments.delta",
        "mcp_call_arguments.done",
    },
    "function_call": {"function_call_arguments.delta", "function_call_arguments.done"},
    "mcp_approval_request": set[str](),
}


def check_items(events: Events, items: Events) -> None:
    """What was said of each item adds up to it."""
    assert len({item["id"] for item in items}) == len(items)
    for index, item in enumerate(items):
        deltas = [e["delta"] for e in events if e.get("output_index") == index and "delta" in e]
        if is_withdrawn(item):
            continue
        if item["type"] == "message":
            assert item["content"][0]["text"] == "".join(deltas)
        if item["type"] == "reasoning":
            assert item["summary"][0]["text"] == "".join(deltas)
        if item["type"] == "function_call":
            assert item["arguments"] == "".join(deltas)
        if item["type"] == "mcp_call" and item["status"] in ("completed", "failed"):
            assert isinstance(json.loads(item["arguments"] or "{}"), dict)
            assert (item["output"] is None) == (item["status"] == "failed")


def identity(item: dict[str, Any]) -> tuple[str, str]:
    return item["type"], item["id"]


def is_withdrawn(item: dict[str, Any]) -> bool:
    said_in = OPENS.get(item["type"])
    return said_in is not None and item["status"] == "incomplete" and not item[said_in]


def texts_of(chunks: Sequence[AnyChunk]) -> dict[Leg, list[str]]:
    """The parts of the text that count at the end of each leg, by the rule of `step-reset`."""

    class Parts:
        """Told leg by leg, as translators are."""

        def begin(self, leg: Leg, _: AnyChunk) -> Sequence[None]:
            self.leg = leg
            self.parts: dict[str, tuple[Chunk, list[str]]] = {}
            found[leg] = []
            return []

        def feed(self, chunk: AnyChunk) -> Sequence[None]:
            match chunk:
                case TextStart():
                    self.parts[chunk.payload.id] = (chunk, [])
                case TextDelta():
                    self.parts[chunk.payload.id][1].append(chunk.payload.text)
                case StepReset():
                    kept = self.parts.items()
                    self.parts = {
                        id_: (start, pieces)
                        for id_, (start, pieces) in kept
                        if start.task != chunk.task or start.seq < chunk.payload.from_seq
                    }
            found[self.leg] = ["".join(pieces) for _, pieces in self.parts.values()]
            return []

        def end(self, _: object) -> Sequence[None]:
            return []

    found: dict[Leg, list[str]] = {}
    cutter = LegCutter("run", Parts())
    for chunk in chunks:
        cutter.feed(chunk)
    return found


@given(chunk_logs())
def test_the_events_of_each_response_obey_the_protocol(log: Sequence[AnyChunk]) -> None:
    legs = responses(log)
    for at, (leg, events) in enumerate(legs.items()):
        check_grammar(events, leg, has_ended=at < len(legs) - 1 or is_ending(log[-1]))


@given(chunk_logs())
def test_a_client_ends_up_with_the_text_that_counts(log: Sequence[AnyChunk]) -> None:
    legs, texts = responses(log), texts_of(log)
    for leg, events in legs.items():
        if "response" not in events[-1]:
            continue
        messages = [e for e in events[-1]["response"]["output"] if e["type"] == "message"]
        said = [part["text"] for message in messages for part in message["content"]]
        assert said == texts[leg]


@given(chunk_logs())
def test_a_response_that_is_fetched_is_where_its_events_are(log: Sequence[AnyChunk]) -> None:
    translator = ResponsesTranslator(FACTS)
    cutter = LegCutter("run", translator)
    said: list[dict[str, Any]] = []
    for chunk in log:
        # What people do while nothing is answered may begin no response.
        said += [event["response"] for _, event in cutter.feed(chunk) if "response" in event]
        if not cutter.is_open:
            assert translator.response() == said[-1]
        else:
            assert translator.response()["status"] == "in_progress"
            assert translator.response("queued")["status"] == "queued"


def test_the_usages_of_all_responses_add_up_to_that_of_the_run() -> None:
    log = LogBuilder()
    log.add("start", id="agent")
    step = {"stepResult": {"reason": "tool-calls"}, "output": {"usage": USAGE}}
    log.add("step-finish", "1:end", step=1, **step)
    log.add("run-waiting", **{"for": "people"}, calls=["c"])
    log.add("step-finish", "2:end", step=2, **step)
    total = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15, "reasoningTokens": 4}
    log.add("finish", stepResult={"reason": "stop"}, output={"usage": total})
    first, second = (events[-1]["response"]["usage"] for events in responses(log.chunks).values())

    assert (first["input_tokens"], first["output_tokens"], first["total_tokens"]) == (3, 2, 5)
    assert (second["input_tokens"], second["output_tokens"], second["total_tokens"]) == (7, 3, 10)
    assert second["output_tokens_details"] == {"reasoning_tokens": 4}


def test_a_response_that_a_message_cuts_short_is_incomplete() -> None:
    log = LogBuilder()
    log.add("start", id="agent")
    call = {"toolCallId": "c", "toolName": "look"}
    log.add("tool-call-input-streaming-start", "1:model", **call)
    number = log.add("message-queued", messageId="m", interrupt=True)
    log.add("tool-call-dropped", "1:model", **call)
    log.add("step-finish", "1:end", step=1, stepResult={"reason": "interrupted"}, output={})
    log.add("message-applied", "2:model", messageIds=["m"], step=2)
    log.add("finish", stepResult={"reason": "stop"}, output={"usage": USAGE})
    cut, whole = (events[-1]["response"] for events in responses(log.chunks).values())
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "interrupted"})
    assert [item["status"] for item in cut["output"]] == ["incomplete"]
    assert (whole["id"], whole["status"]) == (f"run:{number}", "completed")
    assert whole["previous_response_id"] == "run"


def read(chunks: Sequence[AnyChunk], leg: Leg, skip: int = 0) -> list[Any]:
    """What a reader of a leg is sent who has *skip* of its events."""
    sent: list[Any] = []

    def frame(event: Any) -> str:
        sent.append(event)
        return ""

    translator: Translator[Any] = ResponsesTranslator(FACTS)
    for _ in _LegEvents(Replayed(chunks, 50), LegRequest(leg, translator, frame, skip), 12):
        pass
    return sent


@given(chunk_logs())
def test_who_resumes_at_any_number_is_sent_the_rest(log: Sequence[AnyChunk]) -> None:
    for leg, events in responses(log).items():
        for number in range(len(events) + 1):
            found = json.loads(json.dumps(read(log, leg, number)))
            # A log that ends in the middle is not waited for here: its response ends at once.
            assert found[: len(events) - number] == events[number:]


def test_who_resumes_a_long_run_at_any_number_is_sent_the_rest() -> None:
    log = long_log()
    count = 0
    legs = {
        event["response"]["id"]: leg
        for leg, events in responses(log).items()
        for event in events[:1]
    }
    for leg in legs.values():
        whole = read(log, leg)
        for number in range(len(whole)):
            assert read(log, leg, number) == whole[number:]
            count += 1
    assert len(log) >= 250
    assert len(legs) > 1
    assert count == sum(map(len, responses(log).values()))


def long_log(count: int = 250) -> Sequence[AnyChunk]:
    """A run whose model fails now and then, with calls, a person who decides, and a retry."""
    log = LogBuilder()
    log.add("start", id="agent")
    step = 0
    while log.seq < count:
        step += 1
        task = f"{step}:model"
        log.add("step-start", f"{step - 1}:end" if step > 1 else None, step=step)
        for attempt in range(1, 3):
            first = log.add("text-start", task, id=f"txt-{step}.{attempt}")
            for number in range(20):
                log.add("text-delta", task, id=f"txt-{step}.{attempt}", text=f"{number} \u2028é ")
            if attempt == 1:
                reset = {"step": step, "fromSeq": first, "attempt": 1}
                log.add("step-reset", task, **reset, reason="crash")
            else:
                log.add("text-end", task, id=f"txt-{step}.{attempt}")
        call = {"toolCallId": f"call_{step}", "toolName": "look"}
        log.add("tool-call-input-streaming-start", task, **call)
        log.add("tool-call-delta", task, toolCallId=call["toolCallId"], argsTextDelta='{"a":1}')
        log.add("tool-call", task, **call, args={"a": 1})
        if step % 4 == 0:
            number = log.add("tool-call-approval", f"{step}:tool:c", **call, args={"a": 1})
            log.add("run-waiting", **{"for": "people"}, calls=[call["toolCallId"]])
            log.add("tool-call-decided", **call, decision="approved", approved=True, number=number)
        log.add("tool-result", f"{step}:tool:c", **call, result="seen")
        done = {"stepResult": {"reason": "tool-calls"}, "output": {"usage": USAGE}}
        log.add("step-finish", f"{step}:end", step=step, **done)
    log.add("finish", stepResult={"reason": "stop"}, output={"usage": USAGE})
    return log.chunks
